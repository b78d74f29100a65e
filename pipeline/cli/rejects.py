"""Describes rejects on the command line: their count, and the first five with their line (JSON Lines) or index."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import InputError
from pipeline.formats.readers import line_numbers
from pipeline.model.events import Reject
from pipeline.model.tally import Tally, format_reject_count
from pipeline.storage.files import InputFile
from pipeline.transforms.opening import open_decompressed

SHOWN = 5


def describe_rejects(tally: Tally, files: Sequence[InputFile]) -> str:
    """Returns several lines: the count, the first rejects, and the number of omitted ones.

    A reject is `file:line: reason` in JSON Lines, `file: index N: reason` in arrays, `file: row N: reason` in Parquet.

    Args:
      tally: counts and first rejects.
      files: the inputs, which are read again up to the last shown line.
    """
    shown = tally.first[:SHOWN]
    numbers = {file.name: _line_numbers(file, shown) for file in files}
    lines = [f"{_place(reject, numbers)}: {reject.reason}" for reject in shown]
    if tally.rejected > len(shown):
        lines.append(f"and {tally.rejected - len(shown)} more")
    indented = ["  " + " ".join(line.split()) for line in lines]  # file names may contain line breaks
    return "\n".join([format_reject_count(tally), *indented])


def _place(reject: Reject, numbers: Mapping[str, Iterator[int]]) -> str:
    if reject.index is not None:
        return f"{reject.source}: {'row' if reject.offset is None else 'index'} {reject.index}"
    line = next(numbers.get(reject.source, iter(())), None)
    return f"{reject.source}:{line}" if line else f"{reject.source}: byte {reject.offset}"


def _line_numbers(file: InputFile, rejects: Sequence[Reject]) -> Iterator[int]:
    """Yields the line numbers of a file's rejects; fewer if the file was removed or changed."""
    offsets = [reject.offset or 0 for reject in rejects if reject.source == file.name and reject.index is None]
    with contextlib.suppress(InputError), open_decompressed(file) as stream:
        yield from (line for line, _ in line_numbers(stream, offsets))
