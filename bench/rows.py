"""What is measured: the rows of the table, the programs side by side in each, and the targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.measuring import BYTES, DUCKDB, IMPORT, OURS, PANDAS, PLAIN, POLARS, SMALL, STOCK, Case

Cases = Mapping[str, Case]  # of a row, by program


@dataclass(frozen=True)
class Target:
    """A goal for a row. measured: the figure, from the row's cases. limit: its highest value, or lowest with least."""

    text: str
    measured: Callable[[Cases], float]
    limit: float
    least: bool = False

    def met(self, cases: Cases) -> bool:
        """Whether it is reached."""
        value = self.measured(cases)
        return value >= self.limit if self.least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the issue: programs that do the same work on the same file.

    name: for --only. percent: its size, of --events. form: as bench.events names it.
    """

    name: str
    work: str
    percent: int
    form: str
    programs: tuple[str, ...]
    targets: tuple[Target, ...] = ()


def _time(rival: str, limit: float) -> Target:
    return Target(f"time / {rival}", lambda cases: cases[OURS].seconds / cases[rival].seconds, limit)


def _speed(rival: str, limit: float) -> Target:
    return Target(f"times faster than {rival}", lambda cases: cases[rival].seconds / cases[OURS].seconds, limit, True)


def _memory(limit: float) -> Target:
    return Target("peak MB", lambda cases: cases[OURS].peak_mb, limit)


_MEMORY_RATIO = Target("peak memory / duckdb_sql", lambda cases: cases[OURS].peak_mb / cases[DUCKDB].peak_mb, 0.4)
_PARQUET = Target(
    "(time - that of six events) / duckdb_sql",
    lambda cases: (cases[OURS].seconds - cases[SMALL].seconds) / cases[DUCKDB].seconds,
    2.0,
)
_SIX = Target("time / import apache_beam", lambda cases: cases[SMALL].seconds / cases[IMPORT].seconds, 0.69)
_DUCKDB = (OURS, DUCKDB)
_GROWTH = (OURS, DUCKDB, POLARS)

ROWS = (
    Row("six", "counts", 0, "jsonl", (SMALL, DUCKDB, IMPORT), (_SIX,)),
    Row("counts", "counts", 100, "jsonl", (*_GROWTH, PANDAS, STOCK, BYTES), (_time(DUCKDB, 0.9), _speed(STOCK, 30))),
    Row(
        "ids",
        "ids",
        100,
        "jsonl",
        (*_GROWTH, PANDAS, STOCK),
        (_time(DUCKDB, 0.55), _speed(STOCK, 40), _MEMORY_RATIO),
    ),
    Row("deduplicate", "deduplicate", 100, "jsonl", _DUCKDB, (_time(DUCKDB, 1.0),)),
    Row("array", "counts", 100, "array", _DUCKDB, (_time(DUCKDB, 0.6), _memory(500))),
    Row("mock", "counts", 100, "mock", (OURS,), (_memory(500),)),
    Row("gz", "counts", 100, "jsonl.gz", _DUCKDB, (_time(DUCKDB, 0.8),)),
    Row("zst", "counts", 100, "jsonl.zst", _DUCKDB, (_time(DUCKDB, 0.9),)),
    Row("parquet", "counts", 100, "parquet", (*_DUCKDB, SMALL), (_PARQUET,)),
    Row("odd-1%", "counts", 100, "some-odd", (OURS, PLAIN, DUCKDB), (_time(PLAIN, 1.5),)),
    Row("odd-100%", "counts", 100, "odd", _DUCKDB, (_time(DUCKDB, 0.9),)),
    Row("realistic", "counts", 80, "realistic", _DUCKDB, (_time(DUCKDB, 0.8),)),
    Row("realistic", "counts", 20, "realistic", _DUCKDB, (_time(DUCKDB, 1.15),)),
    Row("realistic-ids", "ids", 20, "realistic", _DUCKDB, (_time(DUCKDB, 0.85),)),
    Row("realistic-mixes", "counts", 20, "realistic-dense", _DUCKDB, (_time(DUCKDB, 1.15),)),
    Row("realistic-mixes", "counts", 20, "realistic-text", _DUCKDB, (_time(DUCKDB, 1.15),)),
    Row("realistic-mixes", "counts", 20, "realistic-shuffled", _DUCKDB, (_time(DUCKDB, 1.15),)),
    Row("growth", "counts", 1, "jsonl", (*_GROWTH, STOCK)),
    Row("growth", "counts", 10, "jsonl", (*_GROWTH, STOCK)),
    Row("growth", "counts", 30, "jsonl", _GROWTH),
    Row("growth", "counts", 300, "jsonl", _GROWTH),
    Row("large", "counts", 1000, "jsonl", (*_GROWTH, BYTES), (_time(DUCKDB, 0.4), _memory(500))),
    Row("large-ids", "ids", 1000, "jsonl", _DUCKDB, (_time(DUCKDB, 0.5), _MEMORY_RATIO)),
)
NAMES = tuple(dict.fromkeys(row.name for row in ROWS))
