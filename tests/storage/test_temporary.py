"""Temporary files of buckets: what no run can need any more is removed."""

import time

import pytest

from pipeline.storage import temporary
from pipeline.storage.files import InputFile
from pipeline.storage.locks import new_token
from pipeline.storage.temporary import LONGEST_RUN_SECONDS


def test_in_a_bucket_what_no_run_can_need_any_more_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = new_token(), int(time.time())
    names = {
        f".r.csv.{token}-{'0' * 32}": now - LONGEST_RUN_SECONDS - 60,
        f".r.csv.{token}-{'1' * 32}": now - LONGEST_RUN_SECONDS + 60,
        f".r.csv.{token}-{'2' * 32}": 0,  # nobody knows
        f".other.csv.{token}-{'0' * 32}": 1,
        ".r.csv.bak": 1,
        "r.csv": 1,
    }
    objects = [InputFile(f"gs://bucket/out/{name}", 0, name, modified) for name, modified in names.items()]
    removed: list[str] = []
    monkeypatch.setattr(temporary, "list_objects", lambda prefix: [o for o in objects if o.path.startswith(prefix)])
    monkeypatch.setattr(temporary, "delete_file", removed.append)
    with temporary.held(["gs://bucket/out/r.csv"], new_token()):
        pass
    assert removed == [objects[0].path]
    with temporary.held_folders(["gs://bucket/out/"], new_token()):
        pass
    assert removed == [objects[k].path for k in (0, 0, 3)]


def test_a_bucket_that_cannot_be_listed_is_not_the_business_of_locks() -> None:
    with temporary.held(["nowhere://bucket/r.csv"], new_token()):
        pass
    with temporary.held_folders(["nowhere://bucket/r"], new_token()):
        pass
