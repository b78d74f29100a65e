"""Files and objects that appear under their name whole or not at all, on any Beam file system."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.storage import local
from pipeline.storage.files import NewFile, delete_file, is_local, rename_object
from pipeline.storage.suffixes import compressing
from pipeline.storage.temporary import explained, temporary_name


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
        local.atomic_write(path, token, durable) if is_local(path) else _new_object(path, token) as stream,
    ):
        yield stream


@contextmanager
def _new_object(path: str, token: str) -> Iterator[Any]:
    temporary = temporary_name(path, token)
    try:
        with NewFile(temporary) as stream, compressing(path, stream) as compressed:
            yield compressed
        rename_object(temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell; remove_leftovers tries again
            delete_file(temporary)
        raise
