"""The files of the page, as the server serves them."""

from pathlib import Path

_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

PAGE_FILES = {
    f"/{path.name}": (f"page/{path.name}", _KINDS[path.suffix])
    for path in sorted((Path(__file__).resolve().parent / "page").iterdir())
    if path.suffix in _KINDS
}
"""Path in the address: path in this package and content type, of each script and style sheet."""
