"""Where compiled code is kept, and that it works where nothing can be kept."""

from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

from pipeline import compiling

NOWHERE = Path("/proc/nowhere")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in compiling._SOURCES:
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(compiling, "_HERE", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    compiling._folder.cache_clear()
    yield
    compiling._folder.cache_clear()


def double(x: int) -> int:
    return 2 * x


def test_beside_the_sources(tmp_path: Path) -> None:
    assert compiling.compiled(double)(21) == 42
    (kept,) = (tmp_path / "__pycache__").iterdir()
    assert any(file.suffix == ".nbi" for file in kept.rglob("*"))
    assert numba.config.CACHE_DIR == ""


def test_a_change_of_any_source_is_another_folder(tmp_path: Path) -> None:
    before = compiling._folder()
    (tmp_path / compiling._SOURCES[0]).write_text("2")
    compiling._folder.cache_clear()
    assert compiling._folder() != before


def test_in_the_users_cache_where_the_sources_are_read_only(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    assert Path(compiling._folder()).is_relative_to(tmp_path / "home" / "hourly-report")


def test_in_memory_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    assert compiling._folder() == ""
    assert compiling.compiled(double)(21) == 42


def test_all_compiled_sources_are_named() -> None:
    package = Path(__file__).parent.parent / "pipeline"
    users = {path.name for path in package.glob("*.py") if "import compiled\n" in path.read_text()}
    assert users | {"words.py"} == set(compiling._SOURCES)
