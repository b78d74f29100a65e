"""What patterns match on this machine, and that nothing which cannot be accessed is left out in silence."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.storage.files import InputFile
from pipeline.storage.matching import find_files, match_files

NOBODY = 65534


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions bind."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def make(*names: str, data: bytes = b"12345") -> None:
    for name in names:
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_bytes(data)


def names(*patterns: str) -> list[str]:
    return [file.path for file in find_files(list(patterns))]


def refused(reason: str, *patterns: str) -> None:
    """One error that says so, and a watch that goes on finds the others."""
    with pytest.raises(UsageError) as caught:
        find_files(list(patterns))
    assert str(caught.value) == reason


def test_a_file_a_glob_a_folder(tmp_path: Path) -> None:
    make("b.json", "a.json", "c.txt", "folder/d.json", "folder/e.json", "folder/deeper/f.json")
    assert names("a.json") == ["a.json"]
    assert names("*.json") == ["a.json", "b.json"]
    assert names("?.*") == ["a.json", "b.json", "c.txt"]
    assert names("[bc].*") == ["b.json", "c.txt"]
    assert names(str(tmp_path)) == [str(tmp_path / name) for name in ("a.json", "b.json", "c.txt")]
    assert names("./") == ["./a.json", "./b.json", "./c.txt"]
    assert names("*") == ["a.json", "b.json", "c.txt"]
    assert names("*/*.json") == ["folder/d.json", "folder/e.json"]
    assert names("*/") == ["folder/d.json", "folder/e.json"]
    assert names("folder") == ["folder/d.json", "folder/e.json"]
    assert names(f"{tmp_path}/*/deeper/../*.json") == [f"{tmp_path}/folder/deeper/../{name}.json" for name in "de"]
    os.utime("a.json", (1, 1617393003.9))
    status = os.stat("a.json")
    version = status.st_ino, status.st_mtime_ns
    assert find_files(["a.json"]) == [InputFile("a.json", 5, "a.json", 1617393003, version)]


def test_folders_of_all_levels() -> None:
    make("a.json", "folder/b.json", "folder/deeper/c.json", ".hidden/d.json", "folder/.hidden/e.json", "folder/.f.json")
    found = ["a.json", "folder/b.json", "folder/deeper/c.json"]
    assert names("**/*.json") == names("**") == found
    assert names("folder/**") == names("folder/**/*.json") == found[1:]
    assert names("**/.hidden/*") == [".hidden/d.json", "folder/.hidden/e.json"]


def test_folders_of_any_depth(tmp_path: Path) -> None:
    """Deeper than Python's calls may be nested."""
    for _ in range(600):
        os.mkdir("d")
        os.chdir("d")
    Path("a.json").touch()
    os.chdir(tmp_path)
    try:
        assert names("**") == names("d/**/*.json") == ["d/" * 600 + "a.json"]
    finally:
        os.remove("d/" * 600 + "a.json")
        os.removedirs("d/" * 600)  # nor can shutil.rmtree


def test_links_to_folders_are_followed_once() -> None:
    make("a/b/c.json")
    os.symlink("a", "z")
    os.symlink("../..", "a/b/up")
    assert names("**/*.json") == ["a/b/c.json"]
    assert names("z/**/*.json") == ["z/b/c.json"]


def test_each_file_once(tmp_path: Path) -> None:
    make("b.json", "a.json", "folder/c.json")
    assert names("folder", "*.json", "b.json", "folder/*") == ["a.json", "b.json", "folder/c.json"]
    assert len(find_files(["a.json", "./a.json", str(tmp_path / "a.json")])) == 1


def test_hidden_files_and_folders_are_left_out_unless_they_are_named() -> None:
    make(".hidden.json", "a.json", ".folder/b.json", ".folder/.c.json")
    assert names(".") == ["./a.json"]
    assert names("*") == names("[.a]*") == names("?*.json") == ["a.json"]
    assert names(".hidden.json") == names(".*.json") == [".hidden.json"]
    assert names(".folder") == names(".*/*.json") == [".folder/b.json"]


