"""The page: its files as the server sends them, and a report in one HTML file that works offline."""

import html
import json
import re
import string
from pathlib import Path
from typing import Any

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
