"""A stream's job: what must be the same in all runs over one ledger, and what may change."""

import dataclasses
from typing import Any

import pytest

from pipeline.model.settings import ReportSettings
from pipeline.stream import StreamJob

JOB = StreamJob("out", ids_output="ids")


@pytest.mark.parametrize(
    "change",
    [
        {"report": ReportSettings("+05:30")},
        {"report": ReportSettings(time_zone="Europe/Paris")},
        {"report": ReportSettings(deduplicate=True)},
        {"report": ReportSettings(impressions_factor="0.10")},
        {"allowed_lateness_seconds": 60},
        {"max_future_seconds": 60},
        {"id_shards": 2},
        {"ids_output": None},
    ],
)
def test_what_makes_other_reports(change: dict[str, Any]) -> None:
    assert dataclasses.replace(JOB, **change).settings != JOB.settings


@pytest.mark.parametrize(
    "change",
    [
        {"ids_output": "elsewhere"},
        {"rejects_output": "bad"},
        {"early_firing_seconds": 5},
        {"report": ReportSettings("+01:00")},  # the default
        {"patterns": ("a",)},
        {"token": "x"},
    ],
)
def test_what_may_change_between_runs(change: dict[str, Any]) -> None:
    assert dataclasses.replace(JOB, **change).settings == JOB.settings
