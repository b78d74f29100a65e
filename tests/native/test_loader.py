"""Where compiled code is kept, that a damaged copy is not used, and that it works where nothing can be kept."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from pipeline.native import loader as native

NOWHERE = Path("/proc/nowhere")
CODE = b"object code"


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[mock.Mock]:
    """Sources in a folder of their own, and a compiler that is counted instead of run."""
    for name in native._SOURCES:
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(native, "_HERE", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with mock.patch("pipeline.native.compiler.build", return_value=CODE) as build:
        yield build


def load(target: str = "cpu") -> bytes:
    return native._kept_or_built("pipeline.native.scanner", target, None)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.is_dir() else []


def test_compiled_once_and_kept_beside_the_sources(tmp_path: Path, builder: mock.Mock) -> None:
    assert load() == load() == CODE
    assert builder.call_count == 1
    (file,) = kept(tmp_path / "__pycache__")
    assert file.stat().st_mode & 0o777 == 0o644
    assert not kept(tmp_path / "home" / "hourly-report")


def test_another_processor_or_source_is_another_file(tmp_path: Path, builder: mock.Mock) -> None:
    load("one")
    load("other")
    (tmp_path / native._SOURCES[0]).write_text("2")
    load("one")
    assert builder.call_count == 3
    assert len(kept(tmp_path / "__pycache__")) == 3


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_written_anew(tmp_path: Path, builder: mock.Mock, damage: bytes | None) -> None:
    load()
    (file,) = kept(tmp_path / "__pycache__")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if damage is None else damage)
    assert load() == CODE
    assert builder.call_count == 2
    assert file.read_bytes() == whole


def test_in_the_users_cache_where_the_sources_are_read_only(tmp_path: Path, builder: mock.Mock) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    assert load() == load() == CODE
    assert builder.call_count == 1
    assert len(kept(tmp_path / "home" / "hourly-report")) == 1


def test_in_memory_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: mock.Mock
) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    assert load() == load() == CODE
    assert builder.call_count == 2


@pytest.mark.usefixtures("builder")
def test_many_at_once_leave_one_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(load, ["cpu"] * 32)) == {CODE}
    assert len(kept(tmp_path / "__pycache__")) == 1


def test_all_compiled_sources_are_named() -> None:
    package = Path(native.__file__).parent
    users = {path.name for path in package.glob("*.py") if "import compiled\n" in path.read_text()}
    assert users | {"memory.py", "compiler.py"} == set(native._SOURCES)


LOADS = """
import sys
from pipeline.native import loader as native
import numpy as np
found = np.empty(2, np.int64)
assert native.call("last_comma", np.frombuffer(b"1,2]", np.uint8), 4, found) == 1, "wrong"
assert found.tolist() == [1, 3]
assert "numba" not in sys.modules, "numba was imported"
"""


def test_a_process_that_finds_compiled_code_never_imports_numba() -> None:
    native._function("scan")  # compiles it, if nobody did yet
    subprocess.run([sys.executable, "-c", LOADS], check=True, cwd=Path(native.__file__).parents[2])


def test_arguments_are_numbers_or_arrays() -> None:
    found = np.empty(2, np.int64)
    data = np.frombuffer(b'{"a": [1, 2]}, 5, "]"', np.uint8)
    assert native.call("last_comma", data, len(data), found) == 16
    assert found.tolist() == [2, -1]
