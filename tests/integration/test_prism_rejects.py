"""Rejects of many files on Prism: few files, each reject once, while the stream runs and after its end."""

import os
import signal
from pathlib import Path

from tests.integration.stream_process import until
from tests.integration.test_prism_streaming import Sender, stream

FILES = 10_000


def put(folder: Path, name: str) -> None:
    (folder / f".{name}").write_bytes(b"{}\n")
    (folder / f".{name}").rename(folder / f"{name}.jsonl")


def kept(folder: Path) -> list[str]:
    return [line for path in (folder / "rejects_output").glob("*.jsonl") for line in path.read_text().splitlines()]


def test_rejects_of_many_files_are_few_files(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "in")
    for number in range(FILES):
        put(sender.folder, str(number))
    with stream(sender, tmp_path) as process:
        until(lambda: len(kept(tmp_path)) == FILES, process)
        put(sender.folder, "one more")
        until(lambda: len(kept(tmp_path)) == FILES + 1, process)
        put(sender.folder, "the last")
        os.kill(process.pid, signal.SIGTERM)
        stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
    wanted = f"{FILES + 2} events read, 0 counted, {FILES + 2} rejected, 0 late"
    assert stderr.splitlines()[-1].startswith(wanted), stderr
    assert len(set(kept(tmp_path))) == len(kept(tmp_path)) == FILES + 2
    assert len(list((tmp_path / "rejects_output").iterdir())) < 50
