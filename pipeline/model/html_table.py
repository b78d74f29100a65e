"""A report as the rows of an HTML table, for readers without JavaScript."""

TABLE_PLACE = '<thead><tr id="columns"></tr></thead><tbody id="rows"></tbody>'
"""The empty head and body in the page's HTML that `fill_table` fills."""


def fill_table(page: bytes, csv: bytes) -> bytes:
    """Fills the page's table of hours.

    Args:
      page: HTML, UTF-8, with TABLE_PLACE once at most.
      csv: a report, whose values need no quoting in CSV or HTML.

    Returns:
      The page with a head cell for each column and a row for each hour.
    """
    header, *lines = csv.splitlines()
    head = b"".join(b'<th scope="col">%b</th>' % name for name in header.split(b","))
    rows = b"\n".join(_row(*line.split(b",")) for line in lines)
    table = b'<thead><tr id="columns">%b</tr></thead>\n<tbody id="rows">\n%b\n</tbody>' % (head, rows)
    return page.replace(TABLE_PLACE.encode(), table)


def _row(hour: bytes, *values: bytes) -> bytes:
    return b'<tr><th scope="row">%b</th><td>%b</td></tr>' % (hour, b"</td><td>".join(values))
