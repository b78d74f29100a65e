"""Objects in buckets: one store for each scheme, streams that read one version of an object, and uploads."""

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
from pipeline.storage.files import SIZE_UNKNOWN, InputFile, is_local, printable_path
from pipeline.storage.patterns import has_magic

_PLAIN = {"compression_type": CompressionTypes.UNCOMPRESSED}

_STORES = {"gs": "pipeline.storage.gcs", "s3": "pipeline.storage.s3"}
_EXTRAS = {"gs": "gcp", "s3": "aws"}  # of apache-beam

WHOLE_BYTES = 4 * 1024 * 1024
"""Objects up to this size are fetched by one request."""
_FIRST_BYTES, _MOST_BYTES = 256 * 1024, 16 * 1024 * 1024  # ranges of larger objects, which grow while they follow
_UPLOAD_MEMORY = 8 * 1024 * 1024  # larger outputs wait on disk


class ObjectError(OSError):
    """A request to a bucket failed; the message is the reason."""


class GoneError(ObjectError):
    """There is no such bucket or object, or no such version of it."""


class ChangedError(ObjectError):
    """An object is not the one that was listed."""

    def __init__(self) -> None:
        super().__init__("was replaced or deleted since it was listed")


class Content(NamedTuple):
    """Bytes of an object, and its Content-Encoding."""

    data: bytes
    encoding: str


class Store(Protocol):
    """A service of buckets. Methods raise ObjectError."""

    def find(self, path: str) -> InputFile | None:
        """The object of exactly this path, or None."""

    def list(self, prefix: str) -> Iterator[InputFile]:
        """The objects whose paths begin with prefix, without placeholders of folders."""

    def read(self, file: InputFile, start: int, stop: int) -> Content:
        """The bytes from start to stop (not included) of the version that was listed; GoneError if it is another."""

    def put(self, path: str, stream: BinaryIO) -> None:
        """Uploads an object whole, replacing an earlier one."""

    def delete(self, path: str) -> None:
        """Deletes the object of exactly this path, if there is one."""


_stores: dict[str, tuple[Any, "Store"]] = {}  # by scheme, with the options that they were made of


def store_of(path: str) -> Store:
    """The store for a path's scheme. Raises ImportError, ValueError or BeamIOError where there is none."""
    scheme = path.partition("://")[0]
    module = _STORES.get(scheme)
    if not module:
        FileSystems.get_filesystem(path)
        return _BeamStore()
    options = FileSystems.get_filesystem(f"{_OptionsFileSystem.scheme()}://").options
    made_of, store = _stores.get(scheme, (None, None))
    if store is None or made_of is not options:  # to read options takes 1 ms, a third of what a small object takes
        beam = options if isinstance(options, PipelineOptions) else PipelineOptions.from_dictionary(options or {})
        store = importlib.import_module(module).make_store(path, beam)
        _stores[scheme] = options, store
    return store


class _OptionsFileSystem(LocalFileSystem):  # type: ignore[misc]
    """Beam gives the run's options to each file system that it makes, in worker processes too."""

    def __init__(self, pipeline_options: Any) -> None:
        super().__init__(pipeline_options)
        self.options = pipeline_options

    @classmethod
    def scheme(cls) -> str:
        return "hourly-report-options"


def check_object_path(path: str) -> None:
    """Checks that a path in a bucket can be used, without a request.

    Raises:
      UsageError: it names no object or folder, its scheme needs a library, or there are no credentials.
    """
    scheme, bucket, name = re.fullmatch(r"(.*?)://([^/]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    if scheme in _STORES and (not bucket or not name.strip("/")):
        raise UsageError(f"{path}: names a bucket, but no object or folder in it")
    if scheme in _STORES and has_magic(bucket):
        raise UsageError(f"{path}: a bucket's name cannot be a pattern")
    try:
        store_of(path)
    except (ValueError, ImportError, BeamIOError):
        extra = _EXTRAS.get(scheme)
        hint = f"it needs `pip install 'apache-beam[{extra}]'`" if extra else "no such kind of storage"
        raise UsageError(f"{path}: {hint}") from None


def measured(file: InputFile) -> InputFile:
    """The file with its size, and the version of an object, looked up if they are unknown.

    Raises:
      ObjectError: there is no such object.
    """
    if file.size != SIZE_UNKNOWN:
        return file
    if is_local(file.path):
        with contextlib.suppress(OSError):  # to open it will say why
            return file._replace(size=os.stat(file.path).st_size)
        return file
    found = store_of(file.path).find(file.path)
    if not found:
        raise GoneError("no such object")
    return file._replace(size=found.size, version=found.version)


class ObjectStream(io.RawIOBase):
    """Reads one version of an object, by ranges that grow while they follow each other.

    Attributes:
      encoding: its Content-Encoding, once bytes were fetched.
      error: the error of the store, which readers may wrap in their own.
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
        self._next_bytes = min(2 * self._next_bytes, _MOST_BYTES)

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
            follows = self._position == self._start + len(self._data)
            self._next_bytes = max(len(target), self._next_bytes if follows else _FIRST_BYTES)
            self.load()
        at = self._position - self._start
        data = memoryview(self._data)[at : at + len(target)]
        target[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_object(file: InputFile, load: bool = False) -> io.BufferedReader:
    """Opens the listed version of an object.

    Args:
      file: as it was listed.
      load: whether to fetch its first bytes at once.

    Raises:
      ObjectError: as the store does; ChangedError also while it is read.
    """
    stream = ObjectStream(file)
    if load:
        stream.load()
    return io.BufferedReader(stream, 64 * 1024)


@contextlib.contextmanager
def new_object(path: str) -> Iterator[Any]:
    """A binary stream whose bytes are uploaded as an object when the block ends; not if the block raises."""
    with tempfile.SpooledTemporaryFile(_UPLOAD_MEMORY) as stream:
        yield stream
        stream.seek(0)
        store_of(path).put(path, stream)  # type: ignore[arg-type]


def delete_file(path: str) -> None:
    """Deletes the file or object of exactly this path, if there is one, also if it holds `*` or `[`."""
    if is_local(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    else:
        store_of(path).delete(path)


class _BeamStore:
    """Other Beam file systems, which have no versions: sizes and times are compared after each read."""

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
