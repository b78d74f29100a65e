"""Faults that are planted to see the invariant catch them: something is dropped or doubled, once or everywhere.

They replace functions of modules, since a graph that is set up already keeps the methods of its DoFns.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.batch import graph
from pipeline.engine import spill
from pipeline.engine.spill import Spill
from pipeline.formats import decoding, parquet
from pipeline.formats.blocks import LineReader
from pipeline.model import duplicates, ids
from pipeline.model.events import Batch
from pipeline.model.tally import Tally, merge_tallies
from pipeline.transforms import count, decode, deduplicate, read, write
from pipeline.transforms import ids as distinct

Plant = Callable[[pytest.MonkeyPatch], None]

LINE_BYTES = 76
"""At least as long as a line of the inputs."""


def split_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Files are cut in splits of 300 bytes, each read by itself; before a graph is built."""
    patch.setattr(read, "_SPLITS_A_RESTRICTION", 1)
    patch.setattr(graph, "ReadBlocks", functools.partial(read.ReadBlocks, split_bytes=300))
    patch.setattr(read, "group_files", functools.partial(read.group_files, split_bytes=300))


def without_first(items: Iterable[Any]) -> Iterator[Any]:
    yield from list(items)[1:]


def without_last(items: Iterable[Any]) -> Iterator[Any]:
    yield from list(items)[:-1]


def first_twice(items: Iterable[Any]) -> Iterator[Any]:
    for number, item in enumerate(items):
        yield item
        if number == 0:
            yield item


def wrap(owner: Any, name: str, change: Callable[[Any], Any]) -> Plant:
    """What a function returns is changed."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        sound = getattr(owner, name)
        patch.setattr(owner, name, lambda *arguments, **named: change(sound(*arguments, **named)))

    return plant


def lost_or_twice(what: str, owner: Any, name: str) -> dict[str, Plant]:
    """Of what a function returns the first is missing, or comes twice."""
    changes = {"lost": without_first, "twice": first_twice}
    return {f"{what} {fault}": wrap(owner, name, change) for fault, change in changes.items()}


SPILLED = lost_or_twice("spilled value", Spill, "finish_bundle")


def _in_first_with_events(change: Callable[[Batch], Batch]) -> Callable[[Batch], Batch]:
    return lambda batch: change(batch) if len(batch.codes) else batch


@_in_first_with_events
def _event_lost(batch: Batch) -> Batch:
    return batch.select(np.arange(len(batch.codes)) > 0)


@_in_first_with_events
def _event_twice(batch: Batch) -> Batch:
    return Batch.concat([batch, batch.select(np.arange(len(batch.codes)) == 0)])


def _line_lost_at_splits(patch: pytest.MonkeyPatch) -> None:
    sound = LineReader._seek

    def seek(reader: LineReader, split: int) -> None:
        sound(reader, split)
        while reader._skipping and not reader.at_end:
            reader._skip_line()
        reader._skipping = True

    patch.setattr(LineReader, "_seek", seek)


def _line_twice_at_splits(patch: pytest.MonkeyPatch) -> None:
    sound = LineReader._take_lines
    patch.setattr(LineReader, "_take_lines", lambda reader, limit: sound(reader, limit + LINE_BYTES))


LINES: dict[str, Plant] = {"line lost at splits": _line_lost_at_splits, "line twice at splits": _line_twice_at_splits}
"""For plain JSON Lines."""

ANY: dict[str, Plant] = {
    "first block lost": wrap(read, "_read", without_first),
    "last block lost": wrap(read, "_read", without_last),
    "block twice": wrap(read, "_read", first_twice),
    "first block lost on its way": wrap(read, "_with_coverage", without_first),
    "last block lost on its way": wrap(read, "_with_coverage", without_last),
    "block twice on its way": wrap(read, "_with_coverage", first_twice),
    **lost_or_twice("partial count", count, "split_hours"),
    "tally lost": wrap(count, "tally_batch", lambda _: Tally()),
    "tally twice": wrap(count, "tally_batch", lambda tally: merge_tallies([tally, tally])),
}
"""For inputs of any format."""

JSON: dict[str, Plant] = {
    "event lost": wrap(decoding.Block, "_columns", lambda decoded: (_event_lost(decoded[0]), decoded[1])),
    "event twice": wrap(decoding.Block, "_columns", lambda decoded: (_event_twice(decoded[0]), decoded[1])),
}
"""For JSON in any shape."""

ROWS: dict[str, Plant] = {
    "row lost": wrap(parquet, "decode_rows", _event_lost),
    "row twice": wrap(parquet, "decode_rows", _event_twice),
}
"""For Parquet."""

FILES: dict[str, Plant] = lost_or_twice("file", read._List, "process")
"""For several files."""


IDS: dict[str, Plant] = {
    **lost_or_twice("partition", ids, "pack_partitions"),
    "piece lost in the shuffle": wrap(spill, "read_spilled", lambda data: data[:0]),
    "piece twice from the shuffle": wrap(spill, "read_spilled", lambda data: data * 2),
    **SPILLED,
}
"""For ids."""

IDS_BY_FILES: dict[str, Plant] = lost_or_twice("lines", distinct, "map_in_threads")
"""For ids that are merged as they are written."""

IDS_SHUFFLED: dict[str, Plant] = lost_or_twice("set", distinct._MergeIds, "emit")
"""For ids that the runner shuffles."""

REJECTS: dict[str, Plant] = {
    "lines lost": wrap(write, "reject_lines", lambda piece: (piece[0], b"")),
    "lines cut": wrap(write, "reject_lines", lambda piece: (piece[0], piece[1][:-1])),
    "rejects lost": wrap(decode._DecodeBlocks, "emit", lambda outputs: [o for o in outputs if isinstance(o, Batch)]),
    "rejects twice": wrap(decode._DecodeBlocks, "emit", first_twice),
    **SPILLED,
}
"""For rejects that are written to a file."""

_PICKLE = b"\x80"

EVENTS: dict[str, Plant] = {
    **lost_or_twice("partition", duplicates, "pack_partitions"),
    "piece lost in the shuffle": wrap(spill, "read_spilled", lambda data: data if data.startswith(_PICKLE) else b""),
    **lost_or_twice("set", deduplicate._MergeEvents, "emit"),
}
"""For duplicates."""
