"""Detects formats of sources by names and first bytes, and names those that cannot be read."""

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

_TABLE_LINES = 5  # that are looked at
_XLSX = rb"PK\x03\x04(?=.*(\[Content_Types\]\.xml|_rels/|xl/|docProps/))"

_LOOKS: tuple[tuple[bytes, str, str], ...] = (
    (_XLSX, "an Office file, such as a spreadsheet (xlsx)", "xlsx2csv FILE | mlr --icsv --ojsonl cat"),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file, such as a spreadsheet (ods)", ""),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", "unzip -p FILE"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file, such as a spreadsheet (xls)", ""),
    (rb"PAR1", PARQUET.name, ""),
    (rb"PARE", "encrypted Parquet", ""),
    (rb"Obj\x01", "Avro", ""),
    (rb"ORC[^ -~]", "ORC", ""),
    (rb"ARROW1\0\0|FEA1", "Arrow", ""),
    (rb"\xfd7zXZ\0|]\0\0", "xz or lzma compression", "xz -dc FILE"),
    (rb"\x04\x22\x4d\x18", "lz4 compression", "lz4 -dc FILE"),
    (rb".{257}ustar", "a tar archive", "tar -xOf FILE"),
    (rb"(?i:(\xef\xbb\xbf)?\s*<(\?xml|!doctype|html))", "XML or HTML", ""),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff|[^\0]\0\0\0|\0\0\0[^\0]", "UTF-32 text, must be UTF-8", ""),
    (rb"\xff\xfe|\xfe\xff|([^\0]\0){2}|(\0[^\0]){2}", "UTF-16 text, must be UTF-8", "iconv -f UTF-16 -t UTF-8 FILE"),
)
"""First bytes of formats that are not read, their names, and a command that converts them."""

_CSV = "CSV"
_COMMANDS = {name: command for _, name, command in _LOOKS if command} | {_CSV: "mlr --icsv --ojsonl cat FILE"}


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


def form_of_content(head: bytes) -> Form:
    """The format of a source by its first bytes: JSON if it is nothing else that is known."""
    codec = codec_of_content(head)
    if codec:
        return _COMPRESSED[codec]
    return PARQUET if head.startswith(b"PAR1") else JSON


def looks_like(head: bytes) -> str | None:
    """The name of the format that a source seems to have by its first bytes; None if it is JSON or unknown."""
    if _begins_as_json(head) and 0 not in head[:4]:
        return None
    codec = codec_of_content(head)
    if codec:
        return codec.name
    known = next((name for magic, name, _ in _LOOKS if re.match(magic, head, re.DOTALL)), None)
    return known or (_CSV if _is_csv(head) else None)


def _is_csv(head: bytes) -> bool:
    """Whether all first lines have the same number of separators, at least two, and none looks like JSON."""
    lines = head.removeprefix(BOM_UTF8).split(b"\n")[: _TABLE_LINES + 1]
    whole = [line for line in lines[: max(1, len(lines) - 1)] if line.strip()]
    if not whole or any(line.lstrip()[:1] in b"{[" or b'":' in line for line in whole):
        return False
    counts = ({line.count(separator) for line in whole} for separator in (b",", b";", b"\t"))
    return any(len(count) == 1 and count.pop() >= 2 for count in counts)


def check_form(source: str, promised: Form | None, head: bytes) -> Form:
    """Returns the format to read a source as.

    Args:
      source: its name.
      promised: the format of its name's suffix.
      head: its first bytes.

    Raises:
      InputError: it is not what its name promises, or of no format that can be read.
    """
    found = form_of_content(head)
    what = looks_like(head) or ("JSON" if _begins_as_json(head) else None)
    if promised and promised != found and what and (promised.is_read or found != JSON or what == "JSON"):
        raise InputError(
            f"{source}: cannot be read: its name says {promised.name}, but it looks like {what}{_hint(what)}"
        )
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
    """Raises InputError where the first bytes of a source, or of its decompressed content, are no JSON."""
    what = looks_like(head)
    if what == PARQUET.name:
        raise InputError(f"{source}: cannot be read: it is Parquet inside another compression; decompress it first")
    if what:
        raise InputError(
            f"{source}: cannot be read: it looks like {what}; events are JSON, JSON Lines or Parquet{_hint(what)}"
        )


def _hint(what: str) -> str:
    return f"; `{_COMMANDS[what]}` converts it" if what in _COMMANDS else ""
