"""Glob patterns, with the same meaning on disk and in buckets. Accesses no file system.

`*`, `?` and `[...]` match within one name; `**` as a whole name matches any number of folders, including none. Hidden
names (a leading dot) are matched only by parts that begin with a dot, and not by `**`. In buckets a folder's name may
be empty (`d//x`), which `*` and `**` match too.
"""

import posixpath
import re
from functools import cache
from typing import Union

from pipeline.errors import UsageError

ANY_DEPTH = "**"
_MAGIC = re.compile(r"[*?\[]")
_NO_DOT, _NOT_EMPTY = r"(?!\.)", r"(?=[^/])"

_SIDECARS = (
    ("_", re.compile(r"_SUCCESS|_metadata|_common_metadata|_(committed|started)_.*")),  # Spark, Hadoop, Databricks
    (".crc", re.compile(r".*\.crc", re.IGNORECASE)),  # Hadoop
    (".ini", re.compile(r"desktop\.ini", re.IGNORECASE)),  # Windows
    (".db", re.compile(r"Thumbs\.db", re.IGNORECASE)),
    ("Zone.Identifier", re.compile(r".*:Zone\.Identifier")),
)
"""Files that other tools write beside data, and the text with which a glob must begin or end to match them."""

_ANY_SIDECAR = re.compile("|".join(f"(?:{sidecar.pattern})" for _, sidecar in _SIDECARS), re.IGNORECASE)

Part = Union[str, re.Pattern[str]]
"""One name of a pattern: a literal, ANY_DEPTH, or an expression that the whole name must match."""


def has_magic(text: str) -> bool:
    """Returns whether a text contains wildcards."""
    return _MAGIC.search(text) is not None


def literal_prefix(pattern: str) -> str:
    """Returns the pattern up to its first wildcard."""
    return _MAGIC.split(pattern, maxsplit=1)[0]


def parse(pattern: str) -> list[Part]:
    """Splits a pattern at its slashes. A pattern that ends with `/` or `**` matches all files there.

    Raises:
      UsageError: a range in brackets is reversed.
    """
    names: list[str] = []
    for name in pattern.split("/"):
        if name != ANY_DEPTH or names[-1:] != [ANY_DEPTH]:
            names.append(name)
    if names[-1] == ANY_DEPTH:
        names.append("*")
    elif not names[-1] and len(names) > 1:
        names[-1] = "*"
    try:
        return [re.compile(_expression(name)) if has_magic(name) and name != ANY_DEPTH else name for name in names]
    except re.error as error:
        raise UsageError(f"{pattern}: not a pattern: {error}") from None


@cache
def whole_expression(pattern: str) -> re.Pattern[str]:
    """Returns the regular expression that a whole path must match; raises UsageError as parse."""
    *folders, last = parse(pattern)
    return re.compile("".join(map(_folder_source, folders)) + _source(last))


def _folder_source(part: Part) -> str:
    """A folder's name and its slash; the name may be empty."""
    return rf"(?:{_NO_DOT}[^/]*/)*" if part == ANY_DEPTH else f"{_source(part).replace(_NOT_EMPTY, '', 1)}/"


def _source(part: Part) -> str:
    return re.escape(part) if isinstance(part, str) else part.pattern


def _expression(name: str) -> str:
    """Returns the regular expression of a name with wildcards."""
    text, at = "" if name.startswith(".") else _NO_DOT + _NOT_EMPTY, 0
    while at < len(name):
        char, end = name[at], name.find("]", at + (3 if name[at + 1 : at + 2] == "!" else 2))
        if char == "[" and end > 0:
            text += _bracket(name[at + 1 : end])
            at = end
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return text


def _bracket(inside: str) -> str:
    negated = inside[0] == "!"
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
    return f"(?!/)[{'^' if negated else ''}{inside}]"


def is_left_out(path: str, pattern: str) -> bool:
    """Returns whether a path that a pattern matches is a sidecar file that the pattern does not name."""
    name, last = posixpath.basename(path), posixpath.basename(pattern)
    if name == last or not _ANY_SIDECAR.fullmatch(name):
        return False
    return any(
        sidecar.fullmatch(name)
        and not (has_magic(last) and (last.startswith(text) or last.lower().endswith(text.lower())))
        for text, sidecar in _SIDECARS
    )
