"""Whatever is dropped or doubled on its way ends a batch with an error, and without a report."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.batch import graph
from pipeline.engine import spill
from tests import faults, support
from tests.support import call, event, json_lines

EVENTS = [event(f"id-{k}", "video_25", 1617393003 + 900 * (k % 9)) for k in range(100)]
MISMATCH = "please report this"


def _write(folder: Path) -> dict[str, str]:
    """The events in each format, by its name."""
    lines = json_lines(EVENTS)
    array = b"[" + lines.strip().replace(b"\n", b",\n") + b"]\n"
    files = {
        "a.jsonl": lines,
        "a.json": array,
        "b.json": b'{"mock_for_test": ' + array + b"}",
        "a.jsonl.gz": gzip.compress(lines),
        "empty.jsonl": b"",
        "blank.jsonl": b" \n",
        "none.json": b" [ ]\n",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    pq.write_table(pa.Table.from_pylist(EVENTS), folder / "a.parquet", row_group_size=9)
    return {name: str(folder / name) for name in (*files, "a.parquet")}


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Files in cells of 300 bytes; the working folder is empty."""
    faults.split_everywhere(monkeypatch)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    return _write(tmp_path / "in")


CASES = [
    *(("a.jsonl", name, plant) for name, plant in {**faults.LINES, **faults.ANY, **faults.JSON}.items()),
    *(("a.json", name, plant) for name, plant in {**faults.ANY, **faults.JSON}.items()),
    *(("b.json", name, plant) for name, plant in {**faults.ANY, **faults.JSON}.items()),
    *(("a.jsonl.gz", name, plant) for name, plant in {**faults.ANY, **faults.JSON}.items()),
    *(("a.parquet", name, plant) for name, plant in {**faults.ANY, **faults.ROWS}.items()),
]


MODES = ("in_memory", "multi_threading")  # of the embedded runner: one worker reads a file, several read splits
OF_MODES = [(mode, *case) for mode in MODES for case in CASES if mode != MODES[0] or case[1] not in faults.LINES]


@pytest.mark.parametrize(
    ("mode", "kind", "plant"), [(m, k, p) for m, k, _, p in OF_MODES], ids=[f"{m}: {k}: {n}" for m, k, n, _ in OF_MODES]
)
def test_what_is_dropped_or_doubled_ends_the_run(
    mode: str,
    kind: str,
    plant: faults.Plant,
    inputs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plant(monkeypatch)
    run = call(capsys, inputs[kind], "--direct_running_mode", mode)
    assert (run.status, run.out, list(Path().iterdir())) == (1, "", [])
    last_line = run.err.splitlines()[-1]  # a traceback of a worker thread precedes it, which the program filters
    assert last_line.startswith("error: ")
    assert MISMATCH in last_line


OF_OPTIONS = [
    *(("--ids_output", "ids.txt", name, plant) for name, plant in {**faults.IDS, **faults.IDS_BY_FILES}.items()),
    *(("--deduplicate", "", name, plant) for name, plant in faults.EVENTS.items()),
    *(("--deduplicate", "", name, plant) for name, plant in faults.ANY.items()),
]


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize(
    ("option", "value", "plant"),
    [(o, v, p) for o, v, _, p in OF_OPTIONS],
    ids=[f"{o}: {n}" for o, _, n, _ in OF_OPTIONS],
)
def test_what_is_shuffled(
    option: str,
    value: str,
    plant: faults.Plant,
    spilled: bool,
    inputs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if spilled:
        monkeypatch.setattr(spill, "_INLINE_BYTES", 0)
    plant(monkeypatch)
    run = call(capsys, inputs["a.jsonl"], *filter(None, (option, value)))
    assert (run.status, run.out, list(Path().iterdir())) == (1, "", [])
    assert MISMATCH in run.err


SHUFFLED = {**faults.IDS, **faults.IDS_SHUFFLED}


@pytest.mark.parametrize("plant", [None, *SHUFFLED.values()], ids=["no fault", *SHUFFLED])
def test_ids_that_the_runner_shuffles(
    plant: faults.Plant | None,
    inputs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As for a list in a bucket."""
    assert call(capsys, inputs["a.jsonl"], "--ids_output", "../by-files.txt", "--output", "../report.csv").status == 0
    wanted = Path("../by-files.txt").read_bytes()
    monkeypatch.setattr(graph, "is_local", lambda path: False)
    if plant:
        plant(monkeypatch)
    run = call(capsys, inputs["a.jsonl"], "--ids_output", "ids.txt")
    if plant:
        assert (run.status, run.out, list(Path().iterdir())) == (1, "", [])
        assert MISMATCH in run.err
    else:
        assert run.status == 0
        assert Path("ids.txt").read_bytes() == wanted


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("plant", [None, *faults.REJECTS.values()], ids=["no fault", *faults.REJECTS])
def test_what_is_written_of_rejects(
    plant: faults.Plant | None, spilled: bool, monkeypatch: pytest.MonkeyPatch, inputs: Any, capsys: Any
) -> None:
    """Two files of one name in messages, and equal: their rejects have the same places."""
    if spilled:
        monkeypatch.setattr(spill, "_INLINE_BYTES", 0)
    for name in ("\\xe9", "\udce9"):
        Path(f"../in/{name}.txt").write_bytes(json_lines(EVENTS[:9]) + b"x\n{}\n")
    if plant:
        plant(monkeypatch)
    run = call(capsys, *sorted(map(str, Path("../in").glob("*.txt"))), "--rejects_output", "r.jsonl")
    if plant:
        assert (run.status, run.out, list(Path().iterdir())) == (1, "", [])
        assert MISMATCH in run.err
    else:
        assert run.status == 0
        assert [json.loads(row)["raw"] for row in Path("r.jsonl").read_text().splitlines()] == ["x", "{}"] * 2


@pytest.mark.parametrize("shape", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("name", faults.JSON)
def test_events_lost_by_compiled_code(
    name: str, shape: str, inputs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults.JSON[name](monkeypatch)
    with support.decoder("compiled"):
        run = call(capsys, inputs[shape])
    assert (run.status, MISMATCH in run.err, list(Path().iterdir())) == (1, True, [])


@pytest.mark.parametrize("name", faults.FILES)
@pytest.mark.parametrize("last", ["a.json", "a.parquet", "empty.jsonl", "blank.jsonl", "none.json"])
def test_a_file_that_is_not_read_once(
    last: str, name: str, inputs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one without events: nothing tells before it was read that it has none."""
    faults.FILES[name](monkeypatch)
    run = call(capsys, inputs[last], inputs["a.jsonl.gz"])
    assert (run.status, MISMATCH in run.err, list(Path().iterdir())) == (1, True, [])


@pytest.mark.parametrize("more", [(), ("--deduplicate",), ("--ids_output", "ids.txt"), ("--rejects_output", "r.jsonl")])
def test_without_a_fault_everything_adds_up(
    more: tuple[str, ...], inputs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = call(capsys, *inputs.values(), *more)
    assert (run.status, "500 events read" in run.err) == (0, True), run.err
