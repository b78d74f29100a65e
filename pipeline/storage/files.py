"""Files on this machine and objects in buckets, through Beam's file systems: write, delete, list; errors in words."""

import contextlib
import functools
import importlib
import os
import re
from typing import Any, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

from pipeline.errors import UsageError, one_line, printable
from pipeline.storage.patterns import has_magic

_EXTRAS = {"gs": "gcp", "s3": "aws", "azfs": "azure", "hdfs": "hadoop"}  # of apache-beam, by scheme
_BUCKETS = ("gs", "s3")
_LIBRARIES = ("apache_beam.io.", "boto3.", "botocore.", "google.", "pyarrow.")  # that have errors of their own
_HTTP_ERRORS = {401: "access is denied (401)", 403: "access is denied (403)", 404: "no such bucket or object (404)"}

SIZE_UNKNOWN = -1
"""The size of an InputFile that was not listed: it is looked up when the file is opened."""


class InputFile(NamedTuple):
    """A file to read. size: in bytes when it was listed, or SIZE_UNKNOWN. name: what messages call it.

    modified: when it was last written, Unix seconds; 0 where it is not needed. version: inode and time of the last
    change (nanoseconds) of a file on this machine; None where the file may change until it is read.
    """

    path: str
    size: int
    name: str
    modified: int = 0
    version: tuple[int, int] | None = None


def is_local(path: str) -> bool:
    """Whether a path is on this machine's own file system."""
    return "://" not in path


def measured(file: InputFile) -> InputFile:
    """The file with its size looked up, if that is unknown and the file is on this machine; else as it is."""
    if file.size != SIZE_UNKNOWN or not is_local(file.path):
        return file
    with contextlib.suppress(OSError):  # to open it will say why
        return file._replace(size=os.stat(file.path).st_size)
    return file


def has_changed(file: InputFile, stream: Any) -> bool:
    """Whether an open file was replaced or written to since it was listed. A file that only grew has not changed.

    Another inode alone proves nothing: some file systems number a file anew each time. Files whose size reads as 0, as
    in /proc, never count as changed.
    """
    if not (file.version and file.size > 0):
        return False
    status, (inode, modified) = os.fstat(stream.fileno()), file.version
    return status.st_mtime_ns != modified and (status.st_ino != inode or status.st_size <= file.size)


def shown(path: str) -> str:
    """A path as text for messages and files: bytes that are not UTF-8 as `\\xe9`, control characters as `\\x1b`."""
    return printable(path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))  # of any locale


def file_system(path: str) -> Any:
    """Beam's file system for a path."""
    return FileSystems.get_filesystem(path)


def check_file_system(path: str) -> None:
    """UsageError where no installed library knows a path's scheme, where it names a bucket alone, or has no S3 keys."""
    if not is_local(path):
        _check_object(path)
    extra = _EXTRAS.get(path.partition("://")[0])
    try:
        system = file_system(path)
        if path.startswith("s3://") and not _has_s3_credentials(system._options):
            raise UsageError(f"{path}: no credentials for S3 (Beam's options for S3's keys, or as AWS has them)")
        if path.startswith("azfs://"):  # whose file system is there without it, and fails at the first use
            importlib.import_module("azure.storage.blob")
    except (ValueError, ImportError, BeamIOError):
        hint = f"it needs `pip install 'apache-beam[{extra}]'`" if extra else "no such kind of storage"
        raise UsageError(f"{path}: {hint}") from None


def _check_object(path: str) -> None:
    scheme, bucket, name = re.fullmatch(r"(.*?)://([^/]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    if scheme in _BUCKETS and (not bucket or not name.strip("/")):
        raise UsageError(f"{path}: names a bucket, but no object or folder in it")
    if scheme in _BUCKETS and has_magic(bucket):
        raise UsageError(f"{path}: a bucket's name cannot be a pattern")


@functools.cache
def _has_s3_credentials(options: PipelineOptions) -> bool:
    """Whether requests can be signed. Unsigned ones Beam retries for five minutes, with a traceback each time."""
    import boto3

    return bool(options.view_as(S3Options).s3_access_key_id or boto3.Session().get_credentials())


def is_io_error(error: BaseException) -> bool:
    """Whether an error comes from a file or bucket, not from a defect here: an OSError, or a storage client's own."""
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.startswith(_LIBRARIES)


def explain(error: BaseException) -> str:
    """An error's reason on one line, without Beam's wrapping."""
    while isinstance(error, BeamIOError) and isinstance(error.exception_details, dict):
        inner = next(iter(error.exception_details.values()), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    code: Any = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return _HTTP_ERRORS.get(code) or getattr(error, "strerror", None) or one_line(error)  # without the temporary names


class NewFile:
    """Writes a new file or object, uncompressed; it is there once the block ends.

    It is opened at the first byte, since Beam cannot make an empty object on S3.
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


def delete_file(path: str) -> None:
    """Deletes the file or object of exactly this path, also if it holds `*` or `[`; nothing where there is none."""
    if is_local(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    elif path.startswith("gs://"):  # whose own `delete` takes a path for a pattern
        file_system(path)._gcsIO().delete(path)
    else:
        FileSystems.delete([path])


def rename_object(source: str, target: str) -> None:
    """Renames an object, replacing an earlier one. Raises the storage client's own errors."""
    FileSystems.rename([source], [target])


def list_objects(prefix: str) -> list[InputFile]:
    """The objects whose paths begin with prefix, without placeholders of folders. Raises the client's errors."""
    found = file_system(prefix)._list(prefix)
    return [
        InputFile(f.path, f.size_in_bytes, shown(f.path), int(f.last_updated_in_seconds or 0))
        for f in found
        if not f.path.endswith("/")
    ]
