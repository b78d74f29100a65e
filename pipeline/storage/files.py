"""Files on this machine and objects in buckets, by Beam's file systems: their kinds, new ones, errors."""

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

_EXTRAS = {"gs": "gcp", "s3": "aws", "azfs": "azure", "hdfs": "hadoop"}  # of apache-beam, by what they are for
_BUCKETS = ("gs", "s3")
_LIBRARIES = ("apache_beam.io.", "boto3.", "botocore.", "google.", "pyarrow.")  # that have errors of their own
_ANSWERS = {401: "access is denied (401)", 403: "access is denied (403)", 404: "no such bucket or object (404)"}

SIZE_UNKNOWN = -1
"""As an InputFile's size: whatever it is when the file is opened."""


class InputFile(NamedTuple):
    """A file to read. size: bytes, when it was listed, or SIZE_UNKNOWN. name: what messages call it.

    modified: Unix seconds when it was last written; 0 where nobody asks. version: of a file on this machine, its inode
    and the nanoseconds of its last change; None where it may change until it is read.
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
    """A file with its size, where that is asked of this machine; otherwise the one who opens it will know."""
    if file.size != SIZE_UNKNOWN or not is_local(file.path):
        return file
    with contextlib.suppress(OSError):  # to open it will say why
        return file._replace(size=os.stat(file.path).st_size)
    return file


def has_changed(file: InputFile, stream: Any) -> bool:
    """Whether an open file is not the one that was listed, or was written to since. To be longer alone is no change.

    An inode alone says nothing: some file systems give a file another number each time. Nor does one whose size reads
    as 0, as those of /proc do.
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
    """UsageError where nothing installed here knows the scheme of a path, where it names no object, or S3 is to be used
    without credentials."""
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
    return _ANSWERS.get(code) or getattr(error, "strerror", None) or one_line(error)  # without the temporary names


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


def delete_file(path: str) -> None:
    """Deletes a file or object of this very name, whatever `*` or `[` is in it; nothing where there is none."""
    if is_local(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    elif path.startswith("gs://"):  # whose own `delete` takes a path for a pattern
        file_system(path)._gcsIO().delete(path)
    else:
        FileSystems.delete([path])


def rename_object(source: str, target: str) -> None:
    """Renames an object, over an earlier one."""
    FileSystems.rename([source], [target])


def list_objects(prefix: str) -> list[InputFile]:
    """The objects whose paths begin so, without placeholders of folders. Raises what the storage's client raises."""
    found = file_system(prefix)._list(prefix)
    return [
        InputFile(f.path, f.size_in_bytes, shown(f.path), int(f.last_updated_in_seconds or 0))
        for f in found
        if not f.path.endswith("/")
    ]
