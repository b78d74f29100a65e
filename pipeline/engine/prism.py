"""Prism, Beam's local runner for streams, as a service of this process."""

import contextlib
import signal
from collections.abc import Iterator

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions


@contextlib.contextmanager
def running_prism(options: PipelineOptions) -> Iterator[None]:
    """Runs Prism while the block runs, where it is the runner. Beam itself can start it in a main thread only."""
    if options.view_as(StandardOptions).runner != "PrismRunner" or options.view_as(PortableOptions).job_endpoint:
        yield
        return
    from apache_beam.runners.portability.prism_runner import PrismRunner

    prism = PrismRunner().default_job_server(options)
    on_interrupt = signal.getsignal(signal.SIGINT)
    prism.start()
    signal.signal(signal.SIGINT, on_interrupt)  # Beam would stop Prism before what runs is finished
    try:
        yield
    finally:
        prism.stop()
