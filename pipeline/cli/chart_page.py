"""A report with its chart as one file that works offline: the page's own part, style and scripts around the CSV."""

import html
import json
import re
from pathlib import Path

from pipeline import serving

_PAGE = Path(serving.__file__).resolve().parent / "page"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_BEFORE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta http-equiv="Content-Security-Policy" content="{policy}">
  <title>{title}</title>
  <style>
{style}</style>
</head>
<body>
  <main>
    <h1>Hourly report</h1>
    <noscript><p class="card">The figures and the chart of this report need JavaScript.</p></noscript>
{report}  </main>
  <script type="text/csv" id="data">"""
_AFTER = """</script>
  <script>
{scripts}
showReport(document.getElementById("data").textContent, {name});
  </script>
</body>
</html>
"""


def report_page(name: str) -> tuple[str, str]:
    """Returns the page before and after the report's CSV; name: of the input, for the title."""
    (part,) = re.findall(r" *<!-- report:.*?-->\n(.*?) *<!-- end of report -->", _text("index.html"), re.DOTALL)
    before = _BEFORE.format(policy=_POLICY, title=html.escape(name), style=_text("style.css"), report=part)
    scripts = _text("chart.js") + _text("report.js")
    return before, _AFTER.format(scripts=scripts, name=json.dumps(name).replace("<", "\\u003c"))


def _text(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")
