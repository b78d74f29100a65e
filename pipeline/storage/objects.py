"""Objects in buckets: a store for each scheme, streams that read one version of an object, and uploads."""

import contextlib
import importlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.errors import UsageError
from pipeline.storage.compression import compressing
from pipeline.storage.files import SIZE_UNKNOWN, InputFile, is_local, printable_path
from pipeline.storage.patterns import has_magic

_PLAIN = {"compression_type": CompressionTypes.UNCOMPRESSED}

_STORES = {"gs": "pipeline.storage.gcs", "s3": "pipeline.storage.s3"}
_EXTRAS = {"gs": "gcp", "s3": "aws"}  # of apache-beam

WHOLE_BYTES = 4 * 1024 * 1024
"""Objects up to this size are fetched by one request."""
_FIRST_BYTES, _MAX_BYTES = 256 * 1024, 16 * 1024 * 1024  # range sizes of larger objects; they grow while sequential
_UPLOAD_MEMORY = 8 * 1024 * 1024  # larger outputs are buffered on disk


class ObjectError(OSError):
    """A request to a bucket failed; the message is the reason."""


class GoneError(ObjectError):
    """The bucket, object or version does not exist."""


class ChangedError(ObjectError):
    """The object is no longer the version that was listed."""

    def __init__(self) -> None:
        super().__init__("was replaced or deleted since it was listed")


class Content(NamedTuple):
    """Bytes of an object, and its Content-Encoding."""

    data: bytes
    encoding: str


class Store(Protocol):
    """A service of buckets. Methods raise ObjectError."""

    def find(self, path: str) -> InputFile | None:
        """Returns the object with exactly this path, or None."""

    def list(self, prefix: str) -> Iterator[InputFile]:
        """Yields the objects whose paths begin with prefix, without folder placeholders."""

    def read(self, file: InputFile, start: int, stop: int) -> Content:
        """Reads the bytes [start, stop) of the listed version; GoneError if it no longer exists."""

    def put(self, path: str, stream: BinaryIO) -> None:
        """Uploads an object, atomically replacing an existing one."""

    def delete(self, path: str) -> None:
        """Deletes the object with exactly this path, if it exists."""


_stores: dict[str, tuple[Any, "Store"]] = {}  # by scheme, with their options


def store_of(path: str) -> Store:
    """Returns the store for a path's scheme; raises ImportError, ValueError or BeamIOError if there is none."""
    scheme = path.partition("://")[0]
    module = _STORES.get(scheme)
    if not module:
        FileSystems.get_filesystem(path)
        return _BeamStore()
    options = FileSystems.get_filesystem(f"{_OptionsFileSystem.scheme()}://").options
    made_of, store = _stores.get(scheme, (None, None))
    if store is None or made_of is not options:  # reading options takes 1 ms, a third of reading a small object
        beam = options if isinstance(options, PipelineOptions) else PipelineOptions.from_dictionary(options or {})
        store = importlib.import_module(module).make_store(path, beam)
        _stores[scheme] = options, store
    return store


class _OptionsFileSystem(LocalFileSystem):  # type: ignore[misc]
    """Receives the run's options from Beam, in worker processes too."""

    def __init__(self, pipeline_options: Any) -> None:
        super().__init__(pipeline_options)
        self.options = pipeline_options

    @classmethod
    def scheme(cls) -> str:
        return "hourly-report-options"


