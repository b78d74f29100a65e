"""Prism, Beam's local runner for streams, as a service of this process."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer

from pipeline.errors import UsageError, one_line


class SinkDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn with whose stage a graph ends: tuple[K, V] -> nothing that anything reads.

    Of a bundle that sends nothing Prism 2.77 asks all the time whether it has ended (stage.go, Execute), which takes a
    core from it: 24 reports were written in 1.15 s, now in 0.1. A timer's end is sent, also of one that is never set.
    """

    _UNUSED = TimerSpec("unused", TimeDomain.WATERMARK)

    @on_timer(_UNUSED)  # type: ignore[untyped-decorator]
    def never(self, _: Any = beam.DoFn.TimerParam(_UNUSED)) -> None:
        """Is not called."""


def is_prism(options: PipelineOptions) -> bool:
    """Whether Prism is the runner, and is started for the job."""
    return options.view_as(StandardOptions).runner == "PrismRunner" and not (
        options.view_as(PortableOptions).job_endpoint
    )


def find_prism(options: PipelineOptions) -> None:
    """Finds Prism's program where it will be needed, or downloads it, so that the job need not; sets its path.

    Raises:
      UsageError: it cannot be found or downloaded.
    """
    if not is_prism(options):
        return
    from apache_beam.runners.portability.prism_runner import PrismJobServer

    prism = options.view_as(PrismRunnerOptions)
    if prism.prism_location and os.path.isdir(prism.prism_location):
        raise UsageError(f"{prism.prism_location} is a folder, not Prism's program")
    try:
        (prism.prism_location, *_), _ = PrismJobServer(options).subprocess_cmd_and_endpoint()
    except Exception as error:
        raise UsageError(f"Prism, Beam's local runner, cannot be found: {one_line(error)}") from None


def end_prism() -> None:
    """Ends each Prism of this process whose jobs are over. Beam would send SIGINT five times, a second each.

    A stream's Prism ignores that one, so that Ctrl-C in a terminal is for its launcher alone.
    """
    from apache_beam.utils.subprocess_server import SubprocessServer

    for entry in list(SubprocessServer._cache._cache.values()):
        process, _ = entry.obj
        process.kill()
        process.wait()


@contextlib.contextmanager
def running_prism(options: PipelineOptions) -> Iterator[None]:
    """Runs Prism while the block runs, where it is the runner. Beam itself can start it in a main thread only."""
    if not is_prism(options):
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
