"""Standard streams that the process before has left so that reads and writes do not wait."""

import contextlib
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.cli.standard import print_file, spool
from tests.serving_support import await_true


@pytest.fixture
def pipe() -> tuple[int, int]:
    """The ends of a pipe, neither of which waits."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def in_thread(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_nothing_there_yet_is_no_end(pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, writer = pipe
    waits = threading.Semaphore(0)
    select = __import__("select").select

    def counted(*arguments: object) -> object:
        waits.release()
        return select(*arguments)

    monkeypatch.setattr("select.select", counted)
    with open(source, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        reading = in_thread(spool, "-", str(tmp_path), 0)
        for piece in (b"one", b"two", b"three"):
            assert waits.acquire(timeout=60)
            os.write(writer, piece)
        assert waits.acquire(timeout=60)
        os.close(writer)
        reading.join(timeout=60)
    assert (tmp_path / "input-0").read_bytes() == b"onetwothree"


def test_no_room_yet_is_no_error(pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, target = pipe
    report = os.urandom(3_000_000)
    (tmp_path / "report.csv").write_bytes(report)
    with open(target, "wb") as stream:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stream))
        writing = in_thread(print_file, str(tmp_path / "report.csv"))
        received = bytearray()

        def receive() -> bool:
            with contextlib.suppress(BlockingIOError):
                received.extend(os.read(reader, 1 << 20))
            return not writing.is_alive() and len(received) == len(report)

        await_true(receive)
    os.close(reader)
    assert received == report
