"""Files written piece by piece, in order."""

import json

from pipeline import Job, find_files, run_job, unique_ids
from pipeline.engine.runners import beam_options
from pipeline.model.tally import Summary
from tests import support
from tests.support import Files, event


def test_large_outputs_go_through_part_files_in_order(files: Files) -> None:
    events = [event(f"{k:0100d}", timestamp=k) for k in range(60_000)]
    (files.folder / "in").mkdir()
    (files.folder / "in" / "a.jsonl").write_bytes(support.json_lines(events) + b"x\n" * 3000)
    inputs = tuple(find_files([str(files.folder / "in")]))
    job = Job(
        inputs, files.path("report.csv"), ids_output=files.path("ids.txt"), rejects_output=files.path("rejects.jsonl")
    )
    assert run_job(job, beam_options([])) == Summary(63_000, 60_000, 3000, 17)
    assert files.outputs() == ["ids.txt", "rejects.jsonl", "report.csv"]
    assert (files.folder / "ids.txt").read_text().splitlines() == unique_ids(events)
    rejects = [json.loads(text) for text in (files.folder / "rejects.jsonl").read_text().splitlines()]
    start = len(support.json_lines(events))
    assert [reject["offset"] for reject in rejects] == list(range(start, start + 6000, 2))
