"""The server with another runner than its own: a real process that builds a graph for each request."""

import gzip
import json
from collections.abc import Iterator

import pytest

from bench.processes import children
from tests.integration.servers import TOOLS
from tests.processes import await_true, is_alive
from tests.serving_support import EVENT, REPORT, SAMPLE, Server, running
from tests.support import HEADER, NO_DOWNLOAD

RUNNERS = {
    "DirectRunner": ("--runner=DirectRunner", NO_DOWNLOAD),
    "PrismRunner": ("--runner=PrismRunner", f"--prism_location={TOOLS / 'prism'}"),
}


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("runner") / "tmp"
    with running(folder, "--processes=1", *RUNNERS[request.param]) as server:
        yield server
        (worker,) = server.workers
        started = children(worker)
        assert len(started) == (request.param == "PrismRunner")
        assert server.stop() == 0
        await_true(lambda: not any(map(is_alive, started)))
        assert list(folder.iterdir()) == []


def test_reports(server: Server) -> None:
    for body in (SAMPLE, gzip.compress(SAMPLE), SAMPLE):
        more = {} if body == SAMPLE else {"Content_Encoding": "gzip"}
        answer = server.post(body, **more)
        assert (answer.status, answer.body.decode()) == (200, REPORT), server.log
        assert json.loads(answer.headers["X-Report-Summary"]) == {"read": 6, "counted": 6, "rejected": 0, "hours": 3}


def test_options_of_a_request(server: Server) -> None:
    path = "/?time_zone=Asia/Kolkata&impressions_factor=2&deduplicate=true&rejects=skip"
    event = EVENT.replace("video_25", "impressions").encode() + b"\n"
    answer = server.post(event + b"x\n" + event, path)
    assert answer.body.decode() == HEADER + "2021-04-03T01:00:00+05:30,1,0,0,0,0,0,2\n", server.log
    summary = {"read": 3, "counted": 1, "rejected": 1, "hours": 1, "duplicate": 1}
    assert json.loads(answer.headers["X-Report-Summary"]) == summary
    assert "Mars" in server.post(path="/?time_zone=Mars").problem["detail"]


def test_a_large_body(server: Server) -> None:
    answer = server.post((EVENT + "\n").encode() * 20_000)
    assert answer.body.decode() == HEADER + "2021-04-02T20:00:00+01:00,0,0,20000,0,0,0,0.0\n", server.log


def test_rejects_have_their_places(server: Server) -> None:
    """Found again here where the engine is in another process."""
    problem = server.post(EVENT.encode() + b"\n\n" + b"x\n" * 20).problem
    assert (problem["read"], problem["rejected"], problem["complete"]) == (21, 20, True), server.log
    assert [reject["line"] for reject in problem["rejects"]] == list(range(3, 13))
    assert [reject["index"] for reject in problem["rejects"]] == list(range(1, 11))
    assert {reject["raw"] for reject in problem["rejects"]} == {"x"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [(b"x\n" + EVENT.encode(), "1 of 2 records"), (b"[1", "body: byte 2: JSON array is truncated")],
    ids=["reject", "broken"],
)
def test_problems(server: Server, body: bytes, detail: str) -> None:
    problem = server.post(body).problem
    assert problem["status"] == 400, server.log
    assert detail in problem["detail"]
    assert server.post().status == 200
