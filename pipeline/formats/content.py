"""Detects the formats of sources from their suffixes and first bytes, and names unsupported ones."""

import os
import re
from codecs import BOM_UTF8
from typing import NamedTuple

from pipeline.errors import InputError, UsageError
from pipeline.storage.compression import BZIP2, GZIP, ZSTD, Codec, codec_of_content, codec_of_name, other_format


class Form(NamedTuple):
    """A format of sources. codec: its compression, whose content is JSON. is_supported: whether it can be read."""

    name: str
    codec: Codec | None = None
    is_supported: bool = True


JSON, PARQUET = Form("JSON"), Form("Parquet")
_COMPRESSED = {codec: Form(codec.name, codec) for codec in (GZIP, BZIP2, ZSTD)}

_SUFFIXES = {".parquet": PARQUET, ".json": JSON, ".jsonl": JSON, ".ndjson": JSON}

_CSV_LINES = 5  # examined to detect CSV
_XLSX = rb"PK\x03\x04(?=.*(\[Content_Types\]\.xml|_rels/|xl/|docProps/))"

_UNSUPPORTED: tuple[tuple[bytes, str, str], ...] = (
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
"""First bytes of unsupported formats, their names, and a command that converts them."""

_CSV = "CSV"
_COMMANDS = {name: command for _, name, command in _UNSUPPORTED if command} | {_CSV: "mlr --icsv --ojsonl cat FILE"}


def form_of_name(path: str) -> Form | None:
    """Returns the format of a suffix, or None. Raises UsageError if it is an unsupported compression."""
    codec = codec_of_name(path)
    if codec:
        return _COMPRESSED[codec]
    known = _SUFFIXES.get(path[path.rfind(".") :].lower())
    other = None if known else other_format(path)
    return Form(f".{other}", is_supported=False) if other else known


def form_within(path: str) -> Form | None:
    """Returns the format of the inner suffix of a compressed source: of `x.csv.gz`, CSV."""
    try:
        return form_of_name(os.path.splitext(path)[0])
    except UsageError:
        return None


def form_of_content(head: bytes) -> Form:
    """Returns the format of a source by its first bytes, by default JSON."""
    codec = codec_of_content(head)
    if codec:
        return _COMPRESSED[codec]
    return PARQUET if head.startswith(b"PAR1") else JSON


def looks_like(head: bytes) -> str | None:
    """Returns the name of the format that the first bytes look like; None if JSON or unknown."""
    if _begins_as_json(head) and 0 not in head[:4]:
        return None
    codec = codec_of_content(head)
    if codec:
        return codec.name
    known = next((name for magic, name, _ in _UNSUPPORTED if re.match(magic, head, re.DOTALL)), None)
    return known or (_CSV if _is_csv(head) else None)


def _is_csv(head: bytes) -> bool:
    """Whether the first lines all have the same number of separators, at least two, and none looks like JSON."""
    lines = head.removeprefix(BOM_UTF8).split(b"\n")[: _CSV_LINES + 1]
    whole = [line for line in lines[: max(1, len(lines) - 1)] if line.strip()]
    if not whole or any(line.lstrip()[:1] in b"{[" or b'":' in line for line in whole):
        return False
    counts = ({line.count(separator) for line in whole} for separator in (b",", b";", b"\t"))
    return any(len(count) == 1 and count.pop() >= 2 for count in counts)


def check_form(source: str, suffix_form: Form | None, head: bytes) -> Form:
    """Determines the format to read a source as.

    Args:
      source: its name.
      suffix_form: the format of its suffix, or None.
      head: its first bytes.

    Raises:
      InputError: the content contradicts the suffix, or is of an unsupported format.
    """
    found = form_of_content(head)
    what = looks_like(head) or ("JSON" if _begins_as_json(head) else None)
    if suffix_form and suffix_form != found and what and (suffix_form.is_supported or found != JSON or what == "JSON"):
        raise InputError(
            f"{source}: cannot be read: the suffix is that of {suffix_form.name}, but the content looks like {what}"
            + _hint(what)
        )
    form = suffix_form if suffix_form and suffix_form.is_supported else found
    if form == JSON:
        check_json(source, head)
    return form


def _begins_as_json(head: bytes) -> bool:
    return head.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def check_within(source: str, suffix_form: Form | None, head: bytes) -> None:
    """As check_form, for the content of a compressed source, which must be JSON. head: its first decompressed bytes."""
    if not (suffix_form and suffix_form.codec):
        check_form(source, suffix_form, head)
    check_json(source, head)


def check_json(source: str, head: bytes) -> None:
    """Raises InputError if the first bytes of a source, or of its decompressed content, are not JSON."""
    what = looks_like(head)
    if what == PARQUET.name:
        raise InputError(f"{source}: cannot be read: it is Parquet inside another compression; decompress it first")
    if what:
        raise InputError(
            f"{source}: cannot be read: it looks like {what}; events are JSON, JSON Lines or Parquet{_hint(what)}"
        )


def _hint(what: str) -> str:
    return f"; `{_COMMANDS[what]}` converts it" if what in _COMMANDS else ""
