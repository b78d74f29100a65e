"""Opens files by their format; readers of JSON, one class for each way to split a file."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from pipeline.errors import InputError, UnreadableError
from pipeline.formats.blocks import BLOCK_BYTES, LineReader, head_of, is_array, read_blocks
from pipeline.formats.content import JSON, PARQUET, Form, check_form, check_within, form_of_name, form_within
from pipeline.formats.decoding import AnyBlock
from pipeline.formats.reader import Reader, Source
from pipeline.storage.compression import Codec
from pipeline.storage.files import InputFile, explain, has_changed, is_io_error, is_local, is_transient
from pipeline.storage.objects import ChangedError, measured, open_object

Opener = Callable[[], BinaryIO]


class LinesReader(Reader):
    """Plain JSON Lines: each split has the lines that begin in split_bytes of the file."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._lines = LineReader(source.stream, source.name, split_bytes, head)
        self.splits = -(-source.size // split_bytes)

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from self._lines.read_split(split)
        if self._lines.at_end:
            self._source.check_read(self._lines.position)

    def size(self) -> int:
        return max(self._source.size, self._lines.stop)  # it may have grown since it was listed


class WholeReader(Reader):
    """A JSON array, or JSON of unknown size: one split."""

    def __init__(self, source: Source, split_bytes: int, head: Any) -> None:
        super().__init__(source)
        self._split_bytes, self._head = split_bytes, head

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        yield from read_blocks(self._source.stream, self._source.name, self._split_bytes, self._head)
        self._source.check_read(self.position())

    def size(self) -> int:
        return self.position()


class CompressedReader(Reader):
    """Compressed JSON: one split, since it can only be read from its start."""

    def __init__(self, source: Source, codec: Codec, split_bytes: int, within: Form | None) -> None:
        super().__init__(source)
        self._within = within
        source.stream.seek(0)
        self._plain, self._split_bytes = _Counted(codec.open(source.stream)), split_bytes

    def read_split(self, split: int) -> Iterator[AnyBlock]:
        plain: Any = self._plain
        head = head_of(plain)
        check_within(self._source.name, self._within, head.head)
        yield from read_blocks(plain, self._source.name, self._split_bytes, head)
        self._source.check_read(self.position())

    def size(self) -> int:
        return self._plain.count


class _Counted(io.RawIOBase):
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        got: int = self._stream.readinto(target)
        self.count += got
        return got


@contextmanager
def open_file(
    file: InputFile,
    split_bytes: int = BLOCK_BYTES,
    array: bool = True,
    max_decoded_bytes: int | None = None,
    opener: Opener | None = None,
) -> Iterator[Reader]:
    """Opens a file with the reader of its format, told by the suffix of its name, else by its first bytes.

    Args:
      file: as it was listed.
      split_bytes: size of a split of JSON Lines or Parquet; a file of this size or less has one.
      array: whether it may be a JSON array; if it is known not to be one, its first bytes need not be fetched.
      max_decoded_bytes: of Parquet, after decompression and decoding; None: any number.
      opener: returns or raises what open_stream does.

    Raises:
      InputError: it cannot be opened or read, or is not of its name's format; also while its splits are read.
      TooLargeError: it has more than max_decoded_bytes; also while its splits are read.
    """
    with _opened(file, opener or partial(open_stream, file, load=array)) as (source, name):
        yield _reader(source, name, split_bytes, array, max_decoded_bytes)


@contextmanager
def open_lines(file: InputFile) -> Iterator[BinaryIO]:
    """Opens a text file's decompressed bytes, from the first on. Raises InputError as open_file does."""
    with _opened(file, partial(open_stream, file)) as (source, name):
        form = check_form(source.name, form_of_name(name), head_of(source.stream).head)
        source.stream.seek(0)
        yield io.BufferedReader(form.codec.open(source.stream)) if form.codec else source.stream  # type: ignore[type-var]


def open_stream(file: InputFile, load: bool = True) -> BinaryIO:
    """Opens the bytes of a file. load: fetch the first bytes of an object at once."""
    return open(file.path, "rb") if is_local(file.path) else open_object(measured(file), load)


@contextmanager
def _opened(file: InputFile, opener: Opener) -> Iterator[tuple[Source, str]]:
    """The open file, and the name that tells its format."""
    stream: Any = None
    try:
        with opener() as stream:
            size = measured(file).size
            yield Source(stream, file.name, size), file.path + _encoding_suffix(file, stream)
            if is_local(file.path) and has_changed(file, stream):
                raise UnreadableError(f"{file.name}: was replaced, or written to, since the run began")
    except Exception as error:
        cause = error if stream is None or is_local(file.path) else stream.raw.error or error
        if not is_io_error(cause):
            raise
        reason = str(cause) if isinstance(cause, ChangedError) else f"cannot be read: {explain(cause)}"
        kind = UnreadableError if is_transient(cause) else InputError
        raise kind(f"{file.name}: {reason}") from None


def _encoding_suffix(file: InputFile, stream: Any) -> str:
    """The suffix that the name of an object lacks, where the service knows that it is compressed."""
    encoding = "" if is_local(file.path) else stream.raw.encoding
    return {"gzip": ".gz", "zstd": ".zst"}.get(encoding, "") if encoding and not is_compressed(file.path) else ""


def is_compressed(path: str) -> bool:
    """Whether a name has the suffix of a compression."""
    form = form_of_name(path)
    return form is not None and form.codec is not None


def _reader(source: Source, name: str, split_bytes: int, array: bool, max_decoded_bytes: int | None) -> Reader:
    form, head = form_of_name(name), None
    if form != PARQUET and (array or form != JSON or not source.size):
        head = head_of(source.stream)
        form = check_form(source.name, form, head.head)
    if form == PARQUET:
        from pipeline.formats.parquet import ParquetReader  # 50 ms

        return ParquetReader(source, split_bytes, max_decoded_bytes)
    if form and form.codec:
        if not (head and head.rest):
            raise InputError(f"{source.name}: cannot be read: it is empty, not even the header of a compressed file")
        return CompressedReader(source, form.codec, split_bytes, form_within(name))
    if head and (not source.size or (array and is_array(head.head))):
        return WholeReader(source, split_bytes, head)
    return LinesReader(source, split_bytes, head)
