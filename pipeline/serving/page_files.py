"""The files of the page: its scripts in their order, and how the server names and types them."""

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"

REPORT_SCRIPTS = (
    *("dom", "report", "time", "funnel", "axis", "chart"),
    *("zoom", "compare", "heat", "table", "export", "show"),
)
"""Scripts that show a report, in their order; a report written with its chart holds these."""

_SCRIPTS = (*REPORT_SCRIPTS, "sources", "problems", "send", "address", "live", "app")

SCRIPT_TAGS = "\n  ".join(f'<script defer src="{name}.js"></script>' for name in _SCRIPTS)
"""What stands for {scripts} in the page's HTML."""

PAGE_FILES = {
    "/style.css": ("page/style.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"page/{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
"""Path in the address: path in this package and content type, of each script and style sheet."""
