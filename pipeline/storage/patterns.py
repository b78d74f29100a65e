"""Patterns of paths, with one meaning on disk and in buckets. Pure text: no file system is asked here.

`*`, `?` and `[...]` match within one name, `**` as a whole name matches any number of folders, also none. A name with a
leading dot is hidden: only a part of the pattern that itself begins with a dot matches it, and `**` passes it by.
"""

import re
from functools import cache
from typing import Union

from pipeline.errors import UsageError

ANY_DEPTH = "**"
_MAGIC = re.compile(r"[*?\[]")
_NOT_HIDDEN = r"(?!\.)(?=[^/])"  # nor empty

Part = Union[str, re.Pattern[str]]
"""One name of a pattern: a literal, ANY_DEPTH, or an expression that the whole name must match."""


def has_magic(text: str) -> bool:
    """Whether a text may stand for several names."""
    return _MAGIC.search(text) is not None


def literal_prefix(pattern: str) -> str:
    """The pattern up to its first special character: all paths that match begin with it."""
    return _MAGIC.split(pattern, maxsplit=1)[0]


def parse(pattern: str) -> list[Part]:
    """Splits a pattern at its slashes. A pattern that ends with `/` or `**` matches all files there.

    Raises:
      UsageError: a range in brackets runs backwards.
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
    """The regular expression that a whole path must match. Raises UsageError as parse."""
    *folders, last = parse(pattern)
    text = "".join(_any_depth() if part == ANY_DEPTH else f"{_source(part)}/" for part in folders)
    return re.compile(text + _source(last))


def _any_depth() -> str:
    return f"(?:{_NOT_HIDDEN}[^/]+/)*"


def _source(part: Part) -> str:
    return re.escape(part) if isinstance(part, str) else part.pattern


def _expression(name: str) -> str:
    """The regular expression of one name between slashes that has special characters."""
    text, at = "" if name.startswith(".") else _NOT_HIDDEN, 0
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
