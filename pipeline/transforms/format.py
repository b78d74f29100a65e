"""Tables, ids and rejects as pieces of text, for write.py."""

import dataclasses
import json
from typing import Any

import apache_beam as beam

from pipeline.model import ids as id_sets
from pipeline.model.events import Ids, Reject
from pipeline.model.table import Table, csv_text

Piece = tuple[Any, bytes]  # a part of a file: its place in the order, its bytes


class FormatCsv(beam.PTransform):  # type: ignore[misc]
    """A table as CSV: PCollection[Table] -> PCollection[Piece], one piece, for sinks.WriteFile."""

    def expand(self, tables: beam.PCollection[Table]) -> beam.PCollection[Piece]:
        return tables | "Format" >> beam.Map(lambda table: (0, csv_text(table).encode())).with_output_types(Piece)


class FormatIds(beam.PTransform):  # type: ignore[misc]
    """Sets of ids as lines: PCollection[tuple[int, Ids]] -> PCollection[Piece], in the order of partitions."""

    def expand(self, sets: beam.PCollection[tuple[int, Ids]]) -> beam.PCollection[Piece]:
        return sets | "Format" >> beam.MapTuple(lambda key, ids: (key, id_sets.id_lines(ids))).with_output_types(Piece)


class FormatRejects(beam.PTransform):  # type: ignore[misc]
    """Rejects as JSON Lines: PCollection[tuple[Reject, ...]] -> PCollection[Piece], in the order of the sources."""

    def expand(self, rejects: beam.PCollection[tuple[Reject, ...]]) -> beam.PCollection[Piece]:
        return rejects | "Format" >> beam.Map(_reject_lines).with_output_types(Piece)


def _reject_lines(rejects: tuple[Reject, ...]) -> Piece:
    first = rejects[0]
    lines = "".join(json.dumps(dataclasses.asdict(reject)) + "\n" for reject in rejects)
    return (first.source, first.offset or 0, first.index or 0), lines.encode()
