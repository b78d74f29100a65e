"""Writes the tables of options in docs/ from the parsers: `python -m tests.docs.option_tables`."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.cli import options, server

DOCS = Path(__file__).resolve().parents[2] / "docs"
MARKED = re.compile(r"(<!-- options of (\S+), by python -m tests.docs.option_tables -->\n).*?(<!-- end -->)", re.DOTALL)


def stream_actions() -> list[argparse.Action]:
    """Returns the options that belong to streams."""
    parser = argparse.ArgumentParser(add_help=False)
    options._add_stream_options(parser)
    return parser._actions


def tables() -> dict[str, str]:
    """Returns the tables by the name in their marks."""
    streams = stream_actions()
    known = {action.dest for action in streams}
    batch = [action for action in options.make_parser()._actions if action.dest not in known]
    return {"pipeline": table(batch), "streams": table(streams), "server": table(server.make_parser()._actions)}


def table(actions: Iterable[argparse.Action]) -> str:
    """Returns a Markdown table of options and their help."""
    rows = [f"| {_names(action)} | {_cell(_help(action))} |\n" for action in actions]
    return "".join(["| option | meaning |\n|---|---|\n", *rows])


def _names(action: argparse.Action) -> str:
    if action.choices:
        value = " " + "|".join(map(str, action.choices))
    else:
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    *short, long = action.option_strings
    return ", ".join(f"`{_cell(name)}`" for name in (*short, long + value))


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    if "the default is" in text:  # and depends on the machine
        text = text.replace(" (default %(default)s)", "")
    return text.replace("%(default)s", str(action.default))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def generated(text: str) -> str:
    """Returns a document with its tables as the parsers have them."""
    return MARKED.sub(lambda mark: mark[1] + tables()[mark[2]] + mark[3], text)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(generated(path.read_text()))
