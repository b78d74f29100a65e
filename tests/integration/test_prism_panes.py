"""The streams that are played on DirectRunner, played on Prism, by its own clock and watermark."""

from pathlib import Path

import pytest

from pipeline.cli.stream_options import KEEP_BUNDLES_WHOLE
from tests import streams
from tests.integration.servers import TOOLS

PRISM = (
    "--runner=PrismRunner",
    f"--prism_location={TOOLS / 'prism'}",
    f"--experiments={KEEP_BUNDLES_WHOLE}",
    "--environment_type=LOOPBACK",
)


@pytest.mark.parametrize("name", streams.SCENARIOS)
def test_panes(name: str, tmp_path: Path) -> None:
    """Prism may move its clock before elements of the step before are in their panes: it waited in 25 of 42 runs."""
    scenario = streams.SCENARIOS[name]
    outcome = streams.play(tmp_path, scenario.steps, PRISM, **scenario.job)
    streams.check(outcome, scenario, early_or_later=name.startswith("early"))
