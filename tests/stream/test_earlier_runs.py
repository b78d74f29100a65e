"""What a run begins with is what earlier ones have contributed, in the form that its settings ask for."""

import dataclasses
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline.engine.metrics import COUNTS
from pipeline.formats.decoding import Block
from pipeline.model.duplicates import encode_keys
from pipeline.model.ids import merge_packed
from pipeline.model.settings import ReportSettings
from pipeline.model.tally import expected_checksum
from pipeline.storage.files import InputFile
from pipeline.stream import StreamJob
from pipeline.stream.decode import DecodeToLedger
from pipeline.stream.graph import ReadLedger, hour_outputs
from pipeline.stream.ledger import open_ledger
from pipeline.stream.totals import HOUR_COUNTS, HOUR_EVENTS, ID_EVENTS, IDS
from tests import support
from tests.support import event, json_lines

HOUR = 1617390000
TAGS = ("batches", HOUR_COUNTS, HOUR_EVENTS, IDS, ID_EVENTS, COUNTS)
EVENTS = [event("a", timestamp=HOUR), event("a", "video_25", HOUR), event("b", timestamp=HOUR + 3600)]
BLOCK = Block(json_lines(EVENTS) + b"bad\n", source="a", coverage_delta=expected_checksum(["a"]))


def earlier(job: StreamJob) -> dict[str, list[Any]]:
    """What a second run gets of a first one that has seen BLOCK."""
    with open_ledger(job.output, job.settings) as ledger, support.beam_pipeline() as pipeline:
        ledger.start_file(InputFile("a", 1, "a"), b"a", 0)
        hour_outputs(pipeline | beam.Create([BLOCK]), "Decode", DecodeToLedger(job))
    found: dict[str, list[Any]] = {name: [] for name in TAGS}
    with open_ledger(job.output, job.settings), support.beam_pipeline() as pipeline:
        outputs = hour_outputs(pipeline | beam.Impulse(), "Earlier", ReadLedger(job))
        for name, items in found.items():
            _ = outputs[name] | name >> beam.Map(support.Collect(items))
    return found


@pytest.mark.parametrize("ids", [True, False])
def test_counts_and_ids_by_the_hour(ids: bool, tmp_path: Path) -> None:
    found = earlier(StreamJob(str(tmp_path), ids_output="ids" if ids else None, ledger=True))
    assert sorted(found[HOUR_COUNTS]) == [(HOUR, (1, 0, 1, 0, 0, 0)), (HOUR + 3600, (1, 0, 0, 0, 0, 0))]
    assert sorted(found[HOUR_EVENTS]) == [(HOUR, 2), (HOUR + 3600, 1)]
    assert found[COUNTS] == [(0, {"read": 4, "rejected": 1, "late": 0, "counted": 0})]
    assert found["batches"] == []
    places = {place: merge_packed(piece) for place, piece in found[IDS]}
    names = {place: (sorted(items.to_list()), came) for place, (items, came) in places.items()}
    assert names == ({(HOUR, 0): ([b"a"], 2), (HOUR + 3600, 0): ([b"b"], 1)} if ids else {})
    assert sorted(found[ID_EVENTS]) == ([((HOUR, 0), 2), ((HOUR + 3600, 0), 1)] if ids else [])


def test_the_events_themselves_where_duplicates_are_dropped(tmp_path: Path) -> None:
    found = earlier(StreamJob(str(tmp_path), ReportSettings(deduplicate=True), ids_output="ids", ledger=True))
    assert found[HOUR_COUNTS] == found[HOUR_EVENTS] == found[IDS] == found[ID_EVENTS] == []
    keys = sorted(key for batch in found["batches"] for key in encode_keys(batch).to_list())
    whole = dataclasses.replace(BLOCK, data=json_lines(EVENTS)).decode(True, None)
    assert keys == sorted(encode_keys(whole).to_list())
    assert found[COUNTS] == [(0, {"read": 4, "rejected": 1, "late": 0, "counted": 0}), *[(0, {"duplicate": 0})] * 2]


def test_a_first_run_begins_with_nothing(tmp_path: Path) -> None:
    job = StreamJob(str(tmp_path), ledger=True)
    found: list[Any] = []
    with open_ledger(job.output, job.settings), support.beam_pipeline() as pipeline:
        outputs = hour_outputs(pipeline | beam.Impulse(), "Earlier", ReadLedger(job))
        for name in TAGS:
            _ = outputs[name] | name >> beam.Map(support.Collect(found))
    assert found == []
