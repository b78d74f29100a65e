"""The scanner takes what is usual itself."""

from unittest import mock

from bench.events import pieces
from pipeline.formats import decoding
from pipeline.formats.decoding import Block
from tests import support


def test_the_scanner_takes_every_usual_spelling_itself() -> None:
    """Lines that it hands on cost 200 times as much, so there must be few."""
    text = b"".join(pieces(5000, "odd"))
    with mock.patch.object(decoding, "_decode_spans", side_effect=AssertionError), support.decoder("compiled"):
        assert len(decoding.decode(Block(text + b" " * 16 + b"\n")).codes) == 5000
