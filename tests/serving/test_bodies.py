"""Bodies: compressed or not, from files, too large, broken."""

import bz2
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.serving import Settings
from tests.serving_support import REPORT, SAMPLE, build_app, call, call_loosely


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_gzip(app: Any, encoding: str) -> None:
    half = len(SAMPLE) // 2
    body = gzip.compress(SAMPLE[:half]) + gzip.compress(SAMPLE[half:])
    assert call(app, body, HTTP_CONTENT_ENCODING=encoding).body.decode() == REPORT


def test_too_large(tmp_path: Path) -> None:
    assert call(build_app(tmp_path / "a", Settings(max_body_bytes=len(SAMPLE))), SAMPLE).status == 200
    assert call(build_app(tmp_path / "b", Settings(max_body_bytes=len(SAMPLE) - 1)), SAMPLE).problem["status"] == 413
    assert call(build_app(tmp_path / "c"), SAMPLE, CONTENT_LENGTH="9" * 300).problem["status"] == 413


COMPRESSED = [gzip.compress(SAMPLE, mtime=0), bz2.compress(SAMPLE), zstandard.compress(SAMPLE)]


@pytest.mark.parametrize("body", COMPRESSED, ids=["gzip", "bzip2", "zstd"])
def test_a_compressed_file_is_taken_as_it_is(app: Any, body: bytes) -> None:
    assert call(app, body).body == REPORT.encode()
    assert call(app, gzip.compress(body), HTTP_CONTENT_ENCODING="gzip").body == REPORT.encode()
    assert call(app, gzip.compress(gzip.compress(body))).problem["detail"] == "the body is compressed more than once"
    assert call(app, body[:-3]).problem["detail"].startswith("the body is damaged")


def test_the_limit_holds_for_what_a_compressed_file_becomes(tmp_path: Path) -> None:
    app = build_app(tmp_path, Settings(max_body_bytes=1000))
    for body in (gzip.compress(bytes(5000)), zstandard.compress(bytes(5000)), bz2.compress(bytes(5000))):
        assert call(app, body).problem["status"] == 413


ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(SAMPLE)


@pytest.mark.parametrize(
    "body", [b"", b"no", ZSTD[:-1], ZSTD[: len(ZSTD) // 2], ZSTD + b"junk", gzip.compress(SAMPLE, mtime=0)]
)
def test_broken_zstd(app: Any, body: bytes) -> None:
    problem = call(app, body, HTTP_CONTENT_ENCODING="zstd").problem
    assert problem["status"] == 400
    assert "zstd" in problem["detail"]


SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"  # a frame of zstd that holds nothing
OF_NOTHING = {"gzip": gzip.compress(b"") * 2, "bzip2": bz2.compress(b""), "zstd": zstandard.compress(b"") + SKIPPED}


@pytest.mark.parametrize("name", OF_NOTHING)
def test_what_is_compressed_is_not_nothing(app: Any, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A client whose input failed sends that: it must not get an empty report."""
    body, detail = OF_NOTHING[name], "body is empty after decompression"
    assert call(app, body).problem["detail"] == f"the {name} {detail}"
    assert call(app, gzip.compress(body), HTTP_CONTENT_ENCODING="gzip").problem["detail"].endswith(detail)
    if name != "bzip2":
        assert call(app, body, HTTP_CONTENT_ENCODING=name).problem["detail"] == f"the {name} {detail}"
    assert call(app, gzip.compress(b"[]"), HTTP_CONTENT_ENCODING="gzip").status == 200
    assert "Error" not in capfd.readouterr().err


def test_no_more_is_read_than_the_body(app: Any, tmp_path: Path) -> None:
    with open(tmp_path / "input", "w+b") as file:
        file.write(SAMPLE + b"x")
        file.seek(0)
        environ = {"wsgi.input": file, "CONTENT_LENGTH": str(len(SAMPLE))}
        assert call_loosely(app, **environ).body.decode() == REPORT
        assert file.tell() == len(SAMPLE)


@pytest.mark.parametrize("data", [SAMPLE, gzip.compress(SAMPLE)], ids=["plain", "gzip"])
def test_a_body_whose_end_the_server_finds(tmp_path: Path, data: bytes) -> None:
    """A chunked one; more than the limit is not read."""
    environ = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    app = build_app(tmp_path, Settings(max_body_bytes=len(SAMPLE)))
    assert call_loosely(app, **environ, **{"wsgi.input": io.BytesIO(data)}).body.decode() == REPORT
    stream = io.BytesIO(data + bytes(10**6))
    assert call_loosely(app, **environ, **{"wsgi.input": stream}).problem["status"] == 413
    assert stream.tell() <= len(SAMPLE) + 1


class Broken(io.BytesIO):
    """A body that is malformed after its first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(min(size or 0, 10))
        if not data:
            raise ValueError("bad chunk")
        return data


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_a_body_that_cannot_be_read(app: Any, encoding: str) -> None:
    data = {"": SAMPLE, "gzip": gzip.compress(SAMPLE), "zstd": ZSTD}[encoding]
    environ = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "HTTP_CONTENT_ENCODING": encoding}
    for cut in (len(data), 20, 3):
        problem = call_loosely(app, **environ, **{"wsgi.input": Broken(data[:cut])}).problem
        assert (problem["status"], "bad chunk" in problem["detail"]) == (400, True)


def test_body_shorter_than_declared(app: Any) -> None:
    problem = call(app, SAMPLE, CONTENT_LENGTH=str(len(SAMPLE) + 5)).problem
    assert problem["detail"] == f"the body is incomplete: received {len(SAMPLE)} of {len(SAMPLE) + 5} bytes"


def test_the_limit_holds_for_what_parquet_stands_for(tmp_path: Path) -> None:
    """A dictionary makes a few bytes stand for many."""
    table = pa.table({"id": ["x" * 100_000] * 3000, "event": ["video_25"] * 3000, "timestamp": [1617393003] * 3000})
    pq.write_table(table, tmp_path / "x.parquet")
    body = (tmp_path / "x.parquet").read_bytes()
    assert len(body) < 20_000
    problem = call(build_app(tmp_path / "app", Settings(max_body_bytes=1_000_000)), body).problem
    assert problem["status"] == 413
    assert "body: has more than 1000000 bytes after decompression" in problem["detail"]
