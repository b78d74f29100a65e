"""A program: the command line with a planted fault, its first argument; a watch ends when nothing grows."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.engine.run_state import run_state
from pipeline.stream import graph, watch
from tests import faults

SHUFFLED: dict[str, faults.Plant] = {
    "ids of an hour lost": faults.wrap(graph, "ids_by_hour", faults.without_first),
    "ids of an hour twice": faults.wrap(graph, "ids_by_hour", faults.first_twice),
    "partial count lost": faults.ANY["partial count lost"],
    "partial count twice": faults.ANY["partial count twice"],
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
