"""Reads a file by a thread a core and does nothing with it: what no program can be faster than.

python bench/reading.py INPUT
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

PART = 1 << 20  # bytes at once, into memory that is used again


def read(path: str, first: int, step: int) -> int:
    """Every step-th part of a file from the first one on; returns how many bytes that is."""
    buffer, count, part = bytearray(PART), 0, first
    with open(path, "rb", buffering=0) as file:
        while got := os.preadv(file.fileno(), [buffer], part * PART):
            count += got
            part += step
    return count


def main(path: str) -> None:
    """Reads the file; fails where that was not all of it."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        count = sum(pool.map(lambda number: read(path, number, threads), range(threads)))
    if count != os.path.getsize(path):
        sys.exit(f"{count} bytes read of {os.path.getsize(path)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
