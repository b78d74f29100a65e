"""Whether an output can be written, found before anything runs."""

import os

from apache_beam.io.filesystems import FileSystems

from pipeline.errors import UsageError
from pipeline.storage.files import NewFile, check_file_system, explain, is_io_error, is_local
from pipeline.storage.temporary import temporary_name


def is_same(one: str, other: str) -> bool:
    return one == other or (is_local(one) and is_local(other) and os.path.realpath(one) == os.path.realpath(other))


def check_writable(path: str) -> None:
    """UsageError where an output is a folder, pipe or device, or no file can be made beside it."""
    if os.path.isdir(path) or path.endswith("/"):
        raise UsageError(f"{path}: cannot be written: it is a folder")
    if is_local(path) and (not path or (os.path.exists(path) and not os.path.isfile(path))):
        raise UsageError(f"{path}: cannot be written: it is no file")
    check_file_system(path)
    try:
        _write_probe(temporary_name(path, "probe"))
    except Exception as error:
        if not is_io_error(error):
            raise
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or explain(error)}") from None


def _write_probe(path: str) -> None:
    if is_local(path):
        with open(path, "xb"):  # Beam would make a folder that is missing
            pass
        os.remove(path)
    else:
        with NewFile(path):
            pass
        FileSystems.delete([path])
