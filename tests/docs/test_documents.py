"""Every command and example of the README and of docs/, run as written in a clone."""

import contextlib
import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.options import parse_options
from tests.docs.option_tables import MARKED, generated
from tests.processes import free_port
from tests.support import ROOT, copy_of_clone

DOCUMENTS = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def blocks(language: str) -> list[tuple[str, str]]:
    """Blocks of code of a language, each with its document's name."""
    pattern = rf"^```{language}\n(.*?)^```"
    return [
        (name, block)
        for name, text in DOCUMENTS.items()
        for block in re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    ]


def numbered(items: list[tuple[str, str]]) -> list[object]:
    return [pytest.param(text, id=f"{name}-{number}") for number, (name, text) in enumerate(items)]


def console(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def shell_commands() -> list[tuple[str, str]]:
    """The commands of all sh blocks, continued lines joined."""
    lines = ((name, line) for name, block in blocks("sh") for line in block.replace("\\\n", " ").splitlines())
    return [(name, line.split("#")[0].strip().removesuffix("&").strip()) for name, line in lines if line.strip()]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_clone(tmp_path_factory.mktemp("files") / "clone")


@pytest.fixture
def clone(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files, tmp_path / "clone"))


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path}


def without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d s:", "N s:", text)


@contextlib.contextmanager
def in_background(command: str, clone: Path, says: str) -> Iterator[None]:
    arguments = [sys.executable, *shlex.split(command.removesuffix("&"))[1:]]
    with subprocess.Popen(arguments, cwd=clone, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == says
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize("name", sorted({name for name, _ in blocks("console")}))
def test_console(name: str, clone: Path) -> None:
    """All console blocks of a document, in its order."""
    text = "".join(block for document, block in blocks("console") if document == name)
    with contextlib.ExitStack() as servers:
        for command, expected in console(text.replace("8080", str(free_port()))):
            if command.endswith("&"):
                servers.close()
                servers.enter_context(in_background(command, clone, expected))
                continue
            done = subprocess.run(
                command, shell=True, cwd=clone, env=environment(), capture_output=True, text=True, check=False
            )
            output = done.stdout + ("\n" if done.stdout[-1:] not in ("", "\n") else "") + done.stderr
            assert without_seconds(output) == without_seconds(expected), command
            assert (done.returncode == 0) == (not expected.startswith("error:"))


@pytest.mark.parametrize("block", numbered(blocks("pycon")))
def test_python(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(block, {}, "document", "document", 0)
    result = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example)
    assert result.attempted > 3
    assert result.failed == 0


@pytest.mark.parametrize("command", numbered([c for c in shell_commands() if c[1].startswith("python -m pipeline")]))
def test_options_of_commands_that_need_a_cloud_are_known(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that name buckets, projects and job servers cannot be run here; their options are checked as in a run."""
    monkeypatch.setattr("pipeline.engine.runners._check_endpoint", lambda endpoint: None)
    options = parse_options(shlex.split(command)[3:])
    assert options.input or options.subscription


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for text in DOCUMENTS.values():
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere() -> None:
    for name, text in DOCUMENTS.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (folder / target).exists(), (name, target)


def test_links_of_an_sdist_lead_somewhere(clone: Path, tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path / "dist")]
    subprocess.run(command, cwd=clone, capture_output=True, check=True)
    (archive,) = (tmp_path / "dist").iterdir()
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    for document in [root / "README.md", root / "CHANGELOG.md", *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
    assert not (root / "tests").exists()


def test_tables_of_options_are_those_of_the_parsers() -> None:
    for name in ("cli.md", "http.md", "streaming.md"):
        assert MARKED.search(DOCUMENTS[name]), name
        assert generated(DOCUMENTS[name]) == DOCUMENTS[name], f"{name}: python -m tests.docs.option_tables writes it"


def test_the_readme_is_short() -> None:
    assert len(DOCUMENTS["README.md"].split()) <= 950


PINNED = (
    *("requirements.txt", "requirements-test.txt", "browser-requirements.txt", "integration-requirements.txt"),
    *("bench/requirements.txt", "bench/http-requirements.txt", "tests/integration/requirements.txt"),
)


@pytest.mark.parametrize("path", PINNED)
def test_every_pin_has_hashes(path: str) -> None:
    """pip then refuses a package that was replaced."""
    pins = re.sub(r"\\\n *", "", (ROOT / path).read_text()).splitlines()
    pins = [pin for pin in pins if not pin.startswith("#")]
    assert pins
    assert all(re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", pin) for pin in pins)


def test_every_direct_dependency_is_in_the_table_and_pinned() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    declared = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    names = set(re.findall(r'"([a-z-]+)[\[><=]', declared))
    assert len(names) > 10
    pins = (ROOT / "requirements-test.txt").read_text()
    table = DOCUMENTS["design.md"][DOCUMENTS["design.md"].index("## Dependencies") :]
    for name in names:
        assert re.search(rf"^{name}==", pins, re.MULTILINE), name
        assert re.search(rf"^\|.*\b{name}\b.*\|", table, re.MULTILINE), name
