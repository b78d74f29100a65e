"""Describes rejects on the command line: their count, and the first five with their line (JSON Lines) or index."""

import contextlib
from collections.abc import Iterator, Sequence

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
    lines = [_line(f"{place}: {reject.reason}") for place, reject in zip(_places(shown, files), shown, strict=True)]
    more = tally.rejected - len(shown)
    return "\n".join([format_reject_count(tally), *lines, *([_line(f"and {more} more")] if more else [])])


def _line(text: str) -> str:
    return "  " + " ".join(text.split())  # file names may contain line breaks


def _places(rejects: Sequence[Reject], files: Sequence[InputFile]) -> Iterator[str]:
    lines = {source: _lines(source, rejects, files) for source in {reject.source for reject in rejects}}
    for reject in rejects:
        if reject.index is not None:
            yield f"{reject.source}: {'row' if reject.offset is None else 'index'} {reject.index}"
        else:
            line = next(lines[reject.source], None)
            yield f"{reject.source}:{line}" if line else f"{reject.source}: byte {reject.offset}"


def _lines(source: str, rejects: Sequence[Reject], files: Sequence[InputFile]) -> Iterator[int]:
    """Yields the line numbers of a source's rejects; fewer if the file was removed or changed."""
    offsets = [reject.offset or 0 for reject in rejects if reject.source == source and reject.index is None]
    file = next((file for file in files if file.name == source), None)
    if offsets and file:
        with contextlib.suppress(InputError), open_decompressed(file) as stream:
            yield from (line for line, _ in line_numbers(stream, offsets))
