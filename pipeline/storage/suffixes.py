"""What the suffix of a file's name promises: its format, and whether an output is compressed (`.gz`, `.zst`)."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal

from pipeline.errors import UsageError

Kind = Literal["CSV", "ids", "JSON Lines", "HTML"]

_GZIP, _ZSTD = ("gz", "gzip"), ("zst", "zstd")
_JSON = ("json", "jsonl", "ndjson")
_COMPRESSED = "bz bz2 xz lzma lz4 br sz snappy z zlib deflate bgz"
_ARCHIVES = "zip 7z rar tar tgz tbz tbz2 txz"
_TABLES = "parquet avro orc arrow feather ipc xls xlsx xlsm xlsb ods numbers tsv tab db sqlite sqlite3 duckdb"
_DOCUMENTS = "xml html htm pdf svg png yaml yml doc docx pickle pkl npy npz"
_OTHERS = frozenset(f"{_COMPRESSED} {_ARCHIVES} {_TABLES} {_DOCUMENTS}".split(" "))
_NO_INPUTS = frozenset(f"csv {_ARCHIVES} {_TABLES} {_DOCUMENTS}".split(" "))
_WRONG: dict[Kind, frozenset[str]] = {
    "CSV": _OTHERS.union(_JSON),
    "ids": _OTHERS.union(_JSON),
    "JSON Lines": _OTHERS.union(("csv",)),
}


def _suffix(path: str) -> tuple[str, str]:
    stem, _, suffix = os.path.basename(path).rpartition(".")
    return (stem, suffix.lower()) if stem.strip(".") else (suffix, "")


def other_format(path: str) -> str | None:
    """The suffix of an input's name where it stands for a format other than JSON, such as csv or parquet; else None."""
    _, suffix = _suffix(path)
    return suffix if suffix in _NO_INPUTS else None


def check_suffix(path: str, kind: Kind) -> None:
    """UsageError where the suffix of an output's name stands for another format than the output has."""
    stem, suffix = _suffix(path)
    if kind == "HTML":
        if suffix not in ("html", "htm"):
            raise UsageError(f"{path}: a chart is written as .html")
        return
    if suffix in (*_GZIP, *_ZSTD):
        _, inner = _suffix(stem)
        suffix = suffix if inner in (*_GZIP, *_ZSTD) else inner
    elif suffix not in _WRONG[kind]:
        return
    if suffix in _WRONG[kind] or suffix in (*_GZIP, *_ZSTD):
        what = "one id a line" if kind == "ids" else kind
        raise UsageError(f"{path}: its name says .{suffix}, but it would be {what} (compressed by .gz or .zst)")


@contextlib.contextmanager
def compressing(path: str, stream: Any) -> Iterator[Any]:
    """A stream that compresses as the suffix of path says, and writes to `stream`; that itself where there is none."""
    _, suffix = _suffix(path)
    if suffix in _GZIP:
        from isal import igzip

        with igzip.IGzipFile("", "wb", fileobj=_Sink(stream), mtime=0) as compressed:  # type: ignore[no-untyped-call]
            yield compressed
    elif suffix in _ZSTD:
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.PythonFile(_Sink(stream), mode="w"), "zstd") as compressed:
            yield compressed
    else:
        yield stream


class _Sink:
    """A stream that stays open when a compressor closes it."""

    closed = False
    mode = "wb"

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
