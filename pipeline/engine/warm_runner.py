"""Runs of one graph on Beam's embedded engine with a worker that stays: what a server needs for small inputs.

FnApiRunner fuses a graph into stages, starts a worker, has it set up the DoFns of each stage, and forgets it all when
the run ends: 30 of the 35 ms that a report of six events took. Workers elsewhere keep what they have set up from bundle
to bundle, and Beam's own can do so here.
"""

import itertools
import logging
from functools import partial
from typing import Any

from apache_beam.metrics.monitoring_infos import consolidate
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.execution import FnApiRunnerExecutionContext
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner, RunnerResult
from apache_beam.runners.portability.fn_api_runner.translations import DataInput
from apache_beam.runners.portability.fn_api_runner.worker_handlers import EmbeddedWorkerHandler, WorkerHandlerManager
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker.bundle_processor import BundleProcessor
from apache_beam.runners.worker.statecache import StateCache
from apache_beam.runners.worker.statesampler import set_current_tracker

from pipeline.errors import PipelineError

_QUEUES = ("ready_inputs", "watermark_pending_inputs", "time_pending_inputs")


class WarmRunner(FnApiRunner):  # type: ignore[misc]
    """Runs a translated graph again and again; not by two threads at once.

    It leans on inner parts of Beam. Where they are not as expected, FnApiRunner itself runs the graph: right, but slow.
    """

    def __init__(self, graph: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> None:
        super().__init__()
        self._graph, self._options = graph, options
        self._workers: Any = None  # None: the next run starts anew

    def run(self) -> RunnerResult:
        """Runs the graph to its end. Raises what its DoFns raise."""
        try:
            if not self._workers:
                self.run_via_runner_api(self._graph, self._options)  # optimizes the graph, and calls run_stages
            return self._run_bundles()
        except PipelineError:
            raise
        except Exception as error:
            logging.getLogger(__name__).warning("the graph is run once more, by a new worker", exc_info=error)
            self.close()
            return FnApiRunner().run_via_runner_api(self._graph, self._options)

    def run_stages(self, stage_context: Any, stages: list[Any]) -> None:
        """Called where Beam would run the stages: keeps them, and starts the worker."""
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
        self._managers: dict[Any, Any] = {}  # of stages
        self._first = [(queue, _drain(getattr(self._context.queues, queue))) for queue in _QUEUES]
        nodes = self._context.watermark_manager._pcollections_by_name.values()
        self._watermarks = [(node, vars(node).copy()) for node in nodes]

    def close(self) -> None:
        """Ends the worker; the next run starts another."""
        workers, self._workers = self._workers, None
        if workers:
            workers.close_all()

    def _run_bundles(self) -> RunnerResult:
        """As FnApiRunner.run_stages, with the worker that is there."""
        context, infos = self._context, dict[str, list[Any]]()
        queues = context.queues
        try:
            self._start()
            while len(queues.ready_inputs):
                name, data = queues.ready_inputs.deque()
                bundles = context.bundle_manager_for(context.stages[name])
                done = self._execute_bundle(context, bundles, data).process_bundle
                infos[name] = list(consolidate(itertools.chain(done.monitoring_infos, infos.get(name, ()))))
                if not len(queues.ready_inputs):
                    self._schedule_ready_bundles(context)
        finally:
            self._forget_bundles()
        return RunnerResult(PipelineState.DONE, infos)

    def _get_bundle_manager(self, bundles: Any) -> Any:
        """Called for each bundle, where Beam makes another one, and classes of its own for that."""
        if bundles not in self._managers:
            self._managers[bundles] = super()._get_bundle_manager(bundles)
        return self._managers[bundles]

    def _start(self) -> None:
        """Puts the graph back to its beginning: nothing has been read, and its roots are what is to be done."""
        for node, before in self._watermarks:
            vars(node).update(before)
        for queue, elements in self._first:
            for key, inputs in elements:
                data = {name: buffer.copy() for name, buffer in inputs.data.items()}
                getattr(self._context.queues, queue).enque((key, DataInput(data, {})))
        self._workers.state_servicer.checkpoint()

    def _forget_bundles(self) -> None:
        """Removes what a run, perhaps broken off, left behind, but for the stages that are set up."""
        for queue in _QUEUES:
            _drain(getattr(self._context.queues, queue))
        self._context.pcoll_buffers.clear()
        self._context.timer_buffers.clear()
        (worker,) = self._workers.get_worker_handlers(None, 1)
        self._workers.state_servicer.restore()
        for channel in (worker.data_conn, worker.data_conn.inverse()):
            channel._inputs.clear()
        worker.bundle_processor_cache.failed_instruction_ids.clear()
        _quieten(worker)


def _drain(queue: Any) -> list[Any]:
    """Takes all out of a queue of Beam's, first come first."""
    return [queue.deque() for _ in range(len(queue))]


def _quieten(worker: EmbeddedWorkerHandler) -> None:
    """Stops what a worker does besides: it costs more than a small bundle, and nobody looks at it.

    A thread would make it forget its stages after a minute of rest. Side inputs are weighed, and kept in a cache of
    100 MB though none is read twice. A thread samples how long each step takes; for its sleep the worker waits after
    each stage, 2 ms, and up to 200 ms after a long one. How often and how long each step ran is told after each stage,
    with 120 numbers of which a run reads five: a quarter of a small report.
    """
    worker.bundle_processor_cache.periodic_shutdown.cancel()
    for processor in itertools.chain(*worker.bundle_processor_cache.cached_bundle_processors.values()):
        if "monitoring_infos" in vars(processor):
            continue  # since an earlier run
        processor.state_handler._state_cache = StateCache(0)
        processor.state_sampler.start = partial(set_current_tracker, processor.state_sampler)
        processor.monitoring_infos = partial(_own_counters, processor)


def _own_counters(processor: BundleProcessor) -> list[Any]:
    """What the DoFns of a stage have counted themselves."""
    infos: dict[Any, Any] = {}
    for name, operation in processor.ops.items():
        infos.update(operation.user_monitoring_infos(name))
    return list(infos.values())
