"""Advertising events in, an hourly report out: plain functions, Beam transforms, and the whole job.

Public names are listed in __init__.pyi, where type checkers and editors read them too. Each is imported when it is
first used: the plain functions work without loading Beam (1 s), and Ctrl-C while libraries load is handled.
"""

import importlib
import re
from pathlib import Path
from typing import Any

_STUB = Path(__file__).with_suffix(".pyi").read_text()
_MODULES = {name: module for module, name in re.findall(r"(?m)^from (\S+) import .+ as (\S+)$", _STUB)}

__version__ = "0.3.0"
__all__ = list(_MODULES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
