"""Opens files of any file system with the reader of their format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from pipeline.errors import InputError, UnreadableError
from pipeline.formats.blocks import BLOCK_BYTES
from pipeline.formats.reader import Reader, Source
from pipeline.formats.readers import is_compressed, open_plain, open_reader
from pipeline.storage.files import InputFile, explain, has_changed, is_io_error, is_local, is_transient
from pipeline.storage.objects import ChangedError, measured, open_object

Opener = Callable[[], BinaryIO]


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
        yield open_reader(source, name, split_bytes, array, max_decoded_bytes)


@contextmanager
def open_lines(file: InputFile) -> Iterator[BinaryIO]:
    """Opens a text file's decompressed bytes, from the first on. Raises InputError as open_file does."""
    with _opened(file, partial(open_stream, file)) as (source, name):
        yield open_plain(source, name)


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
