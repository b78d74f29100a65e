"""What a source holds, by its name or its first bytes, and what else it looks like."""

import contextlib
import json
import os
import re
from codecs import BOM_UTF8
from typing import NamedTuple

from pipeline.errors import InputError, UsageError
from pipeline.storage.compression import BZIP2, GZIP, ZSTD, Codec, codec_of_content, codec_of_name, other_format


class Form(NamedTuple):
    """A format of sources. codec: its compression, inside which is JSON. is_read: whether such sources can be read."""

    name: str
    codec: Codec | None = None
    is_read: bool = True


JSON, PARQUET = Form("JSON"), Form("Parquet")
_COMPRESSED = {codec: Form(codec.name, codec) for codec in (GZIP, BZIP2, ZSTD)}

_SUFFIXES = {".parquet": PARQUET, ".json": JSON, ".jsonl": JSON, ".ndjson": JSON}

_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"  # then a byte of flags, whose last two say how long the dictionary's number is

_TABLE_LINES = 5  # that are looked at

_ARRAY_LINES = "JSON Lines with an array on each line"
_ENCRYPTED = "encrypted Parquet"

_LOOKS: tuple[tuple[bytes, str], ...] = (
    (rb"PK\x03\x04(?=.*(\[Content_Types\]\.xml|_rels/|xl/|docProps/))", "an Office file, such as a spreadsheet (xlsx)"),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file, such as a spreadsheet (ods)"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file, such as a spreadsheet (xls)"),
    (rb"PAR1", PARQUET.name),
    (rb"PARE", _ENCRYPTED),
    (rb"Obj\x01", "Avro"),
    (rb"ORC[^ -~]", "ORC"),
    (rb"ARROW1\0\0|FEA1", "Arrow"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"\xfd7zXZ\0|]\0\0", "xz or lzma compression"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"\x04\x22\x4d\x18", "lz4 compression"),
    (rb"\xff\x06\0\0sNaPpY", "snappy compression"),
    (rb"\x1f[\x9d\xa0]", "compress (.Z) compression"),
    (rb".{257}ustar", "a tar archive"),
    (rb"%PDF-", "a PDF document"),
    (rb"(?i:(\xef\xbb\xbf)?\s*<(\?xml|!doctype|html))", "XML or HTML"),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0|\0\0\0[^\0]", "UTF-32 text, must be UTF-8"),
    (rb"\xff\xfe|\xfe\xff|([^\0]\0){2}|(\0[^\0]){2}", "UTF-16 text, must be UTF-8"),
)
_TABLES = ((b",", "CSV"), (b";", "CSV, with semicolons"), (b"\t", "CSV, with tabs"))
_HINTS = {
    "CSV": "`mlr --icsv --ojsonl cat FILE` converts it",
    "CSV, with semicolons": "`mlr --icsv --ifs ';' --ojsonl cat FILE` converts it",
    "CSV, with tabs": "`mlr --itsv --ojsonl cat FILE` converts it",
    "an Office file, such as a spreadsheet (xlsx)": "`xlsx2csv FILE | mlr --icsv --ojsonl cat` converts a table of it",
    "a zip archive": "`unzip -p FILE` prints what is in it",
    "a tar archive": "`tar -xf FILE` unpacks it",
    "a 7-Zip archive": "`7z x FILE` unpacks it",
    "xz or lzma compression": "`xz -dc FILE` decompresses it",
    "lz4 compression": "`lz4 -dc FILE` decompresses it",
    "compress (.Z) compression": "`gzip -dc FILE` decompresses it",
    "UTF-16 text, must be UTF-8": "`iconv -f UTF-16 -t UTF-8 FILE` converts it",
    _ENCRYPTED: "decrypt it with the program that wrote it",
    _ARRAY_LINES: "`jq -c '.[]' FILE` prints what is in them, a line each",
}
"""Commands that convert what is not supported."""


def form_of_name(path: str) -> Form | None:
    """The format that a name's suffix promises, or None. UsageError: a compression that is not supported."""
    codec = codec_of_name(path)
    if codec:
        return _COMPRESSED[codec]
    known = next((form for suffix, form in _SUFFIXES.items() if path.lower().endswith(suffix)), None)
    other = other_format(path)
    return known or (Form(f".{other}", is_read=False) if other else None)


