"""A run's temporary files beside its outputs: hidden (`.NAME.TOKEN-...`), on any Beam file system."""

import contextlib
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator

from pipeline.errors import OutputError
from pipeline.storage import locks
from pipeline.storage.files import delete_file, explain, is_io_error, is_local, list_objects, shown
from pipeline.storage.local import temporary_path


def temporary_name(path: str, token: str) -> str:
    """A new hidden name beside path; token: the run's."""
    return temporary_path(path, token) if is_local(path) else _object_prefix(path, token) + uuid.uuid4().hex


def _object_prefix(path: str, token: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{locks.prefix(name, token)}"


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """OutputError with path and reason where what the block writes fails."""
    try:
        yield
    except Exception as error:
        if not is_io_error(error):
            raise
        raise OutputError(f"{shown(path)}: cannot be written: {explain(error)}") from None


def held(paths: Iterable[str], token: str) -> contextlib.AbstractContextManager[None]:
    """Marks a run's temporary files beside outputs here as those of a living one; removes those of dead ones.

    In buckets nothing tells the dead from the living: what killed runs leave there stays.
    """
    return locks.held((os.path.dirname(os.path.realpath(path)) for path in filter(is_local, paths)), token)


def remove_leftovers(path: str, token: str) -> None:
    """Removes a run's temporary files beside path."""
    if is_local(path):
        folder, name = posixpath.split(os.path.realpath(path))
        prefix = locks.prefix(name, token)
        found = [os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(prefix)]
    else:
        found = [file.path for file in list_objects(_object_prefix(path, token))]
    for temporary in found:
        delete_file(temporary)
