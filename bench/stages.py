"""How fast one core is at each stage of the report: python -m bench.stages [--events N] [--markdown FILE]

Each stage runs alone on one thread, on events of `bench.events`, without Beam; and what a report shuffles is counted in
a run of Beam's embedded engine. Rates are medians; memory is not measured here (`bench.run` does that).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import events
from pipeline.formats.decoding import Block
from pipeline.model import ids as id_sets
from pipeline.model.events import Batch, Ids
from pipeline.model.table import count_batch, merge_counts
from pipeline.storage.files import InputFile
from pipeline.transforms.opening import open_file


def main() -> None:
    """Prints a table of rates, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        events.write(path, options.events)
        table = _table(path, options.events, options.runs)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")


def _table(path: Path, count: int, runs: int) -> str:
    size = path.stat().st_size
    blocks = _read(path)
    batches = [_decode(block) for block in blocks]
    pieces = _pieces(batches)
    rows = ["| stage | MB/s a core | events/s a core | seconds (min-max) |", "|---|---|---|---|"]
    stages: list[tuple[str, Callable[[], Any]]] = [
        ("read, from the page cache", lambda: _read(path)),
        ("decode, without ids", lambda: [block.decode(want_ids=False) for block in blocks]),
        ("decode, with ids", lambda: [_decode(block) for block in blocks]),
        ("count by hour and event", lambda: merge_counts([count_batch(batch) for batch in batches])),
        ("partition ids", lambda: _pieces(batches)),
        ("merge ids", lambda: [_merge(b"".join(joined)) for joined in pieces.values()]),
    ]
    for name, work in stages:
        seconds = _time(work, runs)
        middle = statistics.median(seconds)
        rows.append(
            f"| {name} | {size / middle / 1e6:,.0f} | {count / middle:,.0f} | "
            f"{middle:.3f} ({min(seconds):.3f}-{max(seconds):.3f}) |"
        )
    shuffled = sum(len(piece) for packed in pieces.values() for piece in packed)
    rows.append(f"\n{size / count:.1f} bytes an event read, {shuffled / count:.1f} bytes of ids shuffled an event.")
    return "\n".join(rows)


def _read(path: Path) -> list[Block]:
    file = InputFile(str(path), path.stat().st_size, path.name)
    with open_file(file) as reader:
        return [block for part in range(reader.splits) for block in reader.read_split(part)]  # type: ignore[misc]


def _decode(block: Block) -> Batch:
    return block.decode()


def _pieces(batches: list[Batch]) -> dict[int, list[bytes]]:
    pieces: dict[int, list[bytes]] = {}
    for batch in batches:
        for number, piece in id_sets.pack_partitions(batch.ids):
            pieces.setdefault(number, []).append(piece)
    return pieces


def _merge(joined: bytes) -> Ids:
    return id_sets.merge_packed(joined)[0]


def _time(work: Callable[[], Any], runs: int) -> list[float]:
    work()  # compiled code is loaded, pages are touched
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
