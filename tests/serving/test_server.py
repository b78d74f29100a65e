"""The HTTP trigger in process, through wsgiref.validate."""

import bz2
import gzip
import html
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import pipeline.serving.slots
from pipeline.cli.server_options import parse_settings
from pipeline.engine.runners import beam_options
from pipeline.errors import InputError, UsageError
from pipeline.model import table
from pipeline.serving import bodies
from pipeline.serving.app import make_app
from pipeline.serving.journal import Journal
from pipeline.serving.settings import ReportSettings, Settings
from pipeline.serving.slots import Slots, slot_maker
from tests.serving_support import (
    EVENT,
    HEADER,
    REPORT,
    ROOT,
    SAMPLE,
    Answer,
    assert_no_internals,
    await_true,
    build_app,
    call,
    call_loosely,
)
from tests.support import NO_DOWNLOAD


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build_app(tmp_path_factory.mktemp("server"))


def test_sample(app: Any) -> None:
    answer = call(app, SAMPLE)
    assert answer.status == 200
    assert answer.body.decode() == REPORT
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="report.csv"'
    assert answer.headers["X-Report-Summary"] == '{"read":6,"counted":6,"rejected":0,"hours":3}'


def test_more_hours_than_a_report_may_have(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_HOURS", 2)
    answer = call(app, SAMPLE)
    assert answer.status == 400
    assert answer.problem["detail"].startswith("the events lie in more than 2 different hours, the most that a report")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_gzip(app: Any, encoding: str) -> None:
    half = len(SAMPLE) // 2
    body = gzip.compress(SAMPLE[:half]) + gzip.compress(SAMPLE[half:])
    assert call(app, body, HTTP_CONTENT_ENCODING=encoding).body.decode() == REPORT


def test_zstd(app: Any) -> None:
    half = len(SAMPLE) // 2
    body = b"".join(map(zstandard.ZstdCompressor().compress, (SAMPLE[:half], SAMPLE[half:])))
    assert call(app, body, HTTP_CONTENT_ENCODING="zstd").body.decode() == REPORT


@pytest.mark.parametrize("body", ["", "[]", '{"mock_for_test": []}', "\n\n"])
def test_no_events(app: Any, body: str) -> None:
    answer = call(app, body.encode())
    assert (answer.status, answer.body.decode()) == (200, HEADER)
    assert json.loads(answer.headers["X-Report-Summary"]) == {"read": 0, "counted": 0, "rejected": 0, "hours": 0}


@pytest.mark.parametrize("shape", ["[{}]", '{{"mock_for_test": [{}]}}', "{}"])
def test_shapes(app: Any, shape: str) -> None:
    join = "\n" if shape == "{}" else ","
    answer = call(app, shape.format(join.join([EVENT, EVENT])).encode())
    assert answer.body.decode() == HEADER + "2021-04-02T20:00:00+01:00,0,0,2,0,0,0,0.0\n"


BAD_RECORDS = {
    "unknown event": ('{"id": "a", "event": "click", "timestamp": 1}', "unknown event 'click'"),
    "missing key": ('{"id": "a", "event": "video_25"}', "missing timestamp"),
    "boolean": ('{"id": "a", "event": "video_25", "timestamp": true}', "not a boolean"),
    "fraction": ('{"id": "a", "event": "video_25", "timestamp": 1.0}', "not a number with a fraction"),
    "string": ('{"id": "a", "event": "video_25", "timestamp": "1"}', "not a string"),
    "null": ('{"id": null, "event": "video_25", "timestamp": 1}', "not null"),
    "milliseconds": ('{"id": "a", "event": "video_25", "timestamp": 1617393003000}', "milliseconds?"),
    "huge": ('{"id": "a", "event": "video_25", "timestamp": %s}' % ("9" * 5000), "must be below"),
    "twice": ('{"id": "a", "id": "b", "event": "video_25", "timestamp": 1}', "the name 'id' stands twice"),
    "not an object": ("[1]", "not an object but an array"),
}


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
@pytest.mark.parametrize("lines", [True, False], ids=["lines", "array"])
def test_reject(app: Any, record: str, reason: str, lines: bool) -> None:
    body = f"{EVENT}\n\n{record}\n{EVENT}\n" if lines else f"[{EVENT}, {record}, {EVENT}]"
    problem = call(app, body.encode()).problem
    assert (problem["status"], problem["read"], problem["rejected"]) == (400, 3, 1)
    (reject,) = problem["rejects"]
    assert reject["index"] == 1
    assert reject["offset"] == body.index(record)
    assert reject["line"] == (3 if lines else None)
    assert reject["raw"] == record[:1024]
    assert reason in reject["reason"]


def test_first_ten_rejects(app: Any) -> None:
    problem = call(app, b"\n".join([EVENT.encode(), *[b"x"] * 25])).problem
    assert problem["rejected"] == 25
    assert [reject["index"] for reject in problem["rejects"]] == list(range(1, 11))


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_rejects_of_any_encoding_have_their_places(app: Any, encoding: str) -> None:
    bad = ["x" * 3000, '{"id": "\u00e9"}', "", "   ", "null"]
    body = "\ufeff\r\n" + "".join(f"{line}\r\n{EVENT}\n" for line in bad)
    data = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[encoding](body.encode())
    rejects = call(app, data, **({"HTTP_CONTENT_ENCODING": encoding} if encoding else {})).problem["rejects"]
    assert [(reject["line"], reject["index"], reject["raw"]) for reject in rejects] == [
        (2, 0, "x" * 1024),
        (4, 2, '{"id": "\u00e9"}'),
        (10, 6, "null"),
    ]
    assert [reject["offset"] for reject in rejects] == [body.encode().index(bad[k].encode()) for k in (0, 1, 4)]


BROKEN = {
    "truncated": f"[{EVENT},",
    "open": '[{"id": "a"',
    "NaN": '[{"id": "a", "event": "video_25", "timestamp": NaN}]',
    "trailing comma": f"[{EVENT},]",
    "more behind": f"[{EVENT}] 1",
    "deep": "[" * 10_000 + "]" * 10_000,
    "mock": '{"mock_for_test": [',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_array(app: Any, body: str) -> None:
    problem = call(app, body.encode()).problem
    assert problem["status"] == 400
    assert "body: byte" in problem["detail"]


@pytest.mark.parametrize("body", [b'{"id": "\xff"}', b"\x00", b"{" * 10_000, EVENT.encode()[:-1]])
def test_broken_line(app: Any, body: bytes) -> None:
    problem = call(app, body).problem
    assert problem["rejected"] == 1
    assert problem["rejects"][0]["reason"].startswith("not JSON")


def test_one_bad_line_among_a_million(app: Any) -> None:
    line = EVENT.encode() + b"\n"
    problem = call(app, line * 700_000 + b"x\n" + line * 299_999).problem
    assert (problem["read"], problem["rejected"]) == (1_000_000, 1)
    (reject,) = problem["rejects"]
    assert (reject["index"], reject["offset"]) == (700_000, 700_000 * len(line))


def test_millions_of_rejects_are_given_up(app: Any) -> None:
    problem = call(app, b"x\n" * 1_000_000).problem
    assert problem["complete"] is False
    assert problem["rejected"] == 100_000
    assert problem["detail"].startswith("at least 100000 of ")
    assert [reject["index"] for reject in problem["rejects"]] == list(range(10))


def test_too_large(tmp_path: Path) -> None:
    assert call(build_app(tmp_path / "a", Settings(max_body_bytes=len(SAMPLE))), SAMPLE).status == 200
    assert call(build_app(tmp_path / "b", Settings(max_body_bytes=len(SAMPLE) - 1)), SAMPLE).problem["status"] == 413
    app = build_app(tmp_path / "c", Settings(max_body_bytes=2000))
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)):
        bomb = compress(b" " * 1_000_000)
        assert len(bomb) < 2000
        assert call(app, bomb, HTTP_CONTENT_ENCODING=encoding).problem["status"] == 413
    assert call(app, SAMPLE, CONTENT_LENGTH="9" * 300).problem["status"] == 413


