"""A program: the command line with a planted fault, its first argument; a watch ends when nothing grows."""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput

from pipeline.cli import main
from pipeline.engine.run_state import run_state
from pipeline.stream import graph, totals, watch
from tests import faults


def _with_ids_twice(sums: Iterable[TaggedOutput]) -> Iterator[TaggedOutput]:
    for output in sums:
        yield from [output] * (2 if output.tag == totals.IDS else 1)


SHUFFLED: dict[str, faults.Plant] = {
    **faults.lost_or_twice("sums of an hour", totals, "hour_sums"),
    "counts of an hour lost": faults.wrap(totals, "split_hours", faults.without_first),
    "ids of an hour lost": faults.wrap(totals, "ids_by_hour", faults.without_first),
    "ids of an hour twice": faults.wrap(totals, "hour_sums", _with_ids_twice),
}
BLOCKS = {name: plant for name, plant in faults.ANY.items() if "block" in name}
FAULTS: dict[str, faults.Plant] = {"none": lambda _: None, **faults.LINES, **faults.JSON, **BLOCKS, **SHUFFLED}


def _end_when_all_is_read(patch: pytest.MonkeyPatch) -> None:
    sound: Callable[..., Any] = watch.steady_time

    def now() -> Any:
        run_state.stopping.set()
        return sound()

    patch.setattr(watch, "steady_time", now)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as planted:
        faults.split_everywhere(planted)
        planted.setattr(graph, "ReadBlocks", functools.partial(graph.ReadBlocks, 300))
        _end_when_all_is_read(planted)
        FAULTS[sys.argv[1]](planted)
        sys.exit(main.main(sys.argv[2:]))
