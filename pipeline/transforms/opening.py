"""Opens local files and objects with the reader of their format."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from pipeline.errors import InputError, TransientReadError
from pipeline.formats.blocks import BLOCK_BYTES, buffer_head, is_array
from pipeline.formats.content import JSON, PARQUET, check_form, form_of_name, form_within
from pipeline.formats.readers import LinesReader, Reader, Source, WholeReader
from pipeline.storage.compression import codec_of_name
from pipeline.storage.files import InputFile, explain, has_changed, is_io_error, is_local, is_transient
from pipeline.storage.objects import ChangedError, measured, open_object

Opener = Callable[[], BinaryIO]


@contextmanager
def open_file(
    file: InputFile,
    split_bytes: int = BLOCK_BYTES,
    may_be_array: bool = True,
    max_decoded_bytes: int | None = None,
    opener: Opener | None = None,
) -> Iterator[Reader]:
    """Opens a file with the reader of its format, detected from its suffix, else from its first bytes.

    Args:
      file: as it was listed.
      split_bytes: size of a split of JSON Lines or Parquet; a file of this size or less has one.
      may_be_array: False if the file is known not to be a JSON array, so that its first bytes need not be fetched.
      max_decoded_bytes: Parquet only: maximum size after decompression and decoding; None: unlimited.
      opener: opens the file; default: open_stream.

    Raises:
      InputError: it cannot be opened or read, or its content contradicts its suffix; also while its splits are read.
      TooLargeError: it has more than max_decoded_bytes; also while its splits are read.
    """
    with _opened(file, opener or partial(open_stream, file, prefetch=may_be_array)) as (source, name):
        yield _reader(source, name, split_bytes, may_be_array, max_decoded_bytes)


def _reader(source: Source, name: str, split_bytes: int, may_be_array: bool, max_decoded_bytes: int | None) -> Reader:
    """Returns the reader of a file's format. name: its path, with the suffix of its Content-Encoding."""
    form, buffer = form_of_name(name), None
    if form != PARQUET and (may_be_array or form != JSON or not source.size):
        buffer = buffer_head(source.stream)
        form = check_form(source.name, form, buffer.head)
    if form == PARQUET:
        from pipeline.formats.parquet import ParquetReader  # 50 ms

        return ParquetReader(source, split_bytes, max_decoded_bytes)
    if form and form.codec:
        if not (buffer and buffer.buffered):
            raise InputError(f"{source.name}: empty file; expected compressed data")
        source.stream.seek(0)
        return WholeReader(source, split_bytes, codec=form.codec, within=form_within(name))
    if buffer and (not source.size or (may_be_array and is_array(buffer.head))):
        return WholeReader(source, split_bytes, buffer)
    return LinesReader(source, split_bytes, buffer)


@contextmanager
def open_decompressed(file: InputFile) -> Iterator[BinaryIO]:
    """Opens the decompressed bytes of a text file. Raises InputError as open_file does."""
    with _opened(file, partial(open_stream, file)) as (source, name):
        form = check_form(source.name, form_of_name(name), buffer_head(source.stream).head)
        source.stream.seek(0)
        yield io.BufferedReader(form.codec.open(source.stream)) if form.codec else source.stream  # type: ignore[type-var]


def open_stream(file: InputFile, prefetch: bool = True) -> BinaryIO:
    """Opens the bytes of a file. prefetch: fetch the first bytes of an object at once."""
    return open(file.path, "rb") if is_local(file.path) else open_object(measured(file), prefetch)


@contextmanager
def _opened(file: InputFile, opener: Opener) -> Iterator[tuple[Source, str]]:
    """Opens a file; yields it and a name whose suffix is that of its format."""
    stream: Any = None
    try:
        with opener() as stream:
            _check_unchanged(file, stream)
            size = measured(file).size
            yield Source(stream, file.name, size), file.path + _encoding_suffix(file, stream)
            _check_unchanged(file, stream)
    except Exception as error:
        cause = error if stream is None or is_local(file.path) else stream.raw.error or error
        if not is_io_error(cause):
            raise
        reason = str(cause) if isinstance(cause, ChangedError) else f"cannot be read: {explain(cause)}"
        kind = TransientReadError if is_transient(cause) else InputError
        raise kind(f"{file.name}: {reason}") from None


def _check_unchanged(file: InputFile, stream: Any) -> None:
    """Raises TransientReadError if a local file was replaced or modified since it was listed."""
    if is_local(file.path) and has_changed(file, stream):
        raise TransientReadError(f"{file.name}: was modified during the run")


def _encoding_suffix(file: InputFile, stream: Any) -> str:
    """Returns the suffix that an object's name lacks if its Content-Encoding is a compression."""
    encoding = "" if is_local(file.path) else stream.raw.encoding
    return {"gzip": ".gz", "zstd": ".zst"}.get(encoding, "") if encoding and not codec_of_name(file.path) else ""
