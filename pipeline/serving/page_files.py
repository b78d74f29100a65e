"""The page: its files, the hourly reports of a stream that it shows, and a report in one file that works offline."""

import contextlib
import datetime
import html
import json
import os
import re
import string
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.model.table import csv_text
from pipeline.serving import Settings

_FOLDER = Path(__file__).resolve().parent

_REPORT_SCRIPTS = (
    *("dom", "report", "time", "funnel", "axis", "chart"),
    *("zoom", "compare", "heat", "table", "export", "show"),
)
_SCRIPTS = (*_REPORT_SCRIPTS, "sources", "problems", "send", "address", "live", "app")
"""Scripts in load order; a report in one file has those that show a report."""

FILES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    "/style.css": ("page/style.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"page/{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
    "/openapi.json": ("openapi.json", "application/json"),
}
"""URL path: file in this package and content type."""

_REPORT_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d[+-]\d{4}\.csv")
_REPORT_ROW = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:00:00[+-]\d\d:\d\d(,\d+){6},[\d.]+")
_REPORT_BYTES = 4096  # maximum; a report of one hour has about 200
_REPORT_HEADER = csv_text([]).encode().strip()

_Version = tuple[int, int, int]  # inode, size and modification time; streams replace files


def page_file(path: str, settings: Settings) -> bytes:
    """Returns the content of a URL path in FILES, with the server's settings filled into HTML."""
    content = _text(FILES[path][0])
    if path == "/":
        scripts = "\n  ".join(f'<script defer src="{name}.js"></script>' for name in _SCRIPTS)
        limit = f", up to {_size(settings.max_body_bytes)} (also after decompression)"
        content = content.replace("{server}", html.escape(json.dumps(_known(settings))))
        content = content.replace("{scripts}", scripts).replace("{limit}", limit)
    return content.encode()


def _known(settings: Settings) -> dict[str, Any]:
    """Returns what the page's scripts know of the server."""
    report = settings.report
    return {
        "limit": settings.max_body_bytes,
        "zone": report.time_zone or report.utc_offset,
        "factor": report.impressions_factor,
        "skip": report.skip_rejects,
        "deduplicate": report.deduplicate,
        **({"live": True} if settings.reports else {}),
    }


def _size(number: int) -> str:
    return f"{number:,} bytes" if number < 100_000 else f"{number / 2**20:,.4g} MiB"


def report_page(name: str) -> tuple[str, str]:
    """Returns the HTML before and after the report's CSV; `fill_table` adds the table.

    Args:
      name: name of the input, shown as the title.
    """
    page = _text("page/index.html")
    (part,) = re.findall(r" *<!\W+report:.*?>\n(.*?) *<!\W+end of report", page, re.DOTALL)
    part = part.replace('id="report" hidden', 'id="report"').replace(
        ">Report</h2>", f">Report for {html.escape(name)}</h2>"
    )
    values = {
        "title": html.escape(name),
        "style": _text("page/style.css"),
        "report": part,
        "scripts": "".join(_text(f"page/{script}.js") for script in _REPORT_SCRIPTS),
        "name": json.dumps(name).replace("<", "\\u003c"),
    }
    before, after = _text("page/offline.html").split("$csv")
    return string.Template(before).substitute(values), string.Template(after).substitute(values)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


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
            for name in filter(_REPORT_NAME.fullmatch, found):
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
        return b"\n".join([_REPORT_HEADER + b",final", *lines, b""])

    def _row(self, entry: os.DirEntry[str]) -> tuple[_Version, bytes]:
        status = entry.stat(follow_symlinks=False)
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._rows.get(entry.name)
        if known and known[0] == version:
            return known
        with open(entry.path, "rb") as file:
            header, *rows = file.read(_REPORT_BYTES).splitlines() or [b""]
        if header != _REPORT_HEADER or len(rows) != 1 or not _REPORT_ROW.fullmatch(rows[0]):
            raise InputError(f"live reports: {entry.name} is not an hourly report")
        return version, rows[0]


def _hour(row: bytes) -> datetime.datetime:
    return datetime.datetime.fromisoformat(row[:25].decode())