def test_unknown_encoding(app: Any) -> None:
    assert call(app, SAMPLE, HTTP_CONTENT_ENCODING="br").problem["status"] == 415


def test_zeros_behind_gzip_are_padding(app: Any) -> None:
    assert call(app, gzip.compress(SAMPLE) + bytes(512), HTTP_CONTENT_ENCODING="gzip").body == REPORT.encode()


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


def test_parquet_without_a_name(app: Any) -> None:
    body = (ROOT / "tests" / "files" / "df.parquet.gzip").read_bytes()
    assert call(app, body).body == REPORT.encode()
    assert call(app, gzip.compress(body), HTTP_CONTENT_ENCODING="gzip").body == REPORT.encode()


def test_what_a_body_looks_like_is_said(app: Any) -> None:
    problem = call(app, b"id,event,timestamp\na,video_25,1\n").problem
    assert problem["status"] == 400
    assert "it looks like CSV" in problem["detail"]


@pytest.mark.parametrize("body", [b"no", gzip.compress(SAMPLE, mtime=0)[:-9], gzip.compress(SAMPLE, mtime=0) + b"junk"])
def test_broken_gzip(app: Any, body: bytes) -> None:
    assert call(app, body, HTTP_CONTENT_ENCODING="gzip").problem["status"] == 400


ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(SAMPLE)


