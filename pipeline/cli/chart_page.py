"""A report with its chart as one offline HTML file: the page's report section, style and scripts around the CSV."""

import html
import json
import re

from pipeline.serving.page_files import PAGE, REPORT_SCRIPTS

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_BEFORE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta http-equiv="Content-Security-Policy" content="{policy}">
  <title>{name}</title>
  <style>
{style}</style>
  <noscript><style>.scripted {{ display: none !important; }}</style></noscript>
</head>
<body>
  <script type="text/csv" id="data">"""
_AFTER = """</script>
  <main>
    <h1>Hourly report</h1>
    <noscript><p class="card">The figures and the chart of this report need JavaScript.</p></noscript>
{report}  </main>
  <script>
{scripts}
find("compare").querySelector("[value=file]").hidden = true;
showReport(find("data").textContent, {name});
  </script>
</body>
</html>
"""


def report_page(name: str) -> tuple[str, str]:
    """Returns the HTML before and after the report's CSV. name: the input's, for the title."""
    page = _text("index.html")
    (part,) = re.findall(r" *<!-- report:.*?-->\n(.*?) *<!-- end of report -->", page, re.DOTALL)
    part = part.replace('id="report" hidden', 'id="report"').replace(
        ">Report</h2>", f">Report of {html.escape(name)}</h2>"
    )
    scripts = "".join(_text(f"{script}.js") for script in REPORT_SCRIPTS)
    before = _BEFORE.format(policy=_POLICY, name=html.escape(name), style=_text("style.css"))
    text = json.dumps(name).replace("<", "\\u003c")
    return before, _AFTER.format(report=part, scripts=scripts, name=text)


def _text(name: str) -> str:
    return (PAGE / name).read_text("utf-8")
