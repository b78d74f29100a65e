"""Calls of single compiled functions, which have no way in from Python of their own."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def callable_from_python(function: Any) -> Callable[..., Any]:
    """As the function; compiled once more, at its first call."""

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call  # type: ignore[no-any-return]


def memory(data: bytes) -> Any:
    """Bytes that can be written to; `.ctypes.data` is their address, as long as this lives."""
    return np.frombuffer(data, np.uint8).copy()
