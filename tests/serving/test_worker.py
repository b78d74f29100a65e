"""The start of a worker, in process."""

import logging

import pytest

import pipeline.serving.worker
from pipeline.serving.journal import Journal
from pipeline.serving.slots import Slot, Slots


def test_a_warm_up_that_fails_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Slot] = []

    def make_slot() -> Slot:
        made.append(Slot.__new__(Slot))
        if len(made) < 3:
            raise OSError(28, "No space left on device")
        return made[-1]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(pipeline.serving.worker, "_AGAIN_SECONDS", 0)
    monkeypatch.setattr(pipeline.serving.worker, "decode", fail)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr(Journal, "load", fail)
    slots = Slots()
    with caplog.at_level(logging.WARNING):
        pipeline.serving.worker._warm_up(make_slot, slots, 1, Journal())
    assert slots._free == made[2:]
    assert slots.total == 1
    assert [record.message for record in caplog.records] == [
        *["a slot cannot be made, trying again in 0 s: [Errno 28] No space left on device"] * 2,
        "there are no metrics: no compiler",
        "large bodies will be slow, or refused: no compiler",
    ]
