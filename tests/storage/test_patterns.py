"""Patterns: what they mean, and that a walk over a disk and an expression over names agree."""

import os
import re
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.storage.matching import match_files
from pipeline.storage.patterns import literal_prefix, parse, whole_expression
from tests import memory_bucket

MATCHES = [
    ("a.json", ["a.json"], ["b.json", "a-json", "x/a.json"]),
    ("*.json", ["a.json", "\n.json"], [".json", ".a.json", "x/a.json", "a.jsonl"]),
    ("?.json", ["a.json", "é.json"], ["ab.json", "..json", "/.json"]),
    ("[ab].json", ["a.json", "b.json"], ["c.json", "ab.json"]),
    ("[!ab].json", ["c.json", "^.json"], ["a.json", "..json", "/.json"]),
    ("[]x].json", ["].json", "x.json"], ["a.json"]),
    ("[!]x].json", ["a.json"], ["].json", "x.json"]),
    ("[^a].json", ["^.json", "a.json"], ["b.json"]),
    ("[a-c\\].json", ["b.json", "\\.json"], ["d.json"]),
    ("[a.json", ["[a.json"], ["a.json"]),
    ("a[]b", ["a[]b"], ["ab"]),
    (".*", [".a", ".json"], ["a"]),
    (".a/*", [".a/b"], [".a/.b", "a/b"]),
    ("*/b", ["a/b"], [".a/b", "b", "a/c/b"]),
    ("**/b", ["b", "a/b", "a/c/b"], [".a/b", "a/.c/b", "ab"]),
    ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["a/.c/b", "b", "a/cb"]),
    ("a/**", ["a/b", "a/b/c"], ["a", "a/.b", "a/.b/c", "b/c"]),
    ("**/**/b", ["b", "a/b", "a/c/b"], ["c"]),
    ("**", ["a", "a/b"], [".a", "a/.b"]),
    ("**/.b/*", [".b/c", "a/.b/c"], ["a/.b/.c", "b/c"]),
    ("a**b", ["ab", "axxb"], ["a/b", "ax/b"]),
    ("a*/", ["a/b", "ax/c"], ["a", "b/c", "a/b/c"]),
    ("gs://bucket/in/**/*.gz", ["gs://bucket/in/a.gz", "gs://bucket/in/b/c/a.gz"], ["gs://bucket/in/.b/a.gz", "a.gz"]),
]


@pytest.mark.parametrize(("pattern", "matched", "others"), MATCHES, ids=[pattern for pattern, _, _ in MATCHES])
def test_meaning(pattern: str, matched: list[str], others: list[str]) -> None:
    expression = whole_expression(pattern)
    assert [name for name in matched if not expression.fullmatch(name)] == []
    assert [name for name in others if expression.fullmatch(name)] == []


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("in/[b-a]: not a pattern: ")):
        parse("in/[b-a]")


def test_the_literal_prefix() -> None:
    assert [literal_prefix(text) for text in ("a/b", "a/b*", "a/[b", "?")] == ["a/b", "a/b", "a/", ""]


NAMES = st.text(st.sampled_from("ab.[]!-^\\"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PARTS = st.just("**") | st.text(st.sampled_from("ab.[]!*?^\\"), min_size=1, max_size=4)
PATTERNS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)


def make(folder: Path, paths: set[str]) -> set[str]:
    """Makes the files that do not stand in each other's way; their paths."""
    made = set()
    for path in sorted(paths):
        if not any((folder / parent).is_file() for parent in Path(path).parents) and not (folder / path).is_dir():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
            made.add(path)
    return made


@settings(max_examples=400)
@given(st.sets(PATHS, max_size=12), PATTERNS)
def test_a_walk_finds_what_the_expression_matches(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], pattern: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    made = make(folder, paths)
    try:
        expression = whole_expression(pattern)
    except UsageError:
        return
    if (folder / pattern).exists():  # a literal name comes first
        return
    found = {os.path.relpath(file.path, folder) for file in match_files(f"{folder}/{pattern}")}
    assert found == {path for path in made if expression.fullmatch(path)}


def in_a_bucket(names: set[str], pattern: str) -> set[str]:
    """What a pattern finds in a bucket of objects with these names."""
    objects = {f"mem://bucket/{name}": b"" for name in names}
    with mock.patch.dict(memory_bucket.OBJECTS, objects, clear=True):
        return {file.path.removeprefix("mem://bucket/") for file in match_files(f"mem://bucket/{pattern}")}


@settings(max_examples=400)
@given(st.sets(PATHS, max_size=12), PATTERNS | PATHS, st.sampled_from(["", "/"]))
def test_a_disk_and_a_bucket_agree(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], pattern: str, end: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    made = make(folder, paths)
    try:
        whole_expression(pattern)
    except UsageError:
        return
    on_disk = {os.path.relpath(file.path, folder) for file in match_files(f"{folder}/{pattern}{end}")}
    assert on_disk == in_a_bucket(made, pattern + end)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/**", ["d//y", "d/x", "d/z//w"]),
        ("d/**/w", ["d/z//w"]),
        ("d/*/y", ["d//y"]),
        ("d/*", ["d/x"]),
        ("d/", ["d/x"]),
        ("d", ["d/x"]),
        ("d//", ["d//y"]),
        ("d//**", ["d//y"]),
        ("d/z/", []),
    ],
)
def test_folders_in_a_bucket_with_an_object_of_their_own_and_empty_names(pattern: str, found: list[str]) -> None:
    assert sorted(in_a_bucket({"d/", "d/x", "d/.h", "d//y", "d/z//w", "e//y"}, pattern)) == found


@pytest.mark.parametrize("end", ["", "/"])
def test_a_literal_folder_that_holds_only_folders_comes_first_too(end: str, tmp_path: Path) -> None:
    made = make(tmp_path, {"[a]/deeper/b", "a"})
    assert match_files(f"{tmp_path}/[a]{end}") == []
    assert in_a_bucket(made, f"[a]{end}") == set()
