"""The transforms on two runners, and the whole graph."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipeline import (
    BatchEvents,
    Block,
    DecodeBlocks,
    DistinctIds,
    FormatCsv,
    HourlyReport,
    HourlyTable,
    Job,
    ReadBlocks,
    ScaleImpressions,
    UniqueIds,
    csv_text,
    find_files,
    hourly_table,
    run_job,
    scale_impressions,
    unique_ids,
)
from pipeline.engine.runners import beam_options
from pipeline.errors import EventError, InputError, MismatchError, RejectsError, UsageError
from pipeline.formats.decoding import Shape
from pipeline.model import table as tables
from pipeline.model.events import Batch, batch_events
from pipeline.model.table import COLUMNS
from pipeline.model.tally import Summary, Tally, check_counts, merge_tallies
from pipeline.transforms import count as counting
from pipeline.transforms.count import NO_HOUR, CountHours
from pipeline.transforms.decode import REJECTS
from pipeline.transforms.format import FormatIds
from tests import oracle, support
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, HEADER, event

on_both_runners = pytest.mark.parametrize("runner", support.RUNNERS)

MANY = [event(f"id-{k % 400}", oracle.EVENTS[k % 6], 1617393003 + k * 97) for k in range(3000)]


def batches(pipeline: beam.Pipeline, events: list[dict[str, Any]]) -> beam.PCollection[Batch]:
    """Events as a source of many small bundles gives them."""
    return pipeline | "Events" >> beam.Create(events) | BatchEvents()


def only(wanted: Any) -> Callable[[list[Any]], None]:
    """A matcher: one element, equal to this."""

    def check(found: list[Any]) -> None:
        assert found == [wanted]

    return check


@on_both_runners
def test_hourly_table(runner: str) -> None:
    rows = [
        ("2021-04-02T18:00:00+01:00", 0, 1, 1, 0, 0, 0),
        ("2021-04-02T20:00:00+01:00", 0, 0, 1, 0, 0, 0),
        ("2021-04-02T22:00:00+01:00", 0, 0, 1, 1, 0, 1),
    ]
    with support.beam_pipeline(runner) as pipeline:
        table = batches(pipeline, EXAMPLE_EVENTS) | HourlyTable()
        assert_that(table, only([dict(zip(COLUMNS, row, strict=True)) for row in rows]))


@on_both_runners
def test_hourly_table_of_no_events(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, []) | HourlyTable(), only([]))


@on_both_runners
def test_hourly_table_of_many_events_at_another_offset(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, MANY) | HourlyTable("+05:30"), only(hourly_table(MANY, "+05:30")))


@on_both_runners
@pytest.mark.parametrize(
    ("zone", "start"), [("Europe/Paris", 1635631200), ("Europe/Paris", 1616882400), ("Australia/Adelaide", 1633185000)]
)
def test_hourly_table_where_clocks_change(runner: str, zone: str, start: int) -> None:
    events = [support.event(f"i{k}", oracle.EVENTS[k % 6], start + k * 300) for k in range(60)]
    rows = [(item["id"], item["event"], item["timestamp"]) for item in events]
    with support.beam_pipeline(runner) as pipeline:
        table = batches(pipeline, events) | HourlyTable(time_zone=zone) | ScaleImpressions()
        assert_that(table | FormatCsv(), only((0, oracle.report(rows, zone).encode())))


def test_hourly_table_refuses_a_zone_beside_an_offset() -> None:
    with pytest.raises(UsageError, match="only one of them"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, []) | HourlyTable("+01:00", "Europe/Paris")


def test_hourly_table_refuses_a_bad_offset() -> None:
    with pytest.raises(UsageError, match="UTC offset '1'"), support.beam_pipeline() as pipeline:
        _ = batches(pipeline, []) | HourlyTable("1")


def test_hourly_table_adds_up_many_batches() -> None:
    with support.beam_pipeline() as pipeline:
        blocks = [Block(support.json_lines(MANY[k : k + 10])) for k in range(0, 3000, 10)]
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches | HourlyTable(), only(hourly_table(MANY)))


class _BundlesOfOne(counting._CountBatches):
    """Gives the partial counts of each batch, as if each were a bundle: runners on one machine make few bundles."""

    def process(self, batch: Batch) -> Iterator[Any]:  # type: ignore[override]
        self.start_bundle()
        super().process(batch)
        for count in super().finish_bundle():
            yield count.value
        self.start_bundle()


def test_partial_counts_of_many_bundles_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_CountBatches", _BundlesOfOne)
    blocks = [Block(support.json_lines(MANY[k::30])) for k in range(30)]
    with support.beam_pipeline() as pipeline:
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches | HourlyTable(), only(hourly_table(MANY)))


@on_both_runners
def test_scale_impressions(runner: str) -> None:
    table = [{"hour": "a", "impressions": 3, "video_25": 1}, {"hour": "b", "impressions": 10, "video_25": 2}]
    wanted = [{**row, "impressions_scaled": Decimal(value)} for row, value in zip(table, ("0.3", "1.0"), strict=True)]
    with support.beam_pipeline(runner) as pipeline:
        assert_that(pipeline | beam.Create([table]) | ScaleImpressions(), only(wanted))


@on_both_runners
def test_scale_impressions_by_another_factor(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        tables = pipeline | beam.Create([[{"impressions": 3}], []]) | ScaleImpressions("2.5")
        assert_that(tables, equal_to([[{"impressions": 3, "impressions_scaled": Decimal("7.5")}], []]))


@on_both_runners
def test_unique_ids(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        ids = batches(pipeline, [*EXAMPLE_EVENTS, *EXAMPLE_EVENTS[::-1]]) | UniqueIds()
        assert_that(ids, equal_to([item["id"] for item in EXAMPLE_EVENTS]))


@on_both_runners
def test_unique_ids_of_no_events(runner: str) -> None:
    with support.beam_pipeline(runner) as pipeline:
        assert_that(batches(pipeline, []) | UniqueIds(), equal_to([]))


@on_both_runners
def test_unique_ids_of_many_events(runner: str) -> None:
    odd = [event(identity) for identity in ("é", "e\u0301", "日本", "\U0001f600", "a\nb", " ", "\0", "x" * 5000)] * 2
    with support.beam_pipeline(runner) as pipeline:
        found = batches(pipeline, MANY + odd) | UniqueIds()
        assert_that(found, equal_to(sorted(oracle.unique_ids((e["id"], "", 0) for e in MANY + odd))))


def test_distinct_ids_are_in_the_order_of_the_plain_function() -> None:
    def check(pieces: list[tuple[int, bytes]]) -> None:
        lines = b"".join(data for _, data in sorted(pieces))
        assert lines.decode().splitlines() == unique_ids(MANY)

    with support.beam_pipeline() as pipeline:
        assert_that(batches(pipeline, MANY) | DistinctIds() | FormatIds(), check)


@pytest.mark.parametrize("bundles", [1, 2])
def test_a_table_has_a_limit_of_hours(bundles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_HOURS", 3)
    for count in (3, 4):
        events = [event(timestamp=3600 * k) for k in range(count)]
        parts = [events] if bundles == 1 else [events[:2], events[2:]]
        refused = pytest.raises(InputError, match="more than 3 different hours") if count > 3 else nullcontext()
        with refused, support.beam_pipeline() as pipeline:
            made = [pipeline | f"{k}" >> beam.Create([batch_events(part)]) for k, part in enumerate(parts)]
            assert_that(made | beam.Flatten() | HourlyTable() | beam.Map(len), equal_to([count]))


@on_both_runners
def test_an_event_that_is_none_ends_the_pipeline(runner: str) -> None:
    with pytest.raises(EventError, match="event 0: unknown event 'click'"), support.beam_pipeline(runner) as pipeline:
        _ = batches(pipeline, [event(kind="click")]) | HourlyTable()


def test_format_csv() -> None:
    table = scale_impressions(hourly_table(EXAMPLE_EVENTS))
    with support.beam_pipeline() as pipeline:
        assert_that(pipeline | beam.Create([table]) | FormatCsv(), only((0, EXAMPLE_REPORT.encode())))


@on_both_runners
def test_decode_blocks(runner: str) -> None:
    good = support.line("a", "video_25", 1)
    blocks = [
        Block(good + b"\nx\n" + good + b"\n", Shape.LINES, "one", 100),
        Block(good + b",1," + good + b"\n", Shape.ELEMENTS, "two", 1, 5),
        Block(b"y" * 10, Shape.TOO_LONG, "three", 7),
    ]

    def check_batches(found: list[Batch]) -> None:
        assert sorted(len(batch.codes) for batch in found) == [0, 2, 2]
        assert {row for batch in found for row in support.batch_rows(batch)} == {("a", "video_25", 1)}

    def check_rejects(found: list[Any]) -> None:
        places = sorted((reject.source, reject.offset, reject.index) for rejects in found for reject in rejects)
        assert places == [("one", 101 + len(good), None), ("three", 7, None), ("two", 2 + len(good), 6)]

    def check_tally(found: list[tuple[int, Any]]) -> None:
        tally = dict(found)[NO_HOUR]
        assert (tally.read, tally.rejected, len(tally.first)) == (7, 3, 3)

    with support.beam_pipeline(runner) as pipeline:
        decoded = pipeline | beam.Create(blocks) | DecodeBlocks()
        assert_that(decoded.batches, check_batches, "batches")
        assert_that(decoded[REJECTS], check_rejects, "rejects")
        assert_that(decoded.batches | CountHours(support.clock(), with_tally=True), check_tally, "tally")


def test_rejects_that_nobody_keeps_are_all_counted() -> None:
    blocks = [Block(b"x\n" * 1000, source="s", offset=k * 2000) for k in (2, 0, 1)]
    pipeline = support.beam_pipeline()
    decoded = pipeline | beam.Create(blocks) | DecodeBlocks(keep_rejects=False)
    _ = decoded.batches | HourlyTable(refuse_rejects=True)
    with pytest.raises(RejectsError) as caught:
        pipeline.run()
    message = str(caught.value)
    assert message.startswith("3000 of 3000 records rejected: s: byte 0: not JSON")
    assert [f"s: byte {offset}:" in message for offset in range(0, 22, 2)] == [True] * 10 + [False]
    assert "; and 2990 more" in message


@on_both_runners
def test_a_broken_array_ends_the_pipeline(runner: str) -> None:
    with pytest.raises(InputError, match="s: byte 3: not JSON"), support.beam_pipeline(runner) as pipeline:
        _ = pipeline | beam.Create([Block(b"x\n", Shape.ELEMENTS, "s", 3)]) | DecodeBlocks()


def test_the_invariant() -> None:
    check_counts(6, 6, 0)
    check_counts(8, 6, 2)
    for read, rejected in ((7, 0), (5, 0), (6, 1)):
        with pytest.raises(MismatchError, match=f"read {read} records but counted 6 and rejected"):
            check_counts(read, 6, rejected)


@on_both_runners
def test_a_table_that_lost_an_event_is_refused(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "split_hours", lambda counts, offset: iter([]))
    with pytest.raises(MismatchError, match="read 6 records but counted 0"), support.beam_pipeline(runner) as pipeline:
        _ = pipeline | beam.Create(EXAMPLE_EVENTS) | BatchEvents() | HourlyTable()


def test_merging_tallies() -> None:
    assert merge_tallies([]) == Tally()
    assert merge_tallies([Tally(3, 1), Tally(), Tally(4, 2)]) == Tally(7, 3)


# The whole graph.


@dataclasses.dataclass
class Files:
    """Inputs of three shapes with the six example events, and where outputs go."""

    folder: Path

    def job(self, **changes: Any) -> Job:
        inputs = self.folder / "in"
        inputs.mkdir()
        (inputs / "a.json").write_text(json.dumps(EXAMPLE_EVENTS[:2]))
        (inputs / "b.json").write_text(json.dumps({"mock_for_test": EXAMPLE_EVENTS[2:4]}))
        (inputs / "c.jsonl").write_bytes(support.json_lines(EXAMPLE_EVENTS[4:]))
        return dataclasses.replace(Job(tuple(find_files([str(inputs)])), self.path("report.csv")), **changes)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def outputs(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != "in")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@on_both_runners
def test_hourly_report(runner: str, files: Files) -> None:
    job = files.job(ids_output=files.path("ids.txt"), rejects_output=files.path("rejects.jsonl"))
    job = dataclasses.replace(job, chart_output=files.path("chart.html"), chart_page=("<\xe9>", "</>"))
    with support.beam_pipeline(runner) as pipeline:
        assert_that(pipeline | HourlyReport(job), equal_to([job.output]))
    assert files.outputs() == ["chart.html", "ids.txt", "rejects.jsonl", "report.csv"]
    assert Path(job.output).read_text() == EXAMPLE_REPORT
    assert (files.folder / "ids.txt").read_text().splitlines() == unique_ids(EXAMPLE_EVENTS)
    assert (files.folder / "rejects.jsonl").read_text() == ""
    assert (files.folder / "chart.html").read_text() == f"<\xe9>{EXAMPLE_REPORT}</>"


@on_both_runners
def test_no_report_without_its_chart(runner: str, files: Files) -> None:
    job = files.job(chart_output=files.path("chart.html/x"))
    Path(files.path("chart.html")).write_text("in the way")
    with pytest.raises(Exception, match=r"chart\.html"):
        run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert files.outputs() == ["chart.html"]


@on_both_runners
def test_hourly_report_with_rejects(runner: str, files: Files) -> None:
    job = files.job()
    good = support.line("a", "impressions", 0)
    (files.folder / "in" / "bad.jsonl").write_bytes(b"x\n" + good + b"\n{}\n")
    job = dataclasses.replace(job, files=tuple(find_files([str(files.folder / "in")])))
    with pytest.raises(RejectsError, match=r"2 of 9 records rejected: .*bad\.jsonl: byte 0: not JSON.*byte 5"):
        run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert files.outputs() == []
    job = dataclasses.replace(job, rejects_output=files.path("rejects.jsonl"))
    summary = run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD]))
    assert summary == Summary(read=9, counted=7, rejected=2, hours=4)
    assert Path(job.output).read_text() == EXAMPLE_REPORT.replace(
        HEADER, HEADER + "1970-01-01T01:00:00+01:00,1,0,0,0,0,0,0.1\n"
    )
    rejects = [json.loads(text) for text in (files.folder / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["offset"], reject["raw"]) for reject in rejects] == [(0, "x"), (len(good) + 3, "{}")]


@on_both_runners
def test_run_job(runner: str, files: Files) -> None:
    job = files.job(utc_offset="-03:30", impressions_factor="2")
    assert run_job(job, beam_options([f"--runner={runner}", support.NO_DOWNLOAD])) == Summary(6, 6, 0, 3)
    events = [(item["id"], item["event"], item["timestamp"]) for item in EXAMPLE_EVENTS]
    assert Path(job.output).read_text() == oracle.report(events, -210, "2")
    assert files.outputs() == ["report.csv"]


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


def test_the_readme_way(files: Files) -> None:
    """The transforms one by one, as a user puts them together."""
    job = files.job()
    with support.beam_pipeline() as pipeline:
        decoded = pipeline | beam.Create(job.files) | ReadBlocks() | DecodeBlocks()
        tables = decoded.batches | HourlyTable() | ScaleImpressions()
        assert_that(tables | beam.Map(csv_text), equal_to([EXAMPLE_REPORT]))
