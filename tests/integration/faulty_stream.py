"""A program: the command line with a planted fault, its first argument; a watch ends with its second poll."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.engine.local_run import local_run
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


def _end_with_the_second_poll(patch: pytest.MonkeyPatch) -> None:
    sound: Callable[..., Any] = watch._new_files

    def find(*arguments: Any) -> Any:
        local_run.stopping.set()
        return sound(*arguments)

    patch.setattr(watch, "_new_files", find)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as planted:
        faults.split_everywhere(planted)
        planted.setattr(graph, "ReadBlocks", functools.partial(graph.ReadBlocks, 300))
        _end_with_the_second_poll(planted)
        FAULTS[sys.argv[1]](planted)
        sys.exit(main.main(sys.argv[2:]))
