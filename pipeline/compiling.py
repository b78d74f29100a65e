"""Compiles functions with numba, and keeps what was compiled on disk: it takes 5 s, loading it 0.2 s."""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

_HERE = Path(__file__).parent
_SOURCES = ("words.py", "strings.py", "values.py", "scanner.py", "hashing.py")  # which call each other


@cache
def _folder() -> str:
    """Where compiled code is kept: beside this file, else in the user's cache; "" where neither can be written.

    Named by a digest of all compiled sources, since numba looks only at the file of the function itself and would
    keep code that was compiled with an older version of what it calls.
    """
    digest = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _SOURCES)).hexdigest()[:16]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "hourly-report"
    for parent in (_HERE / "__pycache__", user):
        folder = parent / f"compiled-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return ""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function at its first call, to run without the interpreter lock."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _folder()
    try:
        return numba.njit(nogil=True, cache=bool(_folder()))(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before