@pytest.mark.parametrize(
    "body", [b"", b"no", ZSTD[:-1], ZSTD[: len(ZSTD) // 2], ZSTD + b"junk", gzip.compress(SAMPLE, mtime=0)]
)
def test_broken_zstd(app: Any, body: bytes) -> None:
    problem = call(app, body, HTTP_CONTENT_ENCODING="zstd").problem
    assert problem["status"] == 400
    assert "zstd" in problem["detail"]


def test_an_empty_body_is_no_gzip(app: Any) -> None:
    assert "empty" in call(app, b"", HTTP_CONTENT_ENCODING="gzip").problem["detail"]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "\u0661"])
def test_bad_length(app: Any, length: str) -> None:
    assert call_loosely(app, CONTENT_LENGTH=length).problem["status"] == 400


@pytest.mark.parametrize("more", [b"", b"x"], ids=["the body", "more than the body"])
def test_body_in_a_file(app: Any, tmp_path: Path, more: bytes) -> None:
    """A file that holds just the body is read where it is; here it has no name, as the server's."""
    with open(tmp_path / "input", "w+b") as file:
        os.unlink(file.name)
        file.write(SAMPLE + more)
        file.seek(0)
        environ = {"wsgi.input": file, "CONTENT_LENGTH": str(len(SAMPLE))}
        assert call_loosely(app, **environ).body.decode() == REPORT
        assert file.tell() == (len(SAMPLE) if more else 0)


def test_body_shorter_than_declared(app: Any) -> None:
    problem = call(app, SAMPLE, CONTENT_LENGTH=str(len(SAMPLE) + 5)).problem
    assert "5 bytes are missing" in problem["detail"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/", "/app.js"])
def test_other_methods(app: Any, method: str, path: str) -> None:
    answer = call_loosely(app, method=method, path=path)
    assert answer.status == 405
    assert answer.headers["Allow"] == ("GET, HEAD, POST, OPTIONS" if path == "/" else "GET, HEAD, OPTIONS")
    assert answer.problem


@pytest.mark.parametrize("path", ["/report", "/web/index.html", "/../server.py", "/app.js/", "//", "/%00"])
def test_other_paths(app: Any, path: str) -> None:
    assert call(app, SAMPLE, path=path).problem["status"] == 404
    assert call(app, method="GET", path=path).problem["status"] == 404


def test_options(app: Any) -> None:
    answer = call(app, method="OPTIONS")
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, "GET, HEAD, POST, OPTIONS", b"")


