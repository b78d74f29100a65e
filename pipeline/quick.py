"""DoFns that a worker sets up in a fraction of the usual time.

Beam asks `inspect.signature` about each method of a DoFn (some 30) whenever a worker sets it up, four times over:
half of a short run. It lets a DoFn answer by itself, through a method `_inspect_NAME`; here the answer is found once a
class.
"""

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.core import get_function_args_defaults

_HOOK = "_inspect_"
_arguments: dict[tuple[type, str], Any] = {}  # of a method: its arguments' names, and the defaults of the last ones


class QuickDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn whose methods have the same arguments in all instances of its class."""

    def __getattr__(self, name: str) -> Any:
        method = name.removeprefix(_HOOK)
        if method == name or not hasattr(type(self), method):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        key = type(self), method
        if key not in _arguments:
            _arguments[key] = get_function_args_defaults(getattr(self, method))
        return lambda: _arguments[key]


class _Apply(QuickDoFn):
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def process(self, element: Any, *arguments: Any) -> Iterator[Any]:
        yield self._function(element, *arguments)


def quick_map(function: Callable[..., Any], *arguments: Any, output: Any) -> beam.ParDo:
    """As beam.Map(function, *arguments), perhaps side inputs, with the type of its output."""
    return beam.ParDo(_Apply(function), *arguments).with_output_types(output)
