"""Files that other tools leave beside data are left out unless they are named; files of any other name are read."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage.matching import find_files

SIDECARS = [
    *("_SUCCESS", "_metadata", "_common_metadata", "_committed_123", "_started_123", "part-0.jsonl.crc", "x.CRC"),
    *("desktop.ini", "Desktop.ini", "Thumbs.db", "events.json:Zone.Identifier"),
]
READ = ["_success", "_events.json", "_metadata.json", "x_SUCCESS", "crc", "x.crc.json", "my.ini", "a.db", "committed_1"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*SIDECARS, *READ):
        Path("in/_data.ini").mkdir(parents=True, exist_ok=True)
        for folder in ("in", "in/_data.ini"):
            Path(folder, name).touch()


@pytest.mark.parametrize("pattern", ["in", "in/*", "in/**", "in/_data.ini", "in/_d*/*", "i?/*"])
def test_sidecars_are_left_out_of_folders_and_globs(pattern: str) -> None:
    left_out: list[str] = []
    found = find_files([pattern], left_out)
    folders = {str(Path(file.path).parent) for file in found}
    assert sorted(file.path for file in found) == sorted(f"{folder}/{name}" for folder in folders for name in READ)
    assert sorted(left_out) == sorted(f"{folder}/{name}" for folder in folders for name in SIDECARS)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        *((f"in/{name}", [name]) for name in SIDECARS),
        ("in/*.crc", ["part-0.jsonl.crc"]),
        ("*/_SUCCESS", ["_SUCCESS"]),
        ("in/_comm*", ["_committed_123", "_common_metadata"]),
        ("in/[T]humbs.db", ["Thumbs.db"]),
        ("in/*Zone.Identifier", ["events.json:Zone.Identifier"]),
    ],
)
def test_sidecars_that_are_named_are_read(pattern: str, found: list[str]) -> None:
    left_out: list[str] = []
    assert [Path(file.path).name for file in find_files([pattern], left_out)] == found
    assert left_out == []


def test_sidecars_are_left_out_once_however_many_patterns_find_them() -> None:
    left_out: list[str] = []
    Path("link").symlink_to("in")
    find_files(["in", "in/*", "./in", "link/*", "in/_SUCCESS"], left_out)
    assert {Path(path).name for path in left_out} == {*SIDECARS} - {"_SUCCESS"}
    assert len(left_out) == len(SIDECARS) - 1


def test_a_folder_of_nothing_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()
    with pytest.raises(UsageError, match=r"empty: contains no files"):
        find_files(["empty"])
