"""Where compiled code is kept, that a damaged copy is not used, and that it works where nothing can be kept."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from bench.events import pieces
from pipeline.native import loader as native
from tests import oracle, support

NOWHERE = Path("/proc/nowhere")
CODE = b"object code"


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[mock.Mock]:
    """Sources in a folder of their own, and a compiler that is counted instead of run."""
    monkeypatch.setattr(native, "_HERE", tmp_path / "native")
    (tmp_path / "native").mkdir()
    for name in native._SOURCES:
        (tmp_path / "native" / name).write_text("1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with mock.patch("pipeline.native.compiler.build", return_value=CODE) as build:
        yield build


def load(target: str = "cpu") -> bytes:
    return native._load_or_compile("pipeline.native.scanner", target, None)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "home" / "hourly-report").glob("*"))


@pytest.mark.usefixtures("builder")
def test_compiled_once_and_kept_in_the_users_cache(tmp_path: Path, builder: mock.Mock) -> None:
    before = os.umask(0)
    try:
        assert load() == load() == CODE
    finally:
        os.umask(before)
    assert builder.call_count == 1
    (file,) = kept(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755
    assert {path.name for path in (tmp_path / "native").iterdir()} == {*map(os.path.basename, native._SOURCES)} - {
        "schema.py"
    }


def test_another_processor_or_source_is_another_file(tmp_path: Path, builder: mock.Mock) -> None:
    load("one")
    load("other")
    for name in native._SOURCES:
        (tmp_path / "native" / name).write_text("2")
        load("one")
    assert builder.call_count == 2 + len(native._SOURCES)
    assert len(kept(tmp_path)) == 2 + len(native._SOURCES)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_written_anew(tmp_path: Path, builder: mock.Mock, damage: bytes | None) -> None:
    load()
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if damage is None else damage)
    assert load() == CODE
    assert builder.call_count == 2
    assert file.read_bytes() == whole


def in_homes_cache(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME")


def test_a_relative_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: mock.Mock) -> None:
    in_homes_cache(monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert load() == load() == CODE
    assert builder.call_count == 1
    assert not list((tmp_path / "work").iterdir())
    assert len(list((tmp_path / ".cache" / "hourly-report").iterdir())) == 1


@pytest.mark.parametrize("home", ["", "relative", str(NOWHERE)])
def test_in_memory_without_a_home(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: mock.Mock
) -> None:
    in_homes_cache(monkeypatch, Path(home))
    monkeypatch.setenv("HOME", home)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert load() == load() == CODE
    assert builder.call_count == 2
    assert not list(Path().iterdir())


def _of_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)


def _a_link(path: Path, _: pytest.MonkeyPatch) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


UNTRUSTED: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "another user's": _of_another_user,
    "a link": _a_link,
    "for the group to write": lambda path, _: path.chmod(path.stat().st_mode | 0o020),
    "for all to write": lambda path, _: path.chmod(path.stat().st_mode | 0o002),
}


@pytest.mark.parametrize("what", UNTRUSTED)
@pytest.mark.parametrize("part", ["folder", "file"])
def test_code_that_others_may_have_written_is_not_loaded(
    part: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: mock.Mock
) -> None:
    load()
    (file,) = kept(tmp_path)
    planted = b"planted"
    file.write_bytes(hashlib.sha256(planted).digest() + planted)
    assert load() == planted
    UNTRUSTED[what](file.parent if part == "folder" else file, monkeypatch)
    assert load() == CODE
    assert builder.call_count == 2


@pytest.mark.usefixtures("builder")
def test_many_at_once_leave_one_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(load, ["cpu"] * 32)) == {CODE}
    assert len(kept(tmp_path)) == 1


def test_all_compiled_sources_are_named() -> None:
    package = Path(native.__file__).parent
    users = {path.name for path in package.glob("*.py") if "import compiled\n" in path.read_text()}
    sources = {(package / name).resolve() for name in native._SOURCES}
    assert {package / name for name in users | {"memory.py", "compiler.py"}} <= sources
    texts = [path.read_text() for path in sources if path.parent == package]  # the values they import are compiled in
    imported = {name for text in texts for name in re.findall(r"^from (pipeline[.\w]*) import", text, re.MULTILINE)}
    assert {package.parents[1] / f"{name.replace('.', '/')}.py" for name in imported} <= sources


LOADS = """
import sys
from pipeline.native import loader as native
import numpy as np
found = np.empty(2, np.int64)
assert native.invoke("last_comma", np.frombuffer(b"1,2]", np.uint8), 4, found) == 1, "wrong"
assert found.tolist() == [1, 3]
assert "numba" not in sys.modules, "numba was imported"
"""


def test_a_process_that_finds_compiled_code_never_imports_numba() -> None:
    native._function("last_comma")  # compiles it, if nobody did yet
    subprocess.run([sys.executable, "-c", LOADS], check=True, cwd=Path(native.__file__).parents[2])


BROKEN = "raise ImportError('Numba needs NumPy 2.2 or less')\n"


@pytest.mark.parametrize("package", ["llvmlite", "numba"])
def test_a_report_with_a_broken_compiler(tmp_path: Path, package: str) -> None:
    """The report and its ids are the same, and one line on stderr says why it takes so long."""
    root = Path(native.__file__).parents[2]
    shutil.copytree(root / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(BROKEN)
    text = b"".join(pieces(5000, "usual"))
    run = support.run(
        "--input=-", "--output=-", "--ids_output=ids.txt", "--deduplicate", stdin=text, cwd=tmp_path,
        PYTHONPATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    assert run.status == 0, run.err
    events = oracle.read(text).events
    assert run.out == oracle.report(oracle.without_duplicates(events))
    assert set(oracle.ids_of_lines((tmp_path / "ids.txt").read_bytes())) == oracle.unique_ids(events)
    warnings = [line for line in run.err.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert warnings[0].endswith("(ImportError: Numba needs NumPy 2.2 or less); falling back to much slower pure Python")
    assert "Traceback" not in run.err
