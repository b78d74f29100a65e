"""Checks, before anything runs, that outputs can be written."""

import os

from pipeline.errors import UsageError
from pipeline.storage.files import NewFile, check_file_system, delete_file, explain, is_io_error, is_local, shown
from pipeline.storage.local import earlier_file
from pipeline.storage.locks import create_locked, new_token
from pipeline.storage.temporary import temporary_name


def is_same(one: str, other: str) -> bool:
    """Whether two paths name the same file, symbolic links followed; of objects, whether they are equal."""
    return one == other or (is_local(one) and is_local(other) and os.path.realpath(one) == os.path.realpath(other))


def check_writable(path: str) -> None:
    """UsageError where an output is a folder, pipe, device or loop of links, or no file can be made beside it."""
    if not path:
        raise UsageError("cannot be written: the name is empty")
    if not is_local(path):
        check_file_system(path)
    if path.endswith("/"):
        raise UsageError(f"{shown(path)}: cannot be written: it is a folder, not a file")
    try:
        if is_local(path):
            earlier_file(os.path.realpath(path))
        _write_probe(path)
    except Exception as error:
        if not is_io_error(error):
            raise
        raise UsageError(f"{shown(path)}: cannot be written: {explain(error)}") from None


def check_folder(path: str) -> None:
    """UsageError where no file can be made in a folder. A missing folder on this machine is made."""
    if is_local(path):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{shown(path)}: cannot be written: {error.strerror}") from None
    else:
        check_file_system(path)
    check_writable(f"{path.rstrip('/')}/probe")


def _write_probe(path: str) -> None:
    token = new_token()
    if is_local(path):  # Beam would make a folder that is missing
        descriptor, probe = create_locked(lambda: temporary_name(path, token))
        os.remove(probe)
        os.close(descriptor)
    else:
        probe = temporary_name(path, token)
        with NewFile(probe):
            pass
        delete_file(probe)
