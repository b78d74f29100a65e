"""Whatever is dropped or doubled on its way ends a POST with 500, and without a report."""

from pathlib import Path

import pytest

from tests import faults
from tests.serving_support import assert_no_internals, build_app, call
from tests.support import event, json_lines

LINES = json_lines(event(f"id-{k}", "video_25", 1617393003 + 900 * (k % 9)) for k in range(100))
ARRAY = b"[" + LINES.strip().replace(b"\n", b",\n") + b"]"

CASES = [
    (body, plant) for body in (LINES, ARRAY) for plant in {**faults.ANY, **faults.JSON}.values()
]  # one reader reads a body, so none is split


@pytest.mark.parametrize(("body", "plant"), CASES)
def test_what_is_dropped_or_doubled_is_no_report(
    body: bytes, plant: faults.Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults.split_everywhere(monkeypatch)
    app = build_app(tmp_path / "server")
    assert call(app, body).status == 200
    with monkeypatch.context() as patch:
        plant(patch)
        answer = call(app, body)
    assert answer.status == 500
    assert_no_internals(answer.body.decode())
    assert b"video_25" not in answer.body
    assert "please report this" in caplog.text
    assert call(app, body).status == 200
