"""Files of the page: scripts in loading order, URL paths and content types."""

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"

REPORT_SCRIPTS = (
    *("dom", "report", "time", "funnel", "axis", "chart"),
    *("zoom", "compare", "heat", "table", "export", "show"),
)
"""Scripts that show a report, in loading order; also embedded in chart files."""

_SCRIPTS = (*REPORT_SCRIPTS, "sources", "problems", "send", "address", "live", "app")

SCRIPT_TAGS = "\n  ".join(f'<script defer src="{name}.js"></script>' for name in _SCRIPTS)
"""Replaces {scripts} in the page's HTML."""

PAGE_FILES = {
    "/style.css": ("page/style.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"page/{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
"""Path in this package and content type of each script and style sheet, by URL path."""