@pytest.mark.parametrize("name", ["a[1].json", "[x]", "a*b.json", "a?.json", "[", "é ü.json", "a b", "a\udce9", "**"])
def test_names_that_look_like_patterns(name: str) -> None:
    make(name, "other.json", f"folder {name}/inside.json")
    assert names(name) == [name]
    assert names(f"folder {name}") == [f"folder {name}/inside.json"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\udce9", "a\\xe9"), ("l\udcc3\udca9", "lé"), ("\x1b[2J\n", "\\x1b[2J\\x0a"), ("é\x9b", "é\\x9b")],
)
def test_a_name_is_shown_by_its_bytes_where_it_is_not_utf_8_or_would_command_a_terminal(name: str, shown: str) -> None:
    make(f"{name}.json")
    assert [file.name for file in find_files(["*.json"])] == [f"{shown}.json"]


@pytest.mark.parametrize(
    "pattern", ["missing.json", "*.missing", "missing/*.json", "missing/", "empty/*", "", "*/x", "a.json/*"]
)
def test_no_match(pattern: str) -> None:
    make("a.json")
    Path("empty").mkdir()
    refused(f"{pattern or repr('')}: no such file, or nothing matches", "a.json", pattern)


def test_a_folder_without_files_says_what_it_has() -> None:
    make("in/2021/a.json", "hidden/.a.json")
    refused("in: contains only folders: use in/** for the files below", "in")
    refused("hidden: contains no files (hidden files and sidecar files are omitted)", "hidden")
    assert names("in/**") == ["in/2021/a.json"]


GONE = "dangling symbolic link to nowhere"
LOOP = "Too many levels of symbolic links"


@pytest.mark.parametrize(("target", "reason"), [("nowhere", GONE), ("link", LOOP)])
@pytest.mark.parametrize("pattern", ["*", "link", "l*", ".", "**", "[l]ink", "*/x.json", "**/x.json", "l?nk/*"])
def test_a_link_that_leads_nowhere_or_round(target: str, reason: str, pattern: str) -> None:
    make("a.json", "folder/x.json")
    os.symlink(target, "link")
    refused(f"{'./' if pattern == '.' else ''}link: cannot be accessed: {reason}", pattern)


@pytest.mark.parametrize("pattern", ["a*", "*.json", "folder/*", "a.json"])
def test_a_broken_link_that_no_pattern_matches_is_no_error(pattern: str) -> None:
    make("a.json", "folder/a.json")
    os.symlink("nowhere", "link")
    assert len(names(pattern)) == 1


def test_a_broken_link_below_a_pattern() -> None:
    make("b/x.json")
    Path("a").mkdir()
    os.symlink("nowhere", "a/x.json")
    refused(f"a/x.json: cannot be accessed: {GONE}", "*/x.json")


@pytest.mark.parametrize("mode", [0o000, 0o111])
@pytest.mark.parametrize("pattern", ["shut", "shut/*", "*/*.json", "**/*.json", "s*/**"])
def test_a_folder_that_cannot_be_listed(mode: int, pattern: str) -> None:
    make("a.json", "open/b.json", "shut/c.json")
    Path("shut").chmod(mode)
    with unprivileged():
        refused("shut: cannot be accessed: Permission denied", pattern)
    Path("shut").chmod(0o755)


@pytest.mark.parametrize("pattern", ["shut/c.json", "shut/*", "*/c.json", "**/c.json"])
def test_a_folder_whose_files_cannot_be_looked_at(pattern: str) -> None:
    make("open/c.json", "shut/c.json")
    Path("shut").chmod(0o444)
    with unprivileged():
        refused("shut/c.json: cannot be accessed: Permission denied", pattern)
    Path("shut").chmod(0o755)


def test_a_folder_that_no_pattern_goes_into_may_be_shut() -> None:
    make("a.json", "shut/c.json", "shut/in/d.json")
    Path("shut").chmod(0o111)
    with unprivileged():
        assert names("*") == ["a.json"]
        assert names("shut/c.json") == ["shut/c.json"]
    Path("shut").chmod(0o755)


@pytest.mark.parametrize(
    ("number", "reason"), [(5, "Input/output error"), (2, "no longer exists"), (116, "Stale file handle")]
)
@pytest.mark.parametrize("pattern", ["*.json", ".", "**", "**/*.json"])
def test_a_file_that_fails_when_it_is_looked_at(
    number: int, reason: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a.json", "b.json")
    look = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("b.json"):
            raise OSError(number, os.strerror(number))
        return look(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    refused(f"{'./' if pattern == '.' else ''}b.json: cannot be accessed: {reason}", pattern)


def test_a_folder_that_fails_or_is_gone_while_it_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a.json", "folder/b.json")
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if path == "folder":
            raise OSError(2, os.strerror(2))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused("folder: cannot be accessed: no longer exists", "**/*.json")
    refused("folder: cannot be accessed: no longer exists", "*/*.json")


def test_what_is_no_file_is_not_read_among_others() -> None:
    make("a.json")
    os.mkfifo("pipe")
    refused("pipe: a pipe, socket or device cannot be read as one of several files", "*")
    os.remove("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        refused("socket: a pipe, socket or device cannot be read as one of several files", ".".replace(".", "s*"))


def test_a_zero_byte_in_a_name() -> None:
    refused("a\\x00: cannot be accessed: names cannot contain a NUL byte", "a\0")


def test_a_watch_is_told_and_finds_the_others() -> None:
    make("a.json", "shut/b.json", "open/c.json")
    os.symlink("nowhere", "link")
    Path("shut").chmod(0)
    told: list[str] = []
    with unprivileged():
        found = match_files("**", on_error=lambda error: told.append(str(error)))
    Path("shut").chmod(0o755)
    assert sorted(file.path for file in found) == ["a.json", "open/c.json"]
    assert sorted(told) == [f"link: cannot be accessed: {GONE}", "shut: cannot be accessed: Permission denied"]
