"""The HTTP trigger: POST events, get the hourly report back as CSV. `python server.py --port 8080`."""

import argparse
import dataclasses
import gzip
import json
import logging
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import logs

logs.configure()

import bottle  # noqa: E402
import waitress  # noqa: E402

from pipeline.errors import InputError, RejectsError, UsageError  # noqa: E402
from pipeline.events import Reject  # noqa: E402
from pipeline.options import beam_options  # noqa: E402
from pipeline.report import Job, run_job  # noqa: E402
from pipeline.sources import InputFile  # noqa: E402

_COPY_BYTES = 1024 * 1024
_RETRY_SECONDS = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server runs. max_body_bytes also bounds a body after decompression; slots: reports made at a time."""

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_bytes: int = 256 * 1024 * 1024
    slots: int = 2


class _BodyError(Exception):
    """A body that is refused before it is decoded. args: HTTP status, reason."""


def make_app(settings: Settings, beam_arguments: Sequence[str] = ()) -> bottle.Bottle:
    """The WSGI application. beam_arguments: Beam's options for each run.

    Raises:
      UsageError: an option is unknown to Beam.
    """
    app = bottle.Bottle()
    options = beam_options(beam_arguments)
    slots = threading.BoundedSemaphore(settings.slots)

    @app.post("/")  # type: ignore[untyped-decorator]
    def report() -> Any:
        if not slots.acquire(blocking=False):
            return _problem(503, "all slots are busy", headers={"Retry-After": str(_RETRY_SECONDS)})
        try:
            with tempfile.TemporaryDirectory(prefix="report-") as folder:
                return _answer(Path(folder), settings.max_body_bytes, options)
        finally:
            slots.release()

    app.default_error_handler = _on_error
    return app


def _answer(folder: Path, max_body_bytes: int, options: Any) -> bottle.HTTPResponse:
    """The answer to the request at hand; folder: an empty one for its files."""
    body, output = folder / "body", folder / "report.csv"
    try:
        _spool(bottle.request.environ, body, max_body_bytes)
        summary = run_job(Job((InputFile(str(body), body.stat().st_size, "body"),), str(output)), options)
    except _BodyError as error:
        return _problem(*error.args)
    except RejectsError as error:
        return _reject_problem(error, body)
    except InputError as error:
        return _problem(400, str(error))
    return bottle.HTTPResponse(
        output.read_bytes(),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="report.csv"',
            "X-Report-Summary": json.dumps(dataclasses.asdict(summary), separators=(",", ":")),
        },
    )


def _spool(environ: dict[str, Any], path: Path, limit: int) -> None:
    """Copies the request's body to a file, decompressed, never more than limit bytes of it."""
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise _BodyError(415, "Content-Encoding must be gzip or absent")
    declared = environ.get("CONTENT_LENGTH") or "0"
    if not (declared.isascii() and declared.isdecimal()):
        raise _BodyError(400, "Content-Length is not a number")
    if int(declared) > limit:
        raise _BodyError(413, f"the body has more than {limit} bytes")
    source: Any = _Body(environ["wsgi.input"], int(declared))
    with open(path, "wb") as target:
        try:
            _copy(gzip.GzipFile(fileobj=source) if "gzip" in encoding else source, target, limit)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _BodyError(400, f"the body is not gzip: {error}") from None
    if source.left:
        raise _BodyError(400, f"the body breaks off: {source.left} bytes are missing")


class _Body:
    """Reads a request's body up to its declared length, as WSGI asks for."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, count: int) -> bytes:
        """Up to count bytes; fewer only at the end."""
        data = self._stream.read(min(count, self.left)) if self.left else b""
        self.left -= len(data)
        return data


def _copy(source: Any, target: BinaryIO, limit: int) -> None:
    copied = 0
    while data := source.read(_COPY_BYTES):
        copied += len(data)
        if copied > limit:
            raise _BodyError(413, f"the body has more than {limit} bytes after decompression")
        target.write(data)


def _reject_problem(error: RejectsError, body: Path) -> bottle.HTTPResponse:
    tally = error.tally
    if tally is None:  # an engine in another process
        return _problem(400, str(error))
    indices = _indices(body, tally.first)
    rejects = [
        {"index": index, "offset": reject.offset, "reason": reject.reason}
        for index, reject in zip(indices, tally.first, strict=True)
    ]
    detail = f"{tally.rejected} of {tally.read} records are no events"
    return _problem(400, detail, {"rejected": tally.rejected, "read": tally.read, "rejects": rejects})


def _indices(body: Path, rejects: Sequence[Reject]) -> Iterator[int]:
    """Records before each reject. (In JSON Lines a reader knows only offsets: it may have begun in the middle.)"""
    if all(reject.index is not None for reject in rejects):
        yield from (reject.index or 0 for reject in rejects)
        return
    with open(body, "rb") as lines:
        index = 0
        for reject in rejects:
            while lines.tell() <= (reject.offset or 0):
                line = lines.readline()
                index += bool(line.strip())
            yield index - 1


def _problem(
    status: int, detail: str, members: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> bottle.HTTPResponse:
    """An answer by RFC 9457."""
    title = bottle.HTTP_CODES.get(status, "error")
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, **(members or {})})
    return bottle.HTTPResponse(body, status, {"Content-Type": "application/problem+json", **(headers or {})})


def _on_error(error: bottle.HTTPError) -> str:
    """What Bottle itself refuses (404, 405) and defects (500), without internals."""
    if error.status_code >= 500:
        logging.getLogger(__name__).error("request failed", exc_info=error.exception)
    detail = {404: "there is nothing here; POST events to /", 405: "POST events to /"}.get(error.status_code, "")
    problem = _problem(error.status_code, detail or "the server failed; the log says why")
    bottle.response.content_type = "application/problem+json"
    if error.status_code == 405:
        bottle.response.set_header("Allow", "POST")
    return str(problem.body)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is stopped; returns the status, 2 for wrong usage."""
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="POST advertising events, get the hourly report as CSV.",
        epilog="All options of Apache Beam work too.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default=default.host, help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=default.port, help="default %(default)s; 0 takes a free one")
    parser.add_argument("--max_body_bytes", type=_positive, default=default.max_body_bytes, help="default %(default)s")
    parser.add_argument(
        "--slots", type=_positive, default=default.slots, help="reports made at a time (default %(default)s)"
    )
    known, beam_arguments = parser.parse_known_args(arguments)
    settings = Settings(**vars(known))
    try:
        server = waitress.create_server(
            make_app(settings, beam_arguments),
            host=settings.host,
            port=settings.port,
            threads=settings.slots + 1,  # one more, to say that all slots are busy
            max_request_body_size=settings.max_body_bytes + 1,
            ident=None,
        )
    except (UsageError, OSError, ValueError) as error:  # ValueError: a host that is none
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"listening on http://{settings.host}:{server.effective_port}/", file=sys.stderr, flush=True)
    try:
        server.run()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
