"""A checksum that proves that the blocks of a source cover each byte (or row) exactly once.

Each block contributes hash(stop) - hash(start), so contiguous blocks telescope in any order. The reader of the last
block also contributes hash(whole source) - hash(size), so the sum matches only if the source was read to its end.
"""

import hashlib
from collections.abc import Iterable

_HASH_BYTES = 5  # a runner's 64-bit counter can sum millions of them

_WHOLE = -1  # stands for the source as a whole, among offsets


def _hash(source: str, offset: int) -> int:
    """Hashes an offset in a source; collisions have a probability of 2**-40."""
    text = f"{source}\0{offset}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_HASH_BYTES).digest(), "little")


def expected_checksum(sources: Iterable[str]) -> int:
    """Returns the sum of the contributions of all blocks of these sources."""
    return sum(_hash(source, _WHOLE) - _hash(source, 0) for source in sources)


class CoverageChecksum:
    """Computes the contributions of one reader's blocks of a source."""

    def __init__(self, source: str) -> None:
        self._source, self._last_stop = source, 0

    def block_delta(self, start: int, stop: int) -> int:
        """Returns the contribution of a block from start to stop (exclusive), in bytes or rows."""
        self._last_stop = stop
        return _hash(self._source, stop) - _hash(self._source, start)

    def end_delta(self, size: int | None = None) -> int:
        """Returns the contribution of the source's end, added by whoever reads its last split.

        Args:
          size: size of the source, in bytes or rows; None: the stop of the last block, for a truncated source.
        """
        return _hash(self._source, _WHOLE) - _hash(self._source, self._last_stop if size is None else size)