def check_object_path(path: str) -> None:
    """Checks a path in a bucket without a request.

    Raises:
      UsageError: it names no object or folder, its scheme is unknown or needs an extra, or there are no credentials.
    """
    scheme, bucket, name = re.fullmatch(r"(.*?)://([^/]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    if scheme in _STORES and (not bucket or not name.strip("/")):
        raise UsageError(f"{path}: no object or folder after the bucket's name")
    if scheme in _STORES and has_magic(bucket):
        raise UsageError(f"{path}: the bucket's name cannot be a pattern")
    try:
        store_of(path)
    except (ValueError, ImportError, BeamIOError):
        extra = _EXTRAS.get(scheme)
        hint = f"needs `pip install 'apache-beam[{extra}]'`" if extra else f"unknown storage {scheme}://"
        raise UsageError(f"{path}: {hint}") from None


def measured(file: InputFile) -> InputFile:
    """Looks up the size of a file, and the version of an object, if they are unknown.

    Raises:
      ObjectError: the object does not exist.
    """
    if file.size != SIZE_UNKNOWN:
        return file
    if is_local(file.path):
        with contextlib.suppress(OSError):  # opening it raises the error
            return file._replace(size=os.stat(file.path).st_size)
        return file
    found = store_of(file.path).find(file.path)
    if not found:
        raise GoneError("no such object")
    return file._replace(size=found.size, version=found.version)


class ObjectStream(io.RawIOBase):
    """Reads one version of an object, in ranges that grow during sequential reads.

    Attributes:
      encoding: its Content-Encoding, after the first fetch.
      error: the store's error, which decoders may wrap in their own.
    """

    def __init__(self, file: InputFile) -> None:
        self._file, self._store = file, store_of(file.path)
        self._position = self._start = 0
        self._data, self._next_bytes = b"", file.size if file.size <= WHOLE_BYTES else _FIRST_BYTES
        self.encoding = ""
        self.error: OSError | None = None

    def load(self) -> None:
        """Fetches the bytes at the current position; of a small object all of them."""
        stop = min(self._position + self._next_bytes, self._file.size)
        try:
            self._data, self.encoding = self._store.read(self._file, self._position, stop)
        except OSError as error:
            is_changed = isinstance(error, GoneError) and self._file.version
            self.error = ChangedError() if is_changed else error
            raise self.error from None
        self._start = self._position
        self._next_bytes = min(2 * self._next_bytes, _MAX_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        return self._position

    def readinto(self, target: Any) -> int:
        if self._position >= self._file.size:
            return 0
        if not self._start <= self._position < self._start + len(self._data):
            is_sequential = self._position == self._start + len(self._data)
            self._next_bytes = max(len(target), self._next_bytes if is_sequential else _FIRST_BYTES)
            self.load()
        at = self._position - self._start
        data = memoryview(self._data)[at : at + len(target)]
        target[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_object(file: InputFile, load: bool = False) -> io.BufferedReader:
    """Opens the listed version of an object.

    Args:
      file: the listed object.
      load: fetch its first bytes immediately.

    Raises:
      ObjectError: a request failed; ChangedError also during reads.
    """
    stream = ObjectStream(file)
    if load:
        stream.load()
    return io.BufferedReader(stream, 64 * 1024)


@contextlib.contextmanager
def new_object(path: str) -> Iterator[Any]:
    """Opens a binary stream that is uploaded as an object when the block ends; not if the block raises.

    It is compressed by the suffix of path.
    """
    with tempfile.SpooledTemporaryFile(_UPLOAD_MEMORY) as stream:
        with compressing(path, stream) as compressed:
            yield compressed
        stream.seek(0)
        store_of(path).put(path, stream)  # type: ignore[arg-type]


def delete_file(path: str) -> None:
    """Deletes the file or object with exactly this path, if it exists; wildcards are literal."""
    if is_local(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    else:
        store_of(path).delete(path)


class _BeamStore:
    """Other Beam file systems. They have no versions, so sizes and times are compared after each read."""

    def find(self, path: str) -> InputFile | None:
        return next((file for file in self.list(path) if file.path == path), None)

    def list(self, prefix: str) -> Iterator[InputFile]:
        literal = re.sub(r"[*?\[\\]", r"[\g<0>]", prefix)
        for found in FileSystems.match([f"{literal}**"])[0].metadata_list:
            seconds = found.last_updated_in_seconds
            if not found.path.endswith("/"):
                version = str(seconds) if seconds else None
                yield InputFile(found.path, found.size_in_bytes, printable_path(found.path), int(seconds), version)

    def read(self, file: InputFile, start: int, stop: int) -> Content:
        with FileSystems.open(file.path, **_PLAIN) as stream:
            stream.seek(start)
            data = stream.read(stop - start)
        found = self.find(file.path) if file.version else file
        if not found or (found.size, found.version) != (file.size, file.version):
            raise GoneError("no such object")
        if len(data) < stop - start:
            raise ObjectError(f"ends at byte {start + len(data)}")
        return Content(data, "")

    def put(self, path: str, stream: BinaryIO) -> None:
        with FileSystems.create(path, **_PLAIN) as target:
            shutil.copyfileobj(stream, target)

    def delete(self, path: str) -> None:
        if self.find(path):
            FileSystems.delete([path])
