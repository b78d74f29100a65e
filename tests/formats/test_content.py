"""What a source holds, by its name, by its first bytes, and what else it looks like."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError, UsageError
from pipeline.formats.content import JSON, PARQUET, check_form, check_json, form_of_content, form_of_name, looks_like
from tests.support import EXAMPLE_EVENTS, json_lines

SAMPLE = json.dumps(EXAMPLE_EVENTS).encode()
TABLE = pa.table({"id": ["a"], "event": ["video_25"], "timestamp": [1]})
COMMA = b"id,event,timestamp\na,video_25,1\nb,video_50,2\n"


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, SAMPLE)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.json"))
    return stream.getvalue()


def written(write: object) -> bytes:
    stream = pa.BufferOutputStream()
    write(TABLE, stream)  # type: ignore[operator]
    return stream.getvalue().to_pybytes()  # type: ignore[no-any-return]


LOOKS = [
    (SAMPLE.decode().encode("utf-16"), "UTF-16"),
    (SAMPLE.decode().encode("utf-16-be"), "UTF-16"),
    (SAMPLE.decode().encode("utf-16-le"), "UTF-16"),
    (SAMPLE.decode().encode("utf-32"), "UTF-32"),
    (SAMPLE.decode().encode("utf-32-be"), "UTF-32"),
    (zipped("a.json"), "zip"),
    (zipped(), "zip"),
    (zipped("[Content_Types].xml", "xl/workbook.xml"), "xlsx"),
    (tarred(), "tar archive"),
    (COMMA, "CSV"),
    (b"\xef\xbb\xbf" + COMMA.replace(b",", b";"), "CSV"),
    (COMMA.replace(b",", b"\t").replace(b"\n", b"\r\n"), "CSV"),
    (b'"id","event","timestamp"\n"a","video_25","1"', "CSV"),
    (b"id,event,timestamp", "CSV"),
    (gzip.compress(SAMPLE), "gzip"),
    (bz2.compress(SAMPLE), "bzip2"),
    (zstandard.compress(SAMPLE), "zstd"),
    (lzma.compress(SAMPLE), "xz"),
    (lzma.compress(SAMPLE, lzma.FORMAT_ALONE), "xz or lzma"),
    (written(pq.write_table), "Parquet"),
    (written(pyarrow.orc.write_table), "ORC"),
    (written(pyarrow.feather.write_feather), "Arrow"),
    (b"\n<!DOCTYPE html><html>", "XML or HTML"),
]


@pytest.mark.parametrize(("data", "what"), LOOKS, ids=[f"{k}-{what}" for k, (_, what) in enumerate(LOOKS)])
def test_what_it_looks_like_is_said(data: bytes, what: str) -> None:
    assert what in str(looks_like(data[: 64 * 1024]))
    if form_of_content(data) == JSON:
        with pytest.raises(InputError, match=f"^body: cannot be read: it looks like .*{what}"):
            check_form("body", None, data)
    if what != "Parquet":
        with pytest.raises(
            InputError, match=f"^a: cannot be read: the suffix is that of Parquet, but the content looks like .*{what}"
        ):
            check_form("a", PARQUET, data)


def test_parquet_that_was_compressed_again_is_told_what_to_do() -> None:
    with pytest.raises(InputError, match=r"^a: cannot be read: it is Parquet inside another compression; decompress"):
        check_json("a", b"PAR1" + bytes(8))


@pytest.mark.parametrize(
    "data",
    [
        SAMPLE,
        json_lines(EXAMPLE_EVENTS),
        b"\xef\xbb\xbf" + SAMPLE,
        b"",
        b" \n\t",
        b"[]",
        b"no",
        b"one, two",
        b"a,b,c\n" + json_lines(EXAMPLE_EVENTS),
        b'"id":1,"event":2,"timestamp":3}\n' * 3,
        b"\0" * 100,
        b"PK",
        b"ORC is a word",
    ],
)
def test_json_and_what_has_but_bad_lines_look_like_nothing_else(data: bytes) -> None:
    assert looks_like(data) is None
    assert check_form("a", None, data) == check_form("a", JSON, data) == JSON


@settings(max_examples=300)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps), st.integers(0, 2))
def test_no_json_looks_like_something_else(text: str, kind: int) -> None:
    record = json.dumps({"id": text, "x": [text], text: 1})
    data = (f"[{record}, {text}]", f"{record}\n{record}\n", f' {{"mock_for_test": [{text}]}}')[kind].encode()
    assert looks_like(data) is None


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.parquet", "Parquet"), ("A.PARQUET", "Parquet"), ("a.json", "JSON"), ("a.jsonl", "JSON"), ("a.ndjson", "JSON")]
    + [("a.json.gz", "gzip"), ("a.parquet.gz", "gzip"), ("a.zst", "zstd"), ("a.bz2", "bzip2")]
    + [
        (name, None)
        for name in ("a", "df.parquet.gzip", "x.jsonl.bgz", "parquet", "a.txt", "a.parquet.1", "/dev/fd/63")
    ],
)
def test_what_a_name_promises(name: str, form: str | None) -> None:
    found = form_of_name(name)
    assert (found.name if found else None) == form


@pytest.mark.parametrize("name", ["a.jsonl", "a.gz", "a.bz2", "a.zst"])
def test_a_name_that_promises_something_else_is_an_error(name: str) -> None:
    promised = form_of_name(name)
    assert promised is not None
    for data, what in LOOKS:
        if promised.name != what and not (promised == JSON and form_of_content(data) == JSON):
            with pytest.raises(
                InputError,
                match=rf"{name}: cannot be read: the suffix is that of {promised.name}, but the content looks",
            ):
                check_form(name, promised, data)
    if promised != JSON:
        with pytest.raises(InputError, match=f"the suffix is that of {promised.name}, but the content looks like JSON"):
            check_form(name, promised, SAMPLE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (COMMA, r"CSV; events are JSON, JSON Lines or Parquet; `mlr --icsv --ojsonl cat FILE` converts it"),
        (zipped("xl/workbook.xml"), "xlsx.*`xlsx2csv FILE"),
        (zipped("a.json"), "a zip archive.*`unzip -p FILE`"),
        (tarred(), "a tar archive.*`tar -xOf FILE`"),
        (lzma.compress(SAMPLE), "xz.*`xz -dc FILE`"),
        (b"\x04\x22\x4d\x18" + bytes(20), "lz4.*`lz4 -dc FILE`"),
        (b"PARE" + bytes(20), "encrypted Parquet"),
    ],
)
def test_the_reason_names_a_command_that_converts(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"^a: cannot be read: it looks like .*{reason}"):
        check_form("a", None, data)


def test_encrypted_parquet_under_its_usual_name() -> None:
    with pytest.raises(InputError, match=r"^a\.parquet: cannot be read: .* looks like encrypted Parquet"):
        check_form("a.parquet", PARQUET, b"PARE" + bytes(20))


@pytest.mark.parametrize(("name", "command"), [("a.json.xz", "xz -dc"), ("a.lz4", "lz4 -dc"), ("a.lzma", "xz -dc")])
def test_the_suffix_of_another_compression_names_the_command(name: str, command: str) -> None:
    with pytest.raises(UsageError, match=f"compression is not supported .*; `{command} FILE` decompresses it"):
        form_of_name(name)
