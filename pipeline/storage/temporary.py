"""A run's temporary files beside its outputs: hidden (`.NAME.TOKEN-...`), on any Beam file system."""

import contextlib
import os
import posixpath
import time
import uuid
from collections.abc import Collection, Iterator

from pipeline.errors import OutputError
from pipeline.storage import locks
from pipeline.storage.files import delete_file, explain, is_io_error, is_local, list_objects, shown
from pipeline.storage.local import temporary_path

LONGEST_RUN_SECONDS = 14 * 24 * 3600
"""Older temporary objects are removed: Dataflow ends a batch after ten days; a stream needs one for seconds."""


def temporary_name(path: str, token: str) -> str:
    """A new hidden path beside an output's. token: the run's."""
    return temporary_path(path, token) if is_local(path) else _object_prefix(path, token) + uuid.uuid4().hex


def _object_prefix(path: str, token: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{locks.prefix(name, token)}"


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns an error of storage in the block into an OutputError with path and reason."""
    try:
        yield
    except Exception as error:
        if not is_io_error(error):
            raise
        raise OutputError(f"{shown(path)}: cannot be written: {explain(error)}") from None


def held(paths: Collection[str], token: str) -> contextlib.AbstractContextManager[None]:
    """Marks a run's temporary files beside its outputs as in use while the block runs.

    First removes those that killed runs left; in buckets, which have no locks, those of LONGEST_RUN_SECONDS and more.
    """
    for path in paths:
        if not is_local(path):
            folder, name = posixpath.split(path)
            _remove_old(f"{folder}/{locks.start(name)}")
    return locks.held((os.path.dirname(os.path.realpath(path)) for path in filter(is_local, paths)), token)


def held_folders(folders: Collection[str], token: str) -> contextlib.AbstractContextManager[None]:
    """As held, for a run that writes files of any name in folders."""
    for folder in folders:
        if not is_local(folder):
            _remove_old(f"{folder.rstrip('/')}/.")
    return locks.held(filter(is_local, folders), token)


def _remove_old(prefix: str) -> None:
    """Removes temporary objects older than the longest run whose paths begin with prefix (a folder, part of a name)."""
    with contextlib.suppress(Exception):  # where it fails, writing tells why
        for file in list_objects(prefix):
            is_temporary = locks.TEMPORARY.fullmatch(file.path[prefix.rindex("/") + 1 :])
            if is_temporary and file.modified and time.time() - file.modified > LONGEST_RUN_SECONDS:
                delete_file(file.path)


def remove_leftovers(path: str, token: str) -> None:
    """Removes the temporary files that a run has beside an output. token: the run's. Raises storage's own errors."""
    if is_local(path):
        folder, name = posixpath.split(os.path.realpath(path))
        prefix = locks.prefix(name, token)
        found = [os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(prefix)]
    else:
        found = [file.path for file in list_objects(_object_prefix(path, token))]
    for temporary in found:
        delete_file(temporary)
