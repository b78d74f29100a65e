"""Beam's import without what a local batch does not use: half of its time. Only our own programs ask for it.

Of `import apache_beam` (0.8 s with numpy; Beam 2.77, Python 3.11) are
    pyarrow 0.06 s, of which Beam makes types of its own: we read Parquet without them;
    pymongo, bson 0.06 s; BigQuery's connector with requests and their like 0.08 s: each in a try of Beam's own;
    grpc with asyncio 0.08 s, beartype 0.05 s, httplib2 with pyparsing 0.04 s, urllib.request with http.client 0.03 s,
    proto 0.03 s, yaml 0.02 s, fastavro 0.01 s, dateutil 0.01 s, cryptography 0.01 s: of these Beam needs few names, and
    gets stand-ins that load the library when they are used.
With the clouds' extras installed their file systems are another 0.3 s.

HOURLY_REPORT_ALL_IMPORTS=1 in the environment turns it off.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

SWITCH = "HOURLY_REPORT_ALL_IMPORTS"

_LIBRARIES = (
    *("pyarrow", "pyarrow_hotfix", "pymongo", "bson", "apitools", "apache_beam.io.gcp.bigquery"),
    *("google.cloud", "google.cloud.dataflow"),  # the first is loaded by a .pth file of theirs
)
_STORAGES = ("gcp.gcsfilesystem", "aws.s3filesystem", "azure.blobstoragefilesystem", "hadoopfilesystem")

ABSENT = frozenset((*_LIBRARIES, *(f"apache_beam.io.{name}" for name in _STORAGES)))
"""What Beam takes for not installed."""

_GRPC_BASES = ("ClientCallDetails", "StreamStreamClientInterceptor", "UnaryUnaryClientInterceptor")

_MORE_THAN_LOCAL = re.compile("://|^-.*(runn|stream|expansion|environment)")


def applies(arguments: Sequence[str]) -> bool:
    """Whether a program with these arguments works on this machine alone, with Beam's embedded engine."""
    return not os.environ.get(SWITCH) and not any(_MORE_THAN_LOCAL.search(text) for text in arguments)


@contextlib.contextmanager
def lean(arguments: Sequence[str]) -> Iterator[None]:
    """While it holds, Beam is imported without what a program with these arguments does not use.

    Afterwards everything can be imported as usual.
    """
    if not applies(arguments) or "apache_beam" in sys.modules:
        yield
        return
    finder, stand_ins = _Finder(), _stand_ins()
    sys.meta_path.insert(0, finder)
    sys.modules.update(stand_ins)
    logging.getLogger("apache_beam.io.mongodbio").addFilter(_is_new)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _is_new(record: logging.LogRecord) -> bool:
    return "bson" not in record.getMessage()


class _Finder:
    """Finds nothing of ABSENT."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As importlib asks for; None leaves it to the other finders."""
        if name in ABSENT:
            raise ModuleNotFoundError(f"{name} is left out of this program ({SWITCH}=1 loads it)", name=name)
        return None


class _DoorError(Exception):
    """What Beam sees of beartype's errors."""


def _is_subhint(sub: Any, base: Any) -> bool:
    door, roar = importlib.import_module("beartype.door"), importlib.import_module("beartype.roar")
    try:
        return bool(door.is_subhint(sub, base))
    except roar.BeartypeDoorException as error:
        raise _DoorError(str(error)) from error


class _StandIn(types.ModuleType):
    """A module with the names that Beam imports from it; others are taken from the real one, which is then loaded.

    postponed: names of what Beam calls, which loads the real one. bases: names of classes that Beam derives from, or
    compares with, for what a local batch does not use; other libraries get the real ones.
    """

    def __init__(self, name: str, *postponed: str, bases: Sequence[str] = (), **names: Any) -> None:
        super().__init__(name)
        vars(self).update({known: self._postpone(known) for known in postponed})
        self._bases = {known: type(known, (), {}) for known in bases}
        vars(self).update(names)
        if "." not in name:  # its other modules are found as usual
            spec = importlib.util.find_spec(name)
            self.__path__ = spec.submodule_search_locations or [] if spec else []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if name in self._bases and sys._getframe(1).f_globals.get("__name__", "").startswith("apache_beam."):
            return self._bases[name]
        return getattr(self._load(), name)

    def _load(self) -> types.ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)

    def _postpone(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            return getattr(self._load(), name)(*arguments, **more)

        return call


def _stand_ins() -> dict[str, types.ModuleType]:
    dates = _StandIn("dateutil.parser")
    modules = (
        _StandIn("grpc", bases=_GRPC_BASES),
        _StandIn("urllib.request", "Request", "urlopen"),
        _StandIn("fastavro", "parse_schema", "schemaless_reader", "schemaless_writer"),
        _StandIn("fastavro.read", "block_reader"),
        _StandIn("fastavro.write", "Writer"),
        _StandIn("proto", bases=["Message"]),
        _StandIn("dateutil", parser=dates),
        dates,
        _StandIn("httplib2"),
        _StandIn("yaml"),
        _StandIn("beartype"),
        _StandIn("beartype.door", is_subhint=_is_subhint),
        _StandIn("beartype.roar", BeartypeDoorException=_DoorError),
        _StandIn("cryptography"),
        _StandIn("cryptography.fernet", "Fernet"),
    )
    return {module.__name__: module for module in modules if module.__name__ not in sys.modules}