def form_within(path: str) -> Form | None:
    """The format that a compressed source's name promises of its content: of `x.csv.gz`, CSV."""
    try:
        return form_of_name(os.path.splitext(path)[0])
    except UsageError:
        return None


def check_dictionary(source: str, head: bytes) -> None:
    """InputError for the first bytes of a zstd frame that needs a dictionary."""
    if head.startswith(_ZSTD_FRAME) and head[len(_ZSTD_FRAME) :][:1] and head[len(_ZSTD_FRAME)] & 3:
        raise InputError(
            f"{source}: cannot be read: it is compressed with a zstd dictionary; `zstd -dc -D DICTIONARY FILE` "
            "decompresses it"
        )


def form_of_content(head: bytes) -> Form:
    """The format of a source by its first bytes: JSON if it is nothing else that is known."""
    codec = codec_of_content(head)
    if codec:
        return _COMPRESSED[codec]
    return PARQUET if head.startswith(b"PAR1") else JSON


def looks_like(head: bytes) -> str | None:
    """In words, what a source that is not JSON seems to be by its first bytes; None if it is nothing that is known."""
    if _begins_as_json(head) and 0 not in head[:4]:
        return _ARRAY_LINES if _has_array_lines(head) else None
    codec = codec_of_content(head)
    if codec:
        return codec.name
    return next((what for magic, what in _LOOKS if re.match(magic, head, re.DOTALL)), None) or _table(head)


def _has_array_lines(head: bytes) -> bool:
    """Returns whether the first line is an array as a whole, and another array begins in the second."""
    first, _, rest = head.removeprefix(BOM_UTF8).lstrip().partition(b"\n")
    if not (first.startswith(b"[") and first.rstrip().endswith(b"]") and rest.lstrip().startswith(b"[")):
        return False
    with contextlib.suppress(ValueError, RecursionError):
        return isinstance(json.loads(first), list)
    return False


def _table(head: bytes) -> str | None:
    """Which CSV it is: all first lines have the same number of separators, at least two, and none looks like JSON."""
    lines = head.removeprefix(BOM_UTF8).split(b"\n")[: _TABLE_LINES + 1]
    whole = [line for line in lines[: max(1, len(lines) - 1)] if line.strip()]
    if not whole or any(line.lstrip()[:1] in b"{[" or b'":' in line for line in whole):
        return None
    for separator, what in _TABLES:
        counts = {line.count(separator) for line in whole}
        if len(counts) == 1 and counts.pop() >= 2:
            return what
    return None


def check_form(source: str, promised: Form | None, head: bytes) -> Form:
    """The format to read a source as. promised: by its name. head: its first bytes.

    Raises:
      InputError: it is not what its name promises, or of no format that can be read.
    """
    check_dictionary(source, head)
    found = form_of_content(head)
    what = looks_like(head) or ("JSON" if _begins_as_json(head) else None)
    if promised and promised != found and what and (promised.is_read or found != JSON or what == "JSON"):
        says = "" if what == _ENCRYPTED else f"its name says {promised.name}, but "
        raise InputError(f"{source}: cannot be read: {says}it looks like {what}{_hint(what)}")
    form = promised if promised and promised.is_read else found
    if form == JSON:
        check_json(source, head)
    return form


def _begins_as_json(head: bytes) -> bool:
    return head.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def check_within(source: str, promised: Form | None, head: bytes) -> None:
    """As check_form, for the content of a compressed source, which must be JSON. head: first decompressed bytes."""
    if not (promised and promised.codec):
        check_form(source, promised, head)
    check_json(source, head)


def check_json(source: str, head: bytes) -> None:
    """InputError where the first bytes of a source, or of its decompressed content, look like anything but JSON."""
    what = looks_like(head)
    if what == PARQUET.name:  # as such it would not have come here
        raise InputError(f"{source}: cannot be read: it is Parquet inside another compression; decompress it first")
    if what:
        raise InputError(
            f"{source}: cannot be read: it looks like {what}; events are JSON, JSON Lines or Parquet{_hint(what)}"
        )


def _hint(what: str) -> str:
    return f"; {_HINTS[what]}" if what in _HINTS else ""
