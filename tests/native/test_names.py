"""Names of fields and event types: each is known and no other; with escapes they are the same as the plain ones."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.native import names
from pipeline.schema import EVENT_TYPES, FIELDS
from tests.documents import EVENT
from tests.native_support import callable_from_python, memory
from tests.support import check_decoders as check


@pytest.mark.parametrize(
    ("name", "names"),
    [
        (b'"\\u0069d"', b'"id"'),
        (b'"e\\u0076ent"', b'"event"'),
        (b'"\\u0061"', b'"a"'),
        (b'"\\n\\u00e9\\ud83d\\ude00"', '"\\n\u00e9\U0001f600"'.encode()),
        (b'"' + b"\\u0061" * 60 + b'"', b'"' + b"a" * 60 + b'"'),
    ],
)
def test_an_escaped_name_is_the_same_as_the_plain_one(name: bytes, names: bytes) -> None:
    twice = b'{%s:1,%s:2,"id":"a","event":"video_25","timestamp":1}\n'
    check(twice % (name, names))
    check(twice % (name, name))
    check(b'{%s:"x","event":"video_25","timestamp":1}\n' % name + EVENT)


@pytest.mark.parametrize(
    "event", [b"\\u0076ideo_25", b"video_2\\u0035", b"video\\u005f250", b"video_25\\n", b"\\u0076" * 50]
)
def test_an_escaped_event_type(event: bytes) -> None:
    check(b'{"id":"a","event":"%s","timestamp":1}\n' % event + EVENT * 2 + b"\n" + EVENT)


field_at, event_at = map(callable_from_python, (names.field_at, names.event_at))


@pytest.mark.parametrize(("find", "known"), [(field_at, FIELDS), (event_at, EVENT_TYPES)], ids=["fields", "events"])
def test_each_name_and_no_other(find: Callable[..., Any], known: tuple[str, ...]) -> None:
    for number, name in enumerate(known):
        for behind in (b"", b":1", b'"' * 20, b"\xff" * 20):
            data = memory(f'{name}"'.encode() + behind + bytes(16))
            assert find(data.ctypes.data, 0) == (number, len(name) + 1)
        for other in (name[:-1], name[1:], f"{name}x", f"x{name}", name.upper(), f"{name} ", f"{name}\0", name * 2, ""):
            data = memory(f'{other}"'.encode() + bytes(16))
            assert find(data.ctypes.data, 0)[0] == -1


@pytest.mark.parametrize(
    "types",
    [
        ("impressions", "video_start", "video_stop"),
        ("impressions", "click", "x"),
        tuple(f"{k:02}-percent" for k in range(9)),
        tuple(f"{k:02}-percent" for k in range(20)),
    ],
    ids=["alike in eight bytes", "short", "nine", "more than the slots"],
)
def test_other_event_types(types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    find = callable_from_python(names_of(types, monkeypatch).event_at)
    test_each_name_and_no_other(find, types)


def test_todays_event_types_are_found_in_the_table() -> None:
    assert names._FACTOR


def test_a_name_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="video_paused_by_user: compiled code takes names of up to 15 bytes"):
        names_of(("video_paused_by_user",), monkeypatch)


def names_of(types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as it would be with other event types."""
    monkeypatch.setattr("pipeline.schema.EVENT_TYPES", types)
    spec = importlib.util.spec_from_file_location("names_of_other_types", names.__file__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
