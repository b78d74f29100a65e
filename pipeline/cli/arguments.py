"""Arguments of both programs: options of a report, and spellings with `_` or `-`, values that begin with a dash."""

import argparse
import contextlib
import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError, ZoneError
from pipeline.model.hours import DEFAULT_UTC_OFFSET
from pipeline.model.settings import ReportSettings
from pipeline.model.table import DEFAULT_FACTOR

SKIP_REJECTS = "skip invalid records and continue; the summary counts them"

_MORE = "--log_level INFO logs more, -V prints the version"
_LESS = "--log_level ERROR logs errors only, 2>/dev/null hides the summary too"
_EXPLAINED = {"-v": _MORE, "--verbose": _MORE, "-q": _LESS, "--quiet": _LESS, "-i": "inputs need no option, or --input"}
"""Hints for options of other programs."""

_BOOLEANS = {"=true": True, "=false": False}
"""Values that flags may have."""


def canonical(
    arguments: Sequence[str], actions: Mapping[str, argparse.Action], patterns: list[str] | None = None
) -> list[str]:
    """Rewrites arguments to `--name_of_option=value`.

    Unknown options keep their spelling and value, since a remote runner may have its own options.

    Args:
      arguments: arguments of the command line.
      actions: this program's options by name, in addition to Beam's.
      patterns: receives the values of --input and positional arguments, if the program accepts these. argparse takes
        quadratic time for them: 4 s for 20,000.

    Returns:
      The other arguments.

    Raises:
      UsageError: an option of other programs, or a long option with a single dash.
    """
    result: list[str] = []
    rest = deque(arguments)
    while rest:
        argument = rest.popleft()
        if argument == "--" and patterns is not None:
            patterns.extend(rest)
            break
        if argument == "-" or not argument.startswith("-"):
            (result if patterns is None else patterns).append(argument)
            continue
        name, value, takes_value = _read_option(argument, rest, actions)
        if name == "--input" and patterns is not None and value:
            patterns.append(value.removeprefix("="))
        else:
            result += _written(name, value, takes_value)
    return result


def _read_option(argument: str, rest: deque[str], actions: Mapping[str, argparse.Action]) -> tuple[str, str, bool]:
    """Returns an option's name, "=" with its value, which may be the next argument, and whether it takes a value."""
    name, value = _split(argument, actions)
    if not _spelled(name, actions):
        actions = {**_beam_actions(), **actions}
    name = _spelled(name, actions) or _unknown(name, actions)
    takes_value = name not in actions or actions[name].nargs != 0
    if takes_value and not value and rest and not rest[0].startswith("--"):
        value = f"={rest.popleft()}"
    return name, value, takes_value


def _written(name: str, value: str, takes_value: bool) -> list[str]:
    """Returns an option as argparse reads it: a flag set to true by its name, one set to false not at all."""
    if takes_value or not value:
        return [name + value]
    if value.lower() not in _BOOLEANS:
        raise UsageError(f"{name}{value}: takes no value but true or false")
    return [name] if _BOOLEANS[value.lower()] else []


def _split(argument: str, actions: Container[str]) -> tuple[str, str]:
    """Returns the name, and "=" with the value if there is one, of `--name=value`, `-n=value` or `-nvalue`."""
    name, equals, value = argument.partition("=")
    if argument[1] != "-" and argument[:2] in actions and not _spelled(f"-{name}", actions):
        rest = argument[2:].removeprefix("=")
        return argument[:2], f"={rest}" if rest else ""
    return name, equals + value


def _unknown(name: str, actions: Container[str]) -> str:
    """Returns the name; raises UsageError for those of other programs, and `-output`, which argparse takes for `-o`."""
    if name in _EXPLAINED:
        raise UsageError(f"unknown option {name}: {_EXPLAINED[name]}")
    if meant := _spelled(f"-{name}", actions):
        raise UsageError(f"unknown option {name}: did you mean {meant}?")
    return name


@functools.cache
def _beam_actions() -> dict[str, argparse.Action]:
    """Returns Beam's options; called only if needed, since it takes 0.02 s the first time."""
    from pipeline.engine.runners import beam_parser

    return beam_parser().actions_by_name()


def _spelled(name: str, names: Container[str]) -> str | None:
    """Returns the known spelling of a name, or None."""
    spellings = (name, "--" + name[2:].replace("-", "_"), "--" + name[2:].replace("_", "-"))
    return next((spelling for spelling in spellings if spelling in names), None)


def add_report_options(add: Callable[..., Any]) -> None:
    """Adds the options of a report except --skip_rejects, which has an alternative on the command line.

    Args:
      add: add_argument of a parser or group.
    """
    add("--utc_offset", metavar="+HH:MM", help=f"the report's hours (default {DEFAULT_UTC_OFFSET})")
    add("--time_zone", metavar="NAME", help="hours of local clocks, with summer time: Europe/Paris")
    add("--impressions_factor", default=DEFAULT_FACTOR, metavar="N", help="scales impressions (default %(default)s)")
    add("--deduplicate", action="store_true", help="count events equal in id, event and timestamp once")


def read_report_options(options: object) -> ReportSettings:
    """Returns the settings of a report.

    Args:
      options: has the options as attributes.

    Raises:
      UsageError: a value is invalid.
    """
    names = [field.name for field in dataclasses.fields(ReportSettings)]
    try:
        return ReportSettings(**{name: getattr(options, name) for name in names})
    except ZoneError as error:
        raise error.spelled("--{} {}".format) from None


@contextlib.contextmanager
def option_named(option: str) -> Iterator[None]:
    """Prefixes a UsageError with the option's name."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"--{option} {error}") from None
