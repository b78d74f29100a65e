"""Problem documents (RFC 9457) for all error responses, without internals."""

import contextlib
import errno
import http
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bottle

from pipeline.errors import PipelineError, RejectsError
from pipeline.formats.decoding import MANY_REJECTS
from pipeline.formats.readers import line_numbers
from pipeline.model.events import Reject
from pipeline.model.tally import KEPT_REJECTS, Tally, format_reject_count, merge_tallies, tally_batch
from pipeline.storage.files import SIZE_UNKNOWN, InputFile
from pipeline.transforms.opening import open_file

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Headers of all responses."""

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ProblemError(bottle.HTTPResponse):  # type: ignore[misc]
    """An error response with a problem document.

    Args:
      status: HTTP status.
      detail: what is wrong, and what to do.
      members: further members of the document.
      headers: headers of the response, with _ for -.
    """

    def __init__(self, status: int, detail: str, members: Mapping[str, Any] | None = None, **headers: str) -> None:
        title = http.HTTPStatus(status).phrase
        document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **(members or {})}
        common = {"Content-Type": "application/problem+json", **SAFE_HEADERS}
        super().__init__(json.dumps(document), status, common, **headers)


def too_large(limit: int) -> ProblemError:
    """Returns the problem (413) of a body that exceeds the limit."""
    return ProblemError(413, f"the body has more than {limit} bytes")


def shortage(error: BaseException | None) -> ProblemError | None:
    """Returns 503 or 507 if an error was caused by a lack of memory, file descriptors or disk space, else None."""
    while error is not None:
        number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
        if number in _SHORT:
            return ProblemError(503, "the server is out of memory or file descriptors", Retry_After="5")
        if number in _FULL:
            return ProblemError(507, "the server's disk is full", Retry_After="60")
        error = error.__cause__ or error.__context__
    return None


def reject_problem(error: RejectsError, body: Path) -> ProblemError:
    """Returns the problem (400) of a body with rejects: their count, and the first ones.

    Args:
      error: error of the run.
      body: the decompressed body, to number its lines.
    """
    tally = error.tally or _tally(body)
    if not tally.rejected:
        return ProblemError(400, str(error))
    too_many_to_skip = not tally.first
    first: tuple[Reject, ...] = tally.first or _tally(body).first
    with open(body, "rb") as stream:
        lines = line_numbers(stream, [reject.offset or 0 for reject in first if reject.index is None])
        rejects = [_shown(reject, lines) for reject in first]
    members = {"rejected": tally.rejected, "read": tally.read, "complete": not tally.is_incomplete, "rejects": rejects}
    detail = format_reject_count(tally) + (", too many to skip" if too_many_to_skip else "")
    return ProblemError(400, detail, members)


def _tally(body: Path) -> Tally:
    """Tallies a body again, since remote runners return only a message; empty if that fails."""
    tally = Tally()
    with contextlib.suppress(PipelineError), open_file(InputFile(str(body), SIZE_UNKNOWN, body.name)) as reader:
        for block in itertools.chain.from_iterable(map(reader.read_split, range(reader.splits))):
            tally = merge_tallies([tally, tally_batch(block.decode(False, KEPT_REJECTS))])
            if tally.rejected >= MANY_REJECTS:
                return tally._replace(is_incomplete=True)
    return tally


def _shown(reject: Reject, lines: Iterator[tuple[int, int]]) -> dict[str, Any]:
    line, index = (None, reject.index) if reject.index is not None else next(lines, (None, None))
    return {"line": line, "index": index, "offset": reject.offset, "reason": reject.reason, "raw": reject.raw}
