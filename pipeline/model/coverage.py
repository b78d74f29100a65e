"""Whether the blocks of sources add up to the sources: each byte (or row) in exactly one block.

A block adds the mark of the place where it stops, and takes away that of the place where it begins. Of blocks that lie
side by side, in whatever order they are added, what is left is the source's end less its beginning. The reader of the
end adds what the source as a whole counts as, less the mark of its size: so a source of which nothing was read is
missed too.
"""

import hashlib
from collections.abc import Iterable

_MARK_BYTES = 5  # so that a runner's 64-bit counter holds the sum of some millions of marks

_WHOLE = -1  # no place of a source


def _mark(source: str, place: int) -> int:
    """A number for a place in a source: two places have different ones, except once in 2**40."""
    text = f"{source}\0{place}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_MARK_BYTES).digest(), "little")


def expected_checksum(sources: Iterable[str]) -> int:
    """What the blocks of these sources add up to."""
    return sum(_mark(source, _WHOLE) - _mark(source, 0) for source in sources)


class CoverageChecksum:
    """What the blocks add that one reader makes of a source."""

    def __init__(self, source: str) -> None:
        self._source, self._stop = source, 0

    def add(self, start: int, stop: int) -> int:
        """A block of the bytes (or rows) from start to stop (not included)."""
        self._stop = stop
        return _mark(self._source, stop) - _mark(self._source, start)

    def end(self, size: int | None = None) -> int:
        """The end of the source, by its reader. size: the source's own; None where it breaks off after a block."""
        return _mark(self._source, _WHOLE) - _mark(self._source, self._stop if size is None else size)
