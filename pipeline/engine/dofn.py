"""DoFns that a worker sets up in a fraction of the usual time.

Beam asks `inspect.signature` about each method of a DoFn (some 30) whenever a worker sets it up, four times over:
half of a short run. It lets a DoFn answer by itself, through a method `_inspect_NAME`; here the answer is found once a
class.
"""

import base64
import bz2
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.transforms.core import get_function_args_defaults

_HOOK = "_inspect_"
_arguments: dict[tuple[type, str], Any] = {}  # of a method: its arguments' names, and the defaults of the last ones


class QuickDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn whose methods have the same arguments in all instances of its class."""

    def __dir__(self) -> list[str]:
        """The methods that this project's classes define: all that Beam has to look at."""
        own = type(self).__mro__[: type(self).__mro__.index(beam.DoFn)]
        return [name for kind in own for name in vars(kind)]

    def __getattr__(self, name: str) -> Any:
        method = name.removeprefix(_HOOK)
        if method == name or not hasattr(type(self), method):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        key = type(self), method
        if key not in _arguments:
            _arguments[key] = get_function_args_defaults(getattr(self, method))
        names, defaults = _arguments[key]
        return lambda: (list(names), list(defaults))  # a runner may change them


class _Apply(QuickDoFn):
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def process(self, element: Any, *arguments: Any) -> Iterator[Any]:
        yield self._function(element, *arguments)


def quick_map(function: Callable[..., Any], *arguments: Any, output: Any) -> beam.ParDo:
    """As beam.Map(function, *arguments), perhaps side inputs, with the type of its output."""
    return beam.ParDo(_Apply(function), *arguments).with_output_types(output)


def make_quick(graph: beam_runner_api_pb2.Pipeline) -> beam_runner_api_pb2.Pipeline:
    """A translated graph, changed to be set up quickly where it is run again and again in this process.

    A worker that finds no windowing in a DoFn puts it there and pickles the DoFn anew, whenever it sets up a stage. And
    Beam compresses pickles by bzip2 for blocks of 900 kB, whose tables take longer to allocate than all the rest.
    """
    components = graph.components
    context = PipelineContext(components)
    for transform in components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            main = next(pcoll for tag, pcoll in transform.inputs.items() if not tag.startswith("side"))
            windowing = components.pcollections[main].windowing_strategy_id
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            *parts, _ = pickler.loads(payload.do_fn.payload)
            fn = pickler.dumps((*parts, context.windowing_strategies.get_by_id(windowing)))
            payload.do_fn.payload = base64.b64encode(bz2.compress(bz2.decompress(base64.b64decode(fn)), 1))
            transform.spec.payload = payload.SerializeToString()
    return graph
