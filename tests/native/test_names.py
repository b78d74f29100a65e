"""Names of fields and event types with escapes are the same as the plain ones, for both decoders."""

import pytest

from tests.documents import EVENT
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
