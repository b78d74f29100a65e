"""Tables, ids and rejects as pieces of text, for write.py."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam

from pipeline.errors import MismatchError
from pipeline.model import ids as id_sets
from pipeline.model.events import Ids, Reject
from pipeline.model.html_table import fill_table
from pipeline.model.table import Table, count_table, csv_text
from pipeline.transforms.ids import Share

Piece = tuple[Any, bytes]  # a part of a file: its place in the order, its bytes


class FormatCsv(beam.PTransform):  # type: ignore[misc]
    """A table as CSV: PCollection[Table] -> PCollection[Piece], one piece, for write.WriteFile."""

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Piece]:
        return tables | "Format" >> beam.Map(lambda table: (0, csv_text(table).encode())).with_output_types(Piece)


@dataclasses.dataclass
class FormatChart(beam.PTransform):  # type: ignore[misc]
    """Puts a report's only piece into the page that shows it: PCollection[Piece] -> PCollection[Piece]."""

    before: str
    after: str

    def expand(self, reports: beam.PCollection[Piece]) -> beam.PCollection[Piece]:
        before, after = self.before.encode(), self.after.encode()

        def fill(place: Any, csv: bytes) -> Piece:
            return place, before + csv + fill_table(after, csv)

        return reports | "Format" >> beam.MapTuple(fill).with_output_types(Piece)


class FormatIds(beam.PTransform):  # type: ignore[misc]
    """Sets of ids as lines: PCollection[tuple[Share, Ids]] -> PCollection[Piece], in the order of partitions.

    A piece's place: its partition, the ids of how many events came to that, how many bytes it has.
    """

    def expand(self, sets: beam.PCollection[tuple[Share, Ids]]) -> beam.PCollection[Piece]:
        return sets | "Format" >> beam.MapTuple(_id_piece).with_output_types(Piece)


def _id_piece(share: Share, ids: Ids) -> Piece:
    lines = id_sets.id_lines(ids)
    return (*share, len(lines)), lines


def check_ids(pieces: Sequence[tuple[Any, int]], tables: Iterable[Table]) -> None:
    """Raises MismatchError where pieces of FormatIds are not the ids of all events that tables count.

    pieces: the place of each, and how many bytes there are of it.
    """
    check_came(sum(place[1] for place, _ in pieces), tables)
    if any(size != place[2] for place, size in pieces):
        raise MismatchError("lines of ids were lost, or came twice: please report this")


def check_came(came: int, tables: Iterable[Table]) -> None:
    """Raises MismatchError where so many ids are not those of all events that tables count."""
    counted = sum(map(count_table, tables))
    if came != counted:
        raise MismatchError(f"counted {counted} events but the ids are those of {came}: please report this")


class FormatRejects(beam.PTransform):  # type: ignore[misc]
    """Rejects as JSON Lines: PCollection[tuple[Reject, ...]] -> PCollection[Piece], in the order of the sources.

    A piece's place: where its first record stands, how many lines it has, how many bytes.
    """

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[Piece]:
        return rejects | "Format" >> beam.Map(reject_lines).with_output_types(Piece)


def reject_lines(rejects: tuple[Reject, ...]) -> Piece:
    """Rejects of one block as JSON Lines."""
    first = rejects[0]
    lines = "".join(json.dumps(dataclasses.asdict(reject)) + "\n" for reject in rejects).encode()
    return (first.source, first.offset or 0, first.index or 0, len(rejects), len(lines)), lines


def check_rejects(pieces: Sequence[tuple[Any, int]], rejected: Iterable[int]) -> None:
    """Raises MismatchError where pieces of FormatRejects are not as many lines as records were rejected.

    pieces: the place of each, and how many bytes there are of it: those of equal places were joined. rejected: in
    parts.
    """
    expected, lines, damaged = sum(rejected), 0, False
    for (*_, count, size), joined in pieces:
        lines += count * (joined // size)
        damaged |= joined % size > 0
    if lines != expected or damaged:
        raise MismatchError(f"{expected} records were rejected but {lines} are in their file: please report this")
