"""Files on this machine and objects in buckets, by Beam's file systems: what is there, new ones, errors."""

import contextlib
import functools
import glob
import os
import posixpath
import stat
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

from pipeline.errors import UsageError, one_line
from pipeline.storage.compression import decompressor

_EXTRAS = {"gs": "gcp", "s3": "aws"}
_LIBRARIES = ("apache_beam.io.", "boto3.", "botocore.", "google.", "pyarrow.")  # that have errors of their own
_ANSWERS = {401: "access is denied (401)", 403: "access is denied (403)", 404: "no such bucket or object (404)"}

SIZE_UNKNOWN = -1
"""As an InputFile's size: whatever it is when the file is opened."""


class InputFile(NamedTuple):
    """A file to read. size: bytes, when it was listed, or SIZE_UNKNOWN. name: what messages call it.

    modified: Unix seconds when it was last written; 0 where nobody asks.
    """

    path: str
    size: int
    name: str
    modified: int = 0


def is_local(path: str) -> bool:
    """Whether a path is on this machine's own file system."""
    return "://" not in path


def check_file_system(path: str) -> None:
    """UsageError where nothing installed here knows the scheme of a path, or S3 is to be used without credentials."""
    try:
        system = FileSystems.get_filesystem(path)
    except ValueError:
        extra = _EXTRAS.get(str(FileSystems.get_scheme(path)))
        hint = f"it needs `pip install 'apache-beam[{extra}]'`" if extra else "no such kind of storage"
        raise UsageError(f"{path}: {hint}") from None
    if path.startswith("s3://") and not _has_s3_credentials(system._options):
        raise UsageError(
            f"{path}: no credentials for S3 (--s3_access_key_id and --s3_secret_access_key, or as AWS has it)"
        )


@functools.cache
def _has_s3_credentials(options: PipelineOptions) -> bool:
    """Whether a request can be signed. Beam would try each one again for five minutes, with a traceback each time."""
    import boto3

    return bool(options.view_as(S3Options).s3_access_key_id or boto3.Session().get_credentials())


def is_io_error(error: BaseException) -> bool:
    """Whether a file or bucket is to blame, not this program. Each cloud's client has errors of its own."""
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith(_LIBRARIES)


def explain(error: BaseException) -> str:
    """What is wrong, on one line, without the wrapping of Beam."""
    while isinstance(error, BeamIOError) and isinstance(error.exception_details, dict):
        inner = next(iter(error.exception_details.values()), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    code: Any = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return _ANSWERS.get(code) or one_line(error)


class NewFile:
    """A new file or object, to be written and closed; it is there when it is closed.

    Nothing is opened before the first byte, since Beam cannot make an empty object on S3.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream: Any = None

    def write(self, data: Any) -> None:
        """Appends bytes."""
        if len(data):
            self._stream = self._stream or self._create()
            self._stream.write(data)

    def _create(self) -> Any:
        return FileSystems.create(self._path, compression_type=CompressionTypes.UNCOMPRESSED)

    def __enter__(self) -> "NewFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is None and self._path.startswith("s3://"):
            _create_empty_on_s3(self._path)
        else:
            (self._stream or self._create()).close()


def _create_empty_on_s3(path: str) -> None:
    from apache_beam.io.aws import s3io

    bucket, key = s3io.parse_s3_path(path)
    options = FileSystems.get_filesystem(path)._options
    s3io.S3IO(options=options).client.client.put_object(Bucket=bucket, Key=key, Body=b"")


def find_files(patterns: list[str]) -> list[InputFile]:
    """The files that patterns (files, globs, folders) match now, each once, sorted by path.

    Hidden files (a leading dot) and folders inside a folder are left out. Raises:
      UsageError: a pattern matches nothing, cannot be listed, or matches a file of an unknown compression.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        found = match_files(pattern)
        if not found:
            raise UsageError(f"--input {pattern}: no such file, or nothing matches")
        for file in found:
            files.setdefault(os.path.realpath(file.path) if is_local(file.path) else file.path, file)
    for file in files.values():
        decompressor(file.path)
    return sorted(files.values())


def match_files(pattern: str, wanted: Callable[[str], bool] = lambda path: True) -> list[InputFile]:
    """The wanted files that a pattern matches now, perhaps none, without hidden ones.

    wanted: by their path, before they are looked at. Raises:
      UsageError: the pattern cannot be listed.
    """
    check_file_system(pattern)
    try:
        found = _match_local(pattern, wanted) if is_local(pattern) else _match(pattern)
        if not found and not is_local(pattern) and not pattern.endswith("*"):
            found = _match(pattern.rstrip("/") + "/*")
    except (BeamIOError, OSError, ValueError) as error:
        raise UsageError(f"--input {pattern}: cannot be listed: {explain(error)}") from None
    return [file for file in found if wanted(file.path)]


def _match_local(pattern: str, wanted: Callable[[str], bool]) -> list[InputFile]:
    if os.path.isfile(pattern):  # whatever [ or * is in its name
        return _look_at([pattern])
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "*")
    elif "**" in pattern:
        return _match(pattern)
    return _look_at(filter(wanted, glob.glob(pattern)))  # Beam would walk the whole tree below the folder


def _look_at(paths: Iterable[str]) -> list[InputFile]:
    """Those that are files, and still there."""
    files = []
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                files.append(InputFile(path, status.st_size, path, int(status.st_mtime)))
    return files


def _match(pattern: str) -> list[InputFile]:
    found = FileSystems.match([pattern])[0].metadata_list
    files = [InputFile(f.path, f.size_in_bytes, f.path, int(f.last_updated_in_seconds or 0)) for f in found]
    return [file for file in files if not posixpath.basename(file.path).startswith(".") and not _is_folder(file.path)]


def _is_folder(path: str) -> bool:
    return path.endswith("/") or (is_local(path) and os.path.isdir(path))