FILES = {
    "/app.js": ("pipeline/serving/page/app.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("pipeline/serving/page/chart.js", "text/javascript; charset=utf-8"),
    "/report.js": ("pipeline/serving/page/report.js", "text/javascript; charset=utf-8"),
    "/style.css": ("pipeline/serving/page/style.css", "text/css; charset=utf-8"),
    "/openapi.json": ("pipeline/serving/openapi.json", "application/json"),
}


@pytest.mark.parametrize("path", FILES)
def test_files(app: Any, path: str) -> None:
    name, kind = FILES[path]
    answer = call(app, method="GET", path=path)
    assert answer.status == 200
    assert answer.body == (ROOT / name).read_bytes()
    assert answer.headers["Content-Type"] == kind
    assert call(app, method="HEAD", path=path) == (200, answer.headers, b"")


def test_the_page_knows_the_server(tmp_path: Path) -> None:
    report = ReportSettings(None, "Europe/Paris", "0.2", deduplicate=True, skip_rejects=True)
    answer = call(build_app(tmp_path, Settings(max_body_bytes=5000, report=report)), method="GET")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    (known,) = re.findall('<meta name="server" content="(.*)">', answer.body.decode())
    assert json.loads(html.unescape(known)) == {
        "limit": 5000,
        "zone": "Europe/Paris",
        "factor": "0.2",
        "skip": True,
        "deduplicate": True,
    }


def test_the_page_may_do_little(app: Any) -> None:
    headers = call(app, method="GET").headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("shown", [None, "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer \xe9"])
def test_token(tmp_path: Path, shown: str | None) -> None:
    app = build_app(tmp_path, Settings(token="secret"))
    answer = call(app, SAMPLE, **({} if shown is None else {"HTTP_AUTHORIZATION": shown}))
    assert answer.problem["status"] == 401
    assert answer.headers["Www-Authenticate"].startswith("Bearer")
    assert call(app, SAMPLE, HTTP_AUTHORIZATION="Bearer secret").status == 200
    assert call(app, SAMPLE, HTTP_AUTHORIZATION="bearer secret").status == 200
    assert call(app, method="GET").status == 200


def test_health_while_the_server_starts_and_stops(tmp_path: Path) -> None:
    settings, slots, stopping = Settings(), Slots(0), [False]
    app = make_app(settings, slots, Journal(), lambda: stopping[0])
    assert call(app, method="GET", path="/healthz").problem["detail"] == "the server is starting"
    slots.add(slot_maker(tmp_path, beam_options([]))())
    assert call(app, method="GET", path="/healthz").body == b"ok\n"
    stopping[0] = True
    answer = call(app, method="GET", path="/healthz")
    assert answer.problem["detail"] == "the server is stopping"
    assert answer.headers["Retry-After"]


def test_metrics_need_the_token(tmp_path: Path) -> None:
    """They tell of the use that is made of the server; its health does not."""
    app = build_app(tmp_path, Settings(token="secret"))
    assert call(app, method="GET", path="/metrics").problem["status"] == 401
    assert (
        b"hourly_report_slots 1.0" in call(app, method="GET", path="/metrics", HTTP_AUTHORIZATION="Bearer secret").body
    )
    assert call(app, method="GET", path="/healthz").status == 200


class Blocked(io.BytesIO):
    """A body that comes when it is told to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_read, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.is_read.set()
        assert self.go_on.wait(60)
        return super().read(size)


def test_busy(tmp_path: Path) -> None:
    """A request that finds no slot waits, if the queue is not full; first come, first served."""
    app = build_app(tmp_path, Settings(queue=1))
    first, second = Blocked(SAMPLE), Blocked(SAMPLE)
    answers: list[Answer] = []

    def post(body: io.BytesIO) -> threading.Thread:
        more = {"wsgi.input": body, "CONTENT_LENGTH": str(len(SAMPLE))}
        thread = threading.Thread(target=lambda: answers.append(call_loosely(app, **more)))
        thread.start()
        return thread

    running = [post(first)]
    assert first.is_read.wait(60)
    running.append(post(second))
    await_true(lambda: app.config["slots"].waiting == 1)
    refused = call(app, SAMPLE)
    assert refused.problem["status"] == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert not second.is_read.is_set()
    first.go_on.set()
    second.go_on.set()
    for thread in running:
        thread.join()
    assert [answer.body.decode() for answer in answers] == [REPORT, REPORT]


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.serving.slots, "_PATIENCE", 0.01)
    app = build_app(tmp_path, slots=0)
    assert call(app, SAMPLE).problem["status"] == 503
    assert call(app, SAMPLE).problem["status"] == 503


def test_a_defect_shows_no_internals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("/tmp/secret")

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.serving.slots.Slot, "run", fail)
        answer = call(app, SAMPLE)
    assert answer.problem["status"] == 500
    assert b"secret" not in answer.body
    assert call(app, SAMPLE).status == 200  # the slot is free again


@pytest.mark.parametrize("at", ["body", "report"])
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Where a full disk cannot be had; the real one is in test_server_process.py."""
    app = build_app(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(*((bodies, "_copy") if at == "body" else (os, "replace")), fail)
        answer = call(app, SAMPLE)
    assert answer.problem["status"] == 507
    assert answer.headers["Retry-After"]
    assert files_below(tmp_path) == []
    assert call(app, SAMPLE).status == 200


def test_the_folder_of_a_slot_is_made_again(tmp_path: Path) -> None:
    """Systems clean their folder for temporary files."""
    app = build_app(tmp_path / "slots")
    shutil.rmtree(tmp_path / "slots")
    assert call(app, SAMPLE).body.decode() == REPORT


def test_no_slot_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(tmp_path))

    app = build_app(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        assert call(app, SAMPLE).problem["status"] == 503
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        assert call(app, SAMPLE).problem["status"] == 503
    assert call(app, SAMPLE).body.decode() == REPORT


@pytest.mark.parametrize("error", [OSError(24, "Too many open files", "/tmp/x"), MemoryError()], ids=repr)
def test_files_or_memory_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """That is no defect, nor the body's."""

    def fail(*_: Any, **__: Any) -> None:
        try:
            raise error
        except (OSError, MemoryError) as reason:
            raise InputError("cannot be read") from reason

    app = build_app(tmp_path)
    for target in ((pipeline.serving.slots.Slot, "run"), (pipeline.serving.slots.Slot, "take_report")):
        with monkeypatch.context() as patch:
            patch.setattr(*target, fail)
            answer = call(app, SAMPLE)
        assert answer.problem["status"] == 503
        assert answer.headers["Retry-After"]
    assert call(app, SAMPLE).status == 200


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_files_are_left(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    for body, status in ((SAMPLE, 200), (b"x", 400), (b"[", 400), (SAMPLE, 200)):
        assert call(app, body).status == status
        assert files_below(tmp_path) == []


def test_bodies_of_different_sizes_through_one_slot(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    for count in (1, 100_000, 3, 0, 20_000):
        answer = call(app, (EVENT + "\n").encode() * count)
        assert json.loads(answer.headers["X-Report-Summary"])["counted"] == count


@pytest.mark.parametrize(
    "arguments",
    [["--runner=DirectRunner", NO_DOWNLOAD], ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]],
    ids=["DirectRunner", "threads"],
)
def test_another_runner_builds_a_graph_for_each_request(tmp_path: Path, arguments: list[str]) -> None:
    app = build_app(tmp_path, None, *arguments)
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, SAMPLE).body.decode() == REPORT
    assert call(app, b"x").problem["status"] == 400


def test_unknown_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--runer"):
        build_app(tmp_path, None, "--runer=X")


RECORD = st.sampled_from([EVENT, "{}", "[", "1", '"\u00e9"', "", " ", "\x00", '{"id": 1}', EVENT[:-1]])
RECORDS = st.lists(RECORD, max_size=6)
BODIES = st.one_of(
    st.binary(max_size=200),
    RECORDS.map(lambda records: "\n".join(records).encode()),
    RECORDS.map(lambda records: f"[{','.join(records)}]".encode()),
    RECORDS.map(lambda records: gzip.compress("\n".join(records).encode())),
    RECORDS.map(lambda records: zstandard.ZstdCompressor().compress("\n".join(records).encode())),
)
LATIN = st.text(st.characters(max_codepoint=255), max_size=10)  # as WSGI has it
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_CONTENT_ENCODING": st.sampled_from(["gzip", "zstd", "identity", "br", "gzip, gzip", "\xe9", ""]),
        "CONTENT_LENGTH": st.one_of(st.integers(-1, 300).map(str), LATIN),
        "CONTENT_TYPE": LATIN,
        "HTTP_AUTHORIZATION": LATIN,
        "QUERY_STRING": st.one_of(LATIN, st.sampled_from(["time_zone=UTC", "rejects=skip&x", "deduplicate=true"])),
    },
)


