"""Formats tables and rejects, and atomically writes one file, without a shard suffix, locally or in a bucket.

Workers format pieces of the file in parallel, and spill large ones to temporary files; one worker writes them in order.
"""

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import apache_beam as beam

from pipeline.engine.spill import Spill, SpilledValue, read_each_spilled, size_of
from pipeline.errors import MismatchError
from pipeline.model.events import Reject
from pipeline.model.table import Table, csv_text
from pipeline.storage.files import printable_path
from pipeline.storage.outputs import atomic_file

Piece = tuple[Any, bytes]  # a part of a file: its sort key, its bytes

Check = Callable[[Sequence[tuple[Any, int]], Iterable[Any]], None]
"""Raises PipelineError if pieces (the key and size of each) are inconsistent with the elements of `after`."""

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


class _PublishAll(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, check: Check | None) -> None:
        self._path, self._token, self._check = path, token, check

    def process(self, _: bytes, pieces: Iterable[tuple[Any, SpilledValue]], *after: Any) -> Iterator[str]:
        ordered = sorted(pieces, key=lambda piece: piece[0])
        if self._check:
            self._check([(key, size_of(spilled)) for key, spilled in ordered], chain(*after))
        with atomic_file(self._path, self._token) as stream:
            for piece in read_each_spilled(spilled for _, spilled in ordered):
                stream.write(piece)
        yield printable_path(self._path)


class _PublishOne(beam.DoFn):  # type: ignore[misc]
    def __init__(self, path: str, token: str, durable: bool) -> None:
        self._path, self._token, self._durable = path, token, durable

    def process(self, piece: Piece, *after: Any) -> Iterator[str]:
        with atomic_file(self._path, self._token, self._durable) as stream:
            stream.write(piece[1])
        yield printable_path(self._path)


@dataclasses.dataclass
class WriteFile(beam.PTransform):  # type: ignore[misc]
    """Writes one file from many pieces: PCollection[Piece] -> PCollection[str], the path of the written file.

    Pieces are sorted by key; without pieces the file is empty. Retries are idempotent.

    Args:
      path: path of the file.
      token: token of the run.
      after: a PCollection to compute first; if it fails, nothing is written.
      check: checks the pieces before they are written.
      spill_path: path beside which large pieces are spilled; default: path.
    """

    path: str
    token: str
    after: beam.PCollection[Any] | None = None
    check: Check | None = None
    spill_path: str | None = None

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        spill = beam.ParDo(Spill(self.spill_path or self.path, self.token)).with_output_types(tuple[Any, SpilledValue])
        lists = pieces | "To lists" >> beam.Map(lambda piece: [piece]).with_output_types(list[Piece])
        side_inputs = [beam.pvalue.AsIter(lists | "Spill pieces" >> spill)]
        side_inputs += [beam.pvalue.AsIter(self.after)] if self.after else []
        publish = beam.ParDo(_PublishAll(self.path, self.token, self.check), *side_inputs).with_output_types(str)
        return pieces.pipeline | "Once" >> beam.Impulse() | "Publish" >> publish


@dataclasses.dataclass
class WritePiece(beam.PTransform):  # type: ignore[misc]
    """Writes one file from its only piece: PCollection[Piece] -> PCollection[str]. Has one stage fewer than WriteFile.

    Args:
      path: path of the file.
      token: token of the run.
      after: PCollections to compute first; if one fails, nothing is written.
      durable: sync a local file to the disk before it replaces the old one.
    """

    path: str
    token: str
    after: Sequence[beam.PCollection[Any]] = ()
    durable: bool = False

    def expand(self, pieces: beam.PCollection[Piece]) -> beam.PCollection[str]:
        side_inputs = map(beam.pvalue.AsIter, self.after)
        publish = beam.ParDo(_PublishOne(self.path, self.token, self.durable), *side_inputs).with_output_types(str)
        return pieces | "Publish" >> publish
