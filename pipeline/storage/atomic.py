"""Files and objects that appear under their name whole or not at all, on any Beam file system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import OutputError
from pipeline.storage import local
from pipeline.storage.files import explain, is_io_error, is_local, printable_path
from pipeline.storage.objects import new_object
from pipeline.storage.suffixes import compressing


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns an error of storage in the block into an OutputError with path and reason."""
    try:
        yield
    except Exception as error:
        if not is_io_error(error):
            raise
        raise OutputError(f"{printable_path(path)}: cannot be written: {explain(error)}") from None


@contextmanager
def atomic_file(path: str, token: str, durable: bool = False) -> Iterator[Any]:
    """A binary stream whose bytes appear under path when the block ends; not at all if the block raises.

    It replaces an earlier file or object, and is compressed as the suffix of path says. token: the run's. durable: as
    in local.atomic_write; for a file on this machine only.
    Raises:
      OutputError: it cannot be written.
    """
    with (
        explained(path),
        local.atomic_write(path, token, durable) if is_local(path) else _new_object(path) as stream,
    ):
        yield stream


@contextmanager
def _new_object(path: str) -> Iterator[Any]:
    with new_object(path) as stream, compressing(path, stream) as compressed:
        yield compressed
