"""Files of the page: load order of the scripts, paths and content types."""

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"

REPORT_SCRIPTS = (
    *("dom", "report", "time", "funnel", "axis", "chart"),
    *("zoom", "compare", "heat", "table", "export", "show"),
)
"""Scripts that show a report, in load order; `--chart_output` embeds them."""

_SCRIPTS = (*REPORT_SCRIPTS, "sources", "problems", "send", "address", "live", "app")

SCRIPT_TAGS = "\n  ".join(f'<script defer src="{name}.js"></script>' for name in _SCRIPTS)
"""Replaces {scripts} in index.html."""

PAGE_FILES = {
    "/style.css": ("page/style.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"page/{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
"""URL path: file in this package and content type."""
