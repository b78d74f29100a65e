"""The walls that import-linter has no words for: runners are for the engine, names of options for the command lines."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "pipeline"
PACKAGES = sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


OTHER_PROGRAMS = re.compile(r"\b(curl|mlr) ")
"""Commands that messages advise."""


def package(path: Path) -> str:
    """The package of a module, or its own name where it stands in none."""
    return path.relative_to(PACKAGE).parts[0]


def imported(source: str) -> Iterator[str]:
    """All modules that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def option_names(source: str) -> Iterator[str]:
    """Strings that name an option (`--...`), docstrings aside."""
    tree = ast.parse(source)
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in documentation
            and "--" in node.value
            and not OTHER_PROGRAMS.search(node.value)
        ):
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_runners_are_for_the_engine(path: Path) -> None:
    if package(path) != "engine":
        assert not [name for name in imported(path.read_text()) if name.startswith("apache_beam.runners")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_options_are_named_by_the_command_lines(path: Path) -> None:
    if package(path) != "cli":
        assert not list(option_names(path.read_text()))


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_what_is_in_it_and_has_few_modules(path: Path) -> None:
    assert "ay import" in (ast.get_docstring(ast.parse((path / "__init__.py").read_text())) or "")
    assert len(list(path.glob("*.py"))) <= 14  # 13, and __init__


def test_the_checks_see_what_they_look_for() -> None:
    assert list(imported("def f():\n    from apache_beam.runners.runner import x")) == ["apache_beam.runners.runner"]
    assert list(option_names('"""--no"""\nx = "--yes"\ndef f(a):\n    "--no"\n    return f"--{a}"')) == ["--yes", "--"]
