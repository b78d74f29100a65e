"""Arguments as people type them: `_` or `-` in names, values that begin with a dash, patterns without a name."""

import argparse
from collections.abc import Container, Sequence


def canonical(arguments: Sequence[str], parser: argparse.ArgumentParser, pattern_option: str | None) -> list[str]:
    """Arguments in the one spelling that parsers take: `--name_of_option=value`.

    parser: this program's; Beam's options are known beside its own. pattern_option: what an argument without a name
    is a value of, if anything. Options that nobody knows stay as they are, with what follows them: a remote runner may
    have options of its own.
    """
    actions = parser._option_string_actions
    result: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--" and pattern_option:
            return result + [f"{pattern_option}={pattern}" for pattern in rest]
        if argument == "-" or not argument.startswith("-"):
            result.append(f"{pattern_option}={argument}" if pattern_option else argument)
            continue
        name, equals, value = argument.partition("=")
        if not _spelled(name, actions):
            actions = {**_beam_actions(), **actions}
        known = _spelled(name, actions)
        takes_value = not known or actions[known].nargs is None
        if takes_value and not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        result.append(f"{known or name}{equals}{value}")
    return result


def _beam_actions() -> dict[str, argparse.Action]:
    """Beam's options, which take 0.02 s to set up, so only where this program's own are not enough."""
    from pipeline.engine.runners import beam_parser

    return beam_parser()._option_string_actions


def _spelled(name: str, names: Container[str]) -> str | None:
    """A name in the spelling that is known, or None."""
    spellings = (name, "--" + name[2:].replace("-", "_"), "--" + name[2:].replace("_", "-"))
    return next((spelling for spelling in spellings if spelling in names), None)
