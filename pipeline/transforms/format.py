"""Formats tables, ids and rejects as pieces of files, which transforms/write.py writes."""

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
from pipeline.transforms.ids import PartitionCount

Piece = tuple[Any, bytes]  # a part of a file: its sort key, its bytes


class FormatCsv(beam.PTransform):  # type: ignore[misc]
    """Formats a table as CSV: PCollection[Table] -> PCollection[Piece], one piece."""

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Piece]:
        return tables | "Format" >> beam.Map(lambda table: (0, csv_text(table).encode())).with_output_types(Piece)


@dataclasses.dataclass
class FormatChart(beam.PTransform):  # type: ignore[misc]
    """Embeds a report's only piece into an HTML page: PCollection[Piece] -> PCollection[Piece]."""

    before: str
    after: str

    def expand(self, reports: beam.PCollection[Piece]) -> beam.PCollection[Piece]:
        before, after = self.before.encode(), self.after.encode()

        def fill(key: Any, csv: bytes) -> Piece:
            return key, before + csv + fill_table(after, csv)

        return reports | "Format" >> beam.MapTuple(fill).with_output_types(Piece)


class FormatIds(beam.PTransform):  # type: ignore[misc]
    """Formats ids as lines: PCollection[tuple[PartitionCount, Ids]] -> PCollection[Piece], in the order of partitions.

    The key of a piece: its partition, its number of events, its size in bytes.
    """

    def expand(self, sets: beam.PCollection[tuple[PartitionCount, Ids]]) -> beam.PCollection[Piece]:
        return sets | "Format" >> beam.MapTuple(_id_piece).with_output_types(Piece)


def _id_piece(count: PartitionCount, ids: Ids) -> Piece:
    lines = id_sets.id_lines(ids)
    return (*count, len(lines)), lines


def check_ids(pieces: Sequence[tuple[Any, int]], tables: Iterable[Table]) -> None:
    """Checks that the pieces of FormatIds have the ids of all events in the tables.

    Args:
      pieces: the key and size of each; pieces with the same key were concatenated.
      tables: of the same events.

    Raises:
      MismatchError: ids were lost or duplicated.
    """
    check_id_count(sum(key[1] for key, _ in pieces), tables)
    if any(size != key[2] for key, size in pieces):
        raise MismatchError("ids were lost or duplicated: please report this")


def check_id_count(events: int, tables: Iterable[Table]) -> None:
    """Raises MismatchError if the ids are those of more or fewer events than the tables count."""
    counted = sum(map(count_table, tables))
    if events != counted:
        raise MismatchError(f"counted {counted} events but wrote the ids of {events}: please report this")


class FormatRejects(beam.PTransform):  # type: ignore[misc]
    """Formats rejects as JSON Lines: PCollection[tuple[Reject, ...]] -> PCollection[Piece], in the order of sources.

    The key of a piece: source, offset and index of its first record, its number of lines, its size in bytes.
    """

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[Piece]:
        return rejects | "Format" >> beam.Map(reject_lines).with_output_types(Piece)


def reject_lines(rejects: tuple[Reject, ...]) -> Piece:
    """Formats the rejects of one block as JSON Lines."""
    first = rejects[0]
    lines = "".join(json.dumps(dataclasses.asdict(reject)) + "\n" for reject in rejects).encode()
    return (first.source, first.offset or 0, first.index or 0, len(rejects), len(lines)), lines


def check_rejects(pieces: Sequence[tuple[Any, int]], rejected: Iterable[int]) -> None:
    """Checks that the pieces of FormatRejects have a line for each rejected record.

    Args:
      pieces: the key and size of each; pieces with the same key were concatenated.
      rejected: numbers of rejected records, whose sum is checked.

    Raises:
      MismatchError: lines were lost or duplicated.
    """
    expected, lines, damaged = sum(rejected), 0, False
    for (*_, count, size), joined in pieces:
        lines += count * (joined // size)
        damaged |= joined % size > 0
    if lines != expected or damaged:
        raise MismatchError(f"rejected {expected} records but wrote {lines}: please report this")
