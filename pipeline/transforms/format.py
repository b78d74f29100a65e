"""Formats tables and rejects as pieces of files, which transforms/write.py writes."""

import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam

from pipeline.errors import MismatchError
from pipeline.model.events import Reject
from pipeline.model.table import Table, csv_text

Piece = tuple[Any, bytes]  # a part of a file: its sort key, its bytes

TABLE_PLACE = '<thead><tr id="columns"></tr></thead><tbody id="rows"></tbody>'
"""The empty head and body in the page's HTML that `fill_table` fills."""


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


def fill_table(page: bytes, csv: bytes) -> bytes:
    """Fills the page's table of hours.

    Args:
      page: HTML, UTF-8, with TABLE_PLACE once at most.
      csv: a report, whose values need no quoting in CSV or HTML.

    Returns:
      The page with a head cell for each column and a row for each hour.
    """
    header, *lines = csv.splitlines()
    head = b"".join(b'<th scope="col">%b</th>' % name for name in header.split(b","))
    rows = b"\n".join(_row(*line.split(b",")) for line in lines)
    table = b'<thead><tr id="columns">%b</tr></thead>\n<tbody id="rows">\n%b\n</tbody>' % (head, rows)
    return page.replace(TABLE_PLACE.encode(), table)


def _row(hour: bytes, *values: bytes) -> bytes:
    return b'<tr><th scope="row">%b</th><td>%b</td></tr>' % (hour, b"</td><td>".join(values))


class FormatRejects(beam.PTransform):  # type: ignore[misc]
    """Formats rejects as JSON Lines: PCollection[tuple[Reject, ...]] -> PCollection[Piece], in the order of sources.

    The key of a piece: source, offset and index of its first record, its number of lines, its size in bytes.
    """

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[Piece]:
        return rejects | "Format" >> beam.Map(reject_lines).with_output_types(Piece)


def reject_lines(rejects: tuple[Reject, ...]) -> Piece:
    """Formats the rejects of one block as JSON Lines."""
    first, lines = rejects[0], io.BytesIO()
    for reject in rejects:  # there may be millions
        lines.write(json.dumps(vars(reject)).encode() + b"\n")
    data = lines.getvalue()
    return (first.source, first.offset or 0, first.index or 0, len(rejects), len(data)), data


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
        raise MismatchError(f"rejected {expected} records but wrote {lines}; please report this bug")
