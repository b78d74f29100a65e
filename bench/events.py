"""Makes advertising events to measure and test with: fast, in little memory, the same for the same seed.

    python -m bench.events --events 1000000 --format jsonl --output events.jsonl

Event number i is a function of the seed and i alone, so every format holds the same events, and a longer file
starts with those of a shorter one. Ids are unique, event types uniform, timestamps spread over 30 days (720 hours).
One exception: in `odd`, and `some-odd` (1 % of lines), ids of some lines have a prefix, to have non-ASCII ids.
"""

import argparse
import gzip
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bench import realistic

Bytes = npt.NDArray[np.uint8]
"""A matrix of characters: one row an event."""

EVENT_TYPES = ("impressions", "video_start", "video_25", "video_50", "video_75", "video_completed")
FORMATS = ("jsonl", "array", "mock", "jsonl.gz", "jsonl.zst", "parquet", "odd", "some-odd", *realistic.MIXES)
DEFAULT_SEED = 20210401
ODD_ID_PREFIX = "é-"

_START = 1617235200  # 2021-04-01T00:00:00Z
_SECONDS = 30 * 24 * 3600
_CHUNK = 1 << 17  # events in memory at a time: some 10 MB of text
_GAMMA = np.uint64(0x9E3779B97F4A7C15)

# A shape is a record with markers where the values go. Values shorter than their marker are filled up with NUL
# bytes, which are taken out of the finished text; so all columns stand at fixed places until then.
_ID, _EVENT, _TIME = "AAAA-BBBB-CCCC-DDDD", "E" * 15, "S" * 5 + "T" * 5
_ESCAPED_EVENT = "V" * 20
_PLAIN = f'{{"id": "{_ID}", "event": "{_EVENT}", "timestamp": {_TIME}}}'
_ODD = (
    f'{{"timestamp": {_TIME}, "event": "{_EVENT}", "id": "{_ID}"}}',
    f'{{"event": "{_EVENT}", "id": "{_ID}", "timestamp": {_TIME}}}',
    f' {{ "id" :\t"{_ID}" ,  "event" : "{_EVENT}" , "timestamp" : {_TIME} }}  ',
    f'{{"id":"{_ID}","event":"{_EVENT}","timestamp":{_TIME}}}',
    f'{{"v": 1.5e-3, "id": "{_ID}", "event": "{_EVENT}", "ok": true, "timestamp": {_TIME}, "user": null}}',
    f'{{"id": "{_ID}", "at": {{"os": "x", "tags": ["a", {{"id": [[]]}}]}}, "event": "{_EVENT}", "timestamp": {_TIME}}}',
    f'{{"note": "\\"}}, {{\\"id\\": \\\\", "id": "{_ID}", "event": "{_EVENT}", "timestamp": {_TIME}}}',
    f'{{"\\u0069d": "{_ID}", "event": "{_EVENT}", "time\\u0073tamp": {_TIME}}}',
    f'{{"id": "AAAA\\u002dBBBB-CCCC-DDDD", "event": "{_EVENT}", "timestamp": {_TIME}}}',
    f'{{"id": "{_ID}", "event": "{_ESCAPED_EVENT}", "timestamp": {_TIME}}}',
    f'{{"id": "{ODD_ID_PREFIX}{_ID}", "event": "{_EVENT}", "timestamp": {_TIME}}}',
    f'{{"id": "{_ID}", "event": "{_EVENT}", "timestamp": {_TIME}, "città": "東京 \\ud83d\\ude00"}}',
)
_AROUND = {"array": ("[", "]\n"), "mock": ('{"mock_for_test": [', "]}\n")}


def _table(texts: Iterable[str], width: int) -> Bytes:
    """Texts as the rows of a matrix, filled up with NUL bytes to `width`."""
    joined = b"".join(text.encode().ljust(width, b"\0") for text in texts)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)


_HEX = _table((f"{number:04x}" for number in range(1 << 16)), 4)
_DIGITS = _table((f"{number:05d}" for number in range(100_000)), 5)
_NAMES = _table(EVENT_TYPES, len(_EVENT))
_ESCAPED_NAMES = _table((f"\\u{ord(name[0]):04x}{name[1:]}" for name in EVENT_TYPES), len(_ESCAPED_EVENT))


@dataclass(frozen=True)
class Batch:
    """Events as columns of equal length, all numbers."""

    id: npt.NDArray[np.uint64]  # its 16 hex digits
    event: npt.NDArray[np.uint64]  # index into EVENT_TYPES
    timestamp: npt.NDArray[np.uint64]  # Unix seconds
    spare: npt.NDArray[np.uint64]  # random, for what is not part of the event

    def __len__(self) -> int:
        return len(self.id)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer: one to one, so different numbers stay different; the same in every numpy version."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def batches(events: int, seed: int = DEFAULT_SEED) -> Iterator[Batch]:
    """The first `events` events of `seed`, some megabytes at a time."""
    key = _mix(np.array([seed], dtype=np.uint64))
    for start in range(0, events, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, events), dtype=np.uint64)
        ids = _mix(key + index * _GAMMA)
        rest, event = np.divmod(_mix(ids + _GAMMA), np.uint64(len(EVENT_TYPES)))
        spare, second = np.divmod(rest, np.uint64(_SECONDS))
        yield Batch(ids, event, second + np.uint64(_START), spare)


