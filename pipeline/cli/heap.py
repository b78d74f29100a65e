"""Keeps freed memory for the next block, in a process that ends with its report."""

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
_LARGE = 32 * 1024 * 1024  # the most that it takes: what is larger is given back as before
_KEPT = 128 * 1024 * 1024


def keep_freed_memory() -> None:
    """Has glibc keep up to _KEPT bytes; without effect on other systems.

    Otherwise the kernel hands out and zeroes each block's buffers again, page by page: half of a run's system time, an
    eighth of all its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
