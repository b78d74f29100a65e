"""Read-only access to the hourly reports in a stream's output folder, for the page."""

import contextlib
import datetime
import os
import re
from pathlib import Path

from pipeline.errors import InputError
from pipeline.model.table import csv_text

_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d[+-]\d{4}\.csv")
_ROW = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:00:00[+-]\d\d:\d\d(,\d+){6},[\d.]+")
_LARGEST = 4096  # bytes; a report of one hour has about 200
_HEADER = csv_text([]).encode().strip()

_Version = tuple[int, int, int]  # inode, size and modification time; streams replace files


class LiveReports:
    """Reads the hourly reports in a folder, each file again only after it was replaced.

    Args:
      folder: local folder. Files are selected by name; links are not followed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = str(folder)
        self._rows: dict[str, tuple[_Version, bytes]] = {}

    def csv(self) -> bytes:
        """Returns the report's columns and "final" (true or false), newest hour first.

        Raises:
          InputError: the folder or a report cannot be read; the message omits the folder.
        """
        rows: dict[str, tuple[_Version, bytes]] = {}
        try:
            with os.scandir(self._folder) as entries:
                found = {entry.name: entry for entry in entries if entry.is_file(follow_symlinks=False)}
            for name in filter(_NAME.fullmatch, found):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    rows[name] = self._row(found[name])
        except OSError as error:
            where = os.path.basename(error.filename) if error.filename != self._folder else "its folder"
            raise InputError(f"live reports: {where}: {error.strerror}") from None
        self._rows = rows
        hours = sorted(rows, key=lambda name: _hour(rows[name][1]), reverse=True)
        lines = (
            rows[name][1] + (b",true" if name[: -len(".csv")] + ".final" in found else b",false") for name in hours
        )
        return b"\n".join([_HEADER + b",final", *lines, b""])

    def _row(self, entry: os.DirEntry[str]) -> tuple[_Version, bytes]:
        status = entry.stat(follow_symlinks=False)
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._rows.get(entry.name)
        if known and known[0] == version:
            return known
        with open(entry.path, "rb") as file:
            header, *rows = file.read(_LARGEST).splitlines() or [b""]
        if header != _HEADER or len(rows) != 1 or not _ROW.fullmatch(rows[0]):
            raise InputError(f"live reports: {entry.name} is not an hourly report")
        return version, rows[0]


def _hour(row: bytes) -> datetime.datetime:
    return datetime.datetime.fromisoformat(row[:25].decode())
