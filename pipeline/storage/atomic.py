"""Files that appear under their name whole or not at all."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.io.filesystems import FileSystems

from pipeline.storage.files import NewFile
from pipeline.storage.temporary import explained, temporary_name


@contextmanager
def atomic_file(path: str, token: str = "tmp") -> Iterator[NewFile]:
    """A file that appears under its name when the block ends, over an earlier one; not at all if the block raises.

    Raises:
      OutputError: it cannot be written.
    """
    temporary = temporary_name(path, token)
    try:
        with explained(path):
            with NewFile(temporary) as stream:
                yield stream
            FileSystems.rename([temporary], [path])
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell; remove_leftovers tries again
            if FileSystems.exists(temporary):
                FileSystems.delete([temporary])
        raise