@given(
    body=BODIES,
    headers=HEADERS,
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "\xe9"]),
    path=st.one_of(st.just("/"), LATIN.map(lambda text: "/" + text)),
)
def test_fuzz(app: Any, body: bytes, headers: dict[str, str], method: str, path: str) -> None:
    """Whatever a client sends: a report, or a problem that is the client's."""
    answer = call_loosely(app, body=body, method=method, path=path, **headers)
    assert answer.status < 500
    if answer.status >= 400 and method != "HEAD":
        assert answer.problem
    assert_no_internals(str(answer.headers))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], "invalid"),
        (["--port", "99999"], "from 0 to 65535"),
        (["--slots", "0"], "must be from 1"),
        (["--host", "0.0.0.0"], "--insecure"),
        (["--host", ""], "--insecure"),
        (["--host", "::"], "--insecure"),
        (["--token_file", "/nowhere"], "No such file"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        parse_settings(arguments)
    assert end.value.code == 2
    assert re.search(r"error: .*" + re.escape(message), capsys.readouterr().err)


@pytest.mark.parametrize("content", ["", " \n", "two words", "\u00e9"])
def test_wrong_token_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(SystemExit) as end:
        parse_settings(["--token_file", str(tmp_path / "token")])
    assert end.value.code == 2


def test_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    public = ["--host", "0.0.0.0"]
    assert parse_settings([*public, "--token_file", str(tmp_path / "token")]).token == "secret"
    assert parse_settings([*public, "--insecure"]).host == "0.0.0.0"
    assert parse_settings(["--host", "localhost", "--runner", "X"]).beam_arguments == ("--runner=X",)