def _values(batch: Batch) -> dict[str, Bytes]:
    """For each marker, the characters to put in its place."""
    groups = {
        marker: _HEX[(batch.id >> np.uint64(shift)) & np.uint64(0xFFFF)]
        for marker, shift in (("AAAA", 48), ("BBBB", 32), ("CCCC", 16), ("DDDD", 0))
    }
    upper, lower = np.divmod(batch.timestamp, np.uint64(100_000))
    times = {"S" * 5: _DIGITS[upper], "T" * 5: _DIGITS[lower]}
    return {**groups, **times, _EVENT: _NAMES[batch.event], _ESCAPED_EVENT: _ESCAPED_NAMES[batch.event]}


def _rows(shape: str, values: Mapping[str, Bytes], which: Any = slice(None)) -> Bytes:
    """The events selected by `which` as text in that shape, NUL bytes still in."""
    template = np.frombuffer(shape.encode(), dtype=np.uint8)
    rows = np.tile(template, (len(values[_EVENT][which]), 1))
    for marker, value in values.items():
        at = shape.encode().find(marker.encode())
        if at >= 0:
            rows[:, at : at + len(marker)] = value[which]
    return rows


def _realistic(batch: Batch, mix: str, separator: str) -> bytes:
    text = _rows(_ID, _values(batch)).tobytes().decode()
    ids = (text[at : at + len(_ID)] for at in range(0, len(text), len(_ID)))
    names = (EVENT_TYPES[code] for code in batch.event.tolist())
    choices = (_mix(batch.id + _GAMMA + _GAMMA) >> np.uint64(2)).tolist()
    events = zip(ids, names, batch.timestamp.tolist(), strict=True)
    return "".join(record + separator for record in realistic.records(mix, events, choices)).encode()


def records(batch: Batch, form: str, separator: str) -> bytes:
    """The batch's records, each followed by the separator, in the shapes of the format."""
    if form in realistic.MIXES:
        return _realistic(batch, form, separator)
    values = _values(batch)
    if form not in ("odd", "some-odd"):
        return _rows(_PLAIN + separator, values).tobytes().translate(None, b"\0")
    shapes = [shape + separator for shape in (*_ODD, _PLAIN)]
    rows = np.zeros((len(batch), max(len(shape.encode()) for shape in shapes)), dtype=np.uint8)
    choice = batch.spare % np.uint64(len(_ODD))
    if form == "some-odd":
        choice[batch.spare // np.uint64(len(_ODD)) % np.uint64(100) > 0] = len(_ODD)
    for number, shape in enumerate(shapes):
        which = np.flatnonzero(choice == number)
        rows[which, : len(shape.encode())] = _rows(shape, values, which)
    return rows.tobytes().translate(None, b"\0")


def pieces(events: int, form: str, seed: int = DEFAULT_SEED) -> Iterator[bytes]:
    """A text format's bytes before compression, piece by piece."""
    before, after = _AROUND.get(form, ("", ""))
    separator = ", " if before else "\n"
    yield before.encode()
    for number, batch in enumerate(batches(events, seed)):
        text = records(batch, form, separator)
        if not before:
            yield text
        else:
            yield (separator.encode() if number else b"") + text.removesuffix(separator.encode())
    yield after.encode()


@contextmanager
def _opened(path: Path, form: str) -> Iterator[IO[bytes] | Any]:
    """The file to write text to, compressed as the format says; quick compression, no time of day in it."""
    with path.open("wb") as file:
        if form == "jsonl.gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                yield packed
        elif form == "jsonl.zst":
            from zstandard import ZstdCompressor

            with ZstdCompressor(level=1).stream_writer(file) as packed:
                yield packed
        else:
            yield file


def _write_parquet(path: Path, events: int, seed: int) -> None:
    """Writes columns id and event (strings) and timestamp (int64), a row group a batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array(EVENT_TYPES)
    schema = pa.schema([("id", pa.string()), ("event", pa.string()), ("timestamp", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches(events, seed):
            ends = np.arange(len(batch) + 1, dtype=np.int32) * len(_ID)
            text = pa.py_buffer(_rows(_ID, _values(batch)).tobytes())
            ids = pa.StringArray.from_buffers(len(batch), pa.py_buffer(ends.tobytes()), text)
            columns = [ids, names.take(pa.array(batch.event)), pa.array(batch.timestamp.astype(np.int64))]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def write(path: Path, events: int, form: str = "jsonl", seed: int = DEFAULT_SEED) -> None:
    """Writes the events in that format; the file appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if form == "parquet":
        _write_parquet(part, events, seed)
    else:
        with _opened(part, form) as file:
            for piece in pieces(events, form, seed):
                file.write(piece)
    part.replace(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description="Makes advertising events.")
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default 1000000)")
    parser.add_argument("--format", choices=FORMATS, default="jsonl")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="other numbers give other events")
    options = parser.parse_args()
    write(options.output, options.events, options.format, options.seed)


if __name__ == "__main__":
    main()
