"""A pytest plugin: each array that compiled code gets lies against a page that ends a process that touches it.

Compiled code takes plain addresses, and nothing checks them. GUARDED says where the page is: "front" or "behind".
"""

import ctypes
import mmap
import os
from typing import Any

import numpy as np

from pipeline.native import loader

_libc = ctypes.CDLL(None)
_libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class _Guarded:
    """A copy of an array. Of these pages the first and the last cannot be touched until it is closed."""

    def __init__(self, array: Any) -> None:
        self._array, self._size = array, array.nbytes
        pages = -(-self._size // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._ends = first, first + (pages + 1) * mmap.PAGESIZE
        self.address = first + mmap.PAGESIZE if os.environ["GUARDED"] == "front" else self._ends[1] - self._size
        ctypes.memmove(self.address, array.ctypes.data, self._size)
        self._protect(0)

    def _protect(self, rights: int) -> None:
        for page in self._ends:
            assert _libc.mprotect(page, mmap.PAGESIZE, rights) == 0

    def close(self) -> None:
        if self._array.flags.writeable:
            ctypes.memmove(self._array.ctypes.data, self.address, self._size)
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)


_invoke = loader.invoke


def invoke(name: str, *arguments: Any) -> int:
    """As loader.invoke."""
    guarded = [_Guarded(a) if isinstance(a, np.ndarray) else None for a in arguments]
    result = _invoke(name, *(g.address if g else int(a) for g, a in zip(guarded, arguments, strict=True)))
    for array in filter(None, guarded):
        array.close()
    return result


loader.invoke = invoke  # before other modules import it
