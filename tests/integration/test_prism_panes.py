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
    scenario = streams.SCENARIOS[name]
    streams.check(streams.play(tmp_path, scenario.steps, PRISM, **scenario.job), scenario)
