"""A run's temporary files beside its outputs: hidden (`.NAME.TOKEN-...`), on any Beam file system."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from pipeline.errors import OutputError
from pipeline.storage.files import explain, is_io_error, is_local

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}-[0-9a-f]{32}")


def temporary_name(path: str, token: str) -> str:
    """A new hidden name beside path; token: the run's."""
    folder, name = FileSystems.split(path)
    return str(FileSystems.join(folder, f".{name}.{token}-{uuid.uuid4().hex}"))


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """OutputError with path and reason where what the block writes fails."""
    try:
        yield
    except Exception as error:
        if not is_io_error(error):
            raise
        raise OutputError(f"{path}: cannot be written: {explain(error)}") from None


def remove_leftovers(path: str, token: str) -> None:
    """Removes a run's temporary files beside path."""
    folder, name = FileSystems.split(path)
    prefix = f".{name}.{token}-"
    if is_local(path):  # Beam would walk the whole tree below the folder
        found = [os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(prefix)]
    else:
        found = [file.path for file in FileSystems.match([FileSystems.join(folder, prefix + "*")])[0].metadata_list]
    if found:
        FileSystems.delete(found)


def clean_folder(folder: str) -> None:
    """Removes the temporary files that killed runs have left in a folder of this machine."""
    for entry in os.listdir(folder):
        if _TEMPORARY.fullmatch(entry):
            os.remove(os.path.join(folder, entry))
