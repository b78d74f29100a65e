"""Runs a graph repeatedly on Beam's embedded runner with a persistent worker, for a server's small inputs.

FnApiRunner fuses the graph, starts a worker and sets up the DoFns of each stage in every run: 30 of the 35 ms of a
report of six events. Like remote workers, this one keeps its stages between bundles.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from apache_beam.metrics.execution import MetricKey
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.execution import ENCODED_IMPULSE_VALUE, FnApiRunnerExecutionContext
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner, RunnerResult
from apache_beam.runners.portability.fn_api_runner.translations import IMPULSE_BUFFER
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandlerManager
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker.bundle_processor import DATA_INPUT_URN, BundleProcessor
from apache_beam.runners.worker.statecache import StateCache
from apache_beam.runners.worker.statesampler import set_current_tracker

from pipeline.errors import PipelineError


class WarmRunner(FnApiRunner):  # type: ignore[misc]
    """Runs a translated graph repeatedly; not thread-safe.

    Stages run in sequence, each with one bundle of all its input: for batch graphs without timers and splittable reads.
    Depends on Beam internals; if they are not as expected, FnApiRunner runs the graph, slowly.
    """

    def __init__(self, graph: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> None:
        super().__init__()
        self._graph, self._options = graph, options
        self._workers: Any = None  # None: the next run starts a worker

    def run(self) -> RunnerResult:
        """Runs the graph to its end; raises the errors of its DoFns."""
        try:
            if not self._workers:
                self.run_via_runner_api(self._graph, self._options)  # optimizes the graph and calls run_stages
            return self._run_bundles()
        except PipelineError:
            raise
        except Exception as error:
            logging.getLogger(__name__).warning("retrying with a new worker", exc_info=error)
            self.close()
            return FnApiRunner().run_via_runner_api(self._graph, self._options)

    def run_stages(self, stage_context: Any, stages: list[Any]) -> None:
        """Called by FnApiRunner with the stages in order; starts the worker."""
        self._workers = WorkerHandlerManager(stage_context.components.environments, self._provision_info)
        self._context = FnApiRunnerExecutionContext(
            stages,
            self._workers,
            stage_context.components,
            stage_context.safe_coders,
            stage_context.data_channel_coders,
            num_workers=1,
        )
        self._context.setup()
        self._stages: list[tuple[_Stage, set[Any]]] = []  # with the buffers that later stages read
        for stage in [_Stage(self._context, stage) for stage in stages]:
            for _, wanted in self._stages:
                wanted.update(stage.reads)
            self._stages.append((stage, set()))

    def close(self) -> None:
        """Stops the worker; the next run starts another."""
        workers, self._workers = self._workers, None
        if workers:
            workers.close_all()

    def _run_bundles(self) -> RunnerResult:
        counters, buffers = Counter[MetricKey](), self._context.pcoll_buffers
        self._workers.state_servicer.checkpoint()
        try:
            for stage, wanted in self._stages:
                stage.run(counters)
                for buffer in buffers.keys() - wanted:
                    del buffers[buffer]
        finally:
            self._clear_bundles()
        result = RunnerResult(PipelineState.DONE, {})
        result.metrics()._counters.update(counters)
        return result

    def _clear_bundles(self) -> None:
        """Clears per-run state, also after a failure; stages stay initialized."""
        self._context.pcoll_buffers.clear()
        (worker,) = self._workers.get_worker_handlers(None, 1)
        self._workers.state_servicer.restore()
        for channel in (worker.data_conn, worker.data_conn.inverse()):
            channel._inputs.clear()
        worker.bundle_processor_cache.failed_instruction_ids.clear()


class _Stage:
    """A stage of the graph, set up by its first bundle."""

    def __init__(self, context: FnApiRunnerExecutionContext, stage: Any) -> None:
        self._context, self._bundles = context, context.bundle_manager_for(stage)
        (self._worker,) = self._bundles.worker_handlers
        self._name = self._bundles.process_bundle_descriptor.id  # also the id of its bundles, which never overlap
        context.worker_handler_manager.register_process_bundle_descriptor(self._bundles.process_bundle_descriptor)
        buffers = context.input_transform_to_buffer_id
        inputs = [transform.unique_name for transform in stage.transforms if transform.spec.urn == DATA_INPUT_URN]
        self._inputs = {name: buffers[name] for name in inputs}
        self._side_inputs = context.side_input_descriptors_by_stage[stage.name]
        self._processor: BundleProcessor | None = None

    @property
    def reads(self) -> Collection[Any]:
        return self._inputs.values()

    def run(self, counters: Counter[MetricKey]) -> None:
        """Processes all input as one bundle, like Beam's worker."""
        buffers = self._context.pcoll_buffers
        for transform, buffer in self._inputs.items():
            self._send(transform, [ENCODED_IMPULSE_VALUE] if buffer == IMPULSE_BUFFER else buffers.get(buffer, ()))
        self._process(counters)
        for output in self._worker.data_conn.input_elements(self._name, None):
            buffer = self._bundles.stage_data_outputs[output.transform_id]
            self._bundles.get_buffer(buffer, output.transform_id).append(output.data)
        self._context.commit_side_inputs_to_state(self._side_inputs)

    def _send(self, transform: str, pieces: Iterable[bytes]) -> None:
        stream = self._worker.data_conn.output_stream(self._name, transform)
        for piece in pieces:
            stream.write(piece)
        stream.close()

    def _process(self, counters: Counter[MetricKey]) -> None:
        cache = self._worker.bundle_processor_cache
        if not self._processor:
            self._processor = cache.get(self._name, self._name)
            _quieten(cache, self._processor)
        processor = self._processor
        try:
            with processor.state_handler.process_instruction_id(self._name, ()):
                if any(processor.process_bundle(self._name)):
                    raise NotImplementedError("residuals of a bundle")
        except BaseException as error:
            self._processor = None
            cache.discard(self._name, error)
            raise
        for container in [operation.metrics_container for operation in processor.ops.values()]:
            if container.metrics:
                counters.update(container.get_cumulative().counters)
        processor.reset()


def _quieten(cache: Any, processor: BundleProcessor) -> None:
    """Disables a worker's background tasks, which cost more than a small bundle.

    One thread drops stages after an idle minute. Side inputs stay in a cache of 100 MB, although none is read twice.
    Another thread samples the time of each step, and its sleep delays the end of each stage by 2 to 200 ms.
    """
    cache.periodic_shutdown.cancel()
    processor.state_handler._state_cache = StateCache(0)
    processor.state_sampler.start = partial(set_current_tracker, processor.state_sampler)
