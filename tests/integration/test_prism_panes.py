"""The streams that are played on DirectRunner, played on Prism, by its own clock and watermark."""

from pathlib import Path

import pytest

from pipeline.report import Summary
from pipeline.stream_options import KEEP_BUNDLES_WHOLE
from tests import streams
from tests.integration.servers import TOOLS

PRISM = (
    "--runner=PrismRunner",
    f"--prism_location={TOOLS / 'prism'}",
    f"--experiments={KEEP_BUNDLES_WHOLE}",
    "--environment_type=LOOPBACK",
)


@pytest.mark.parametrize("name", streams.SCENARIOS)
def test_a_stream_ends_with_what_came(name: str, tmp_path: Path) -> None:
    """Panes are not compared, only what must hold however Prism cuts and orders them.

    That is: the last files, no version that holds more than its hour, and counts that account for all.
    """
    scenario = streams.SCENARIOS[name]
    outcome = streams.play(tmp_path, scenario.steps, PRISM, **scenario.job)
    events = streams.impressions(*scenario.times)
    assert outcome.reports == streams.reports_of(events, scenario.minutes)
    assert outcome.ids == streams.ids_of(events, scenario.minutes)
    held = {file: sum(map(int, text.split("\n")[1].split(",")[1:-1])) for file, text in outcome.reports.items()}
    assert {file: max(n for other, n in outcome.versions if other == file) for file in held} == held
    assert len(outcome.rejects) == scenario.late
    assert outcome.summary == Summary(len(events) + scenario.late, len(events), 0, 0, late=scenario.late)
