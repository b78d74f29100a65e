"""Every command and every example of the README, run as written."""

import doctest
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "events.json").write_bytes((ROOT / "examples" / "events.json").read_bytes())
    (tmp_path / "server.py").symlink_to(ROOT / "server.py")
    return tmp_path


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d s:", "N s:", text)


@pytest.mark.parametrize("number", range(len(blocks("console"))))
def test_console(number: int, folder: Path) -> None:
    port = free_port()
    server: subprocess.Popen[str] | None = None
    try:
        for command, expected in commands(blocks("console")[number].replace("8080", str(port))):
            if command.endswith("&"):
                arguments = [sys.executable, *shlex.split(command[:-1])[1:]]
                server = subprocess.Popen(arguments, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
                assert server.stderr is not None
                assert server.stderr.readline() == expected
                continue
            done = subprocess.run(
                command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, check=False
            )
            output = done.stdout + ("\n" if done.stdout[-1:] not in ("", "\n") else "") + done.stderr
            assert without_seconds(output) == without_seconds(expected), command
            assert (done.returncode == 0) == (not expected.startswith("error:"))
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.communicate()


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    code = "\n".join(blocks("pycon"))
    example = doctest.DocTestParser().get_doctest(code, {}, "README", "README.md", 0)
    result = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example)
    assert result.attempted > 5
    assert result.failed == 0
    assert (folder / "table.csv").read_text().endswith("2021-04-02T20:00:00+01:00,1,0,1,0,0,0,0.1\n")


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_table_of_options_matches_help() -> None:
    help_ = ""
    for program in (["-m", "pipeline"], ["server.py"]):
        command = [sys.executable, *program, "--help"]
        help_ += subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for option in re.findall(r"^\| `(--\w+)", README, re.MULTILINE):
        assert option in help_


def test_every_direct_dependency_is_in_the_table_and_pinned() -> None:
    setup = (ROOT / "setup.py").read_text()
    names = set(re.findall(r'"([a-z-]+)[><=]', setup))
    pins = (ROOT / "requirements.txt").read_text()
    table = README[README.index("## Dependencies") :]
    for name in names - {"python"}:
        assert re.search(rf"^{name}==", pins, re.MULTILINE), name
        assert re.search(rf"^\|.*\b{name}\b.*\|", table, re.MULTILINE), name
