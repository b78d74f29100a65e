"""The parent process: binds the socket, starts the workers, replaces those that crash, and stops them."""

import contextlib
import multiprocessing
import shutil
import signal
import socket
import tempfile
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

from pipeline.engine.imports import trimmed_imports
from pipeline.errors import PipelineError, UsageError
from pipeline.serving import journal
from pipeline.serving.resources import SERVED, bound_memory, runtime_folder
from pipeline.serving.settings import Settings

_BACKLOG = 1024
_CRASHES = 3  # in a row, of workers that never got ready: then the server gives up, unless another serves
_PAUSE_SECONDS = 1.0  # before a worker is started anew


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises UsageError: the address cannot be bound, or a worker refuses the settings. PipelineError: workers crash, or
    there is no folder for temporary files.
    """
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        raise UsageError(f"host {settings.host}, port {settings.port}: {error.strerror or error}") from None
    try:
        with runtime_folder() as folder:
            Supervisor(settings, listener, folder).run()
    except OSError as error:
        raise PipelineError(f"no folder for temporary files: {error.strerror or error}") from None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(_BACKLOG)
    return listener


def _work(settings: Settings, listener: socket.socket, folder: Path, ready: Any) -> None:
    """Runs a worker in its process. Workers load Beam, the parent never does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    with trimmed_imports([*settings.beam_arguments, settings.staging or ""]):
        from pipeline.serving import worker

    worker.work(settings, listener, folder, ready)


class _Worker:
    def __init__(self, settings: Settings, listener: socket.socket, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")  # gRPC and Beam's threads do not survive a fork
        self.ready, child = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(settings, listener, folder, child))
        self.folder = folder
        self.is_ready = False
        self.process.start()
        child.close()

    def hear(self) -> UsageError | str | None:
        """What the worker has reported: "" that it is ready, a UsageError, or None, nothing yet."""
        try:
            said: UsageError | str | None = self.ready.recv() if self.ready.poll() else None
        except EOFError:  # it crashed before it said anything
            return None
        self.is_ready = self.is_ready or said == ""
        return said


class Supervisor:
    """Runs the workers. folder: the server's, in which each worker gets one for its temporary files."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: Path) -> None:
        self._settings, self._listener, self._folder = settings, listener, folder
        self._workers: list[_Worker] = []
        self._crashes, self._announced = 0, False

    def run(self) -> None:
        """Runs until a signal comes. Raises UsageError and PipelineError as serve()."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        bound_memory()
        self._workers = [self._start() for _ in range(self._settings.processes)]
        try:
            self._watch(wake)
        finally:
            self._stop()

    def _start(self) -> _Worker:
        self._folder.mkdir(0o700, exist_ok=True)  # it may have been cleaned
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        return _Worker(self._settings, self._listener, folder)

    def _watch(self, wake: socket.socket) -> None:
        while True:
            waiting = [worker.ready for worker in self._workers if not worker.is_ready]
            ended = [worker.process.sentinel for worker in self._workers]
            if wake in connection.wait([wake, *waiting, *ended]):
                return
            for place, worker in enumerate(self._workers):
                complaint = None if worker.is_ready else worker.hear()
                if isinstance(complaint, UsageError):
                    raise complaint
                if complaint == "":
                    self._announce()
                elif not worker.process.is_alive() and not self._replace(place, wake):
                    if wake in connection.wait([wake], 0):
                        return
                    raise PipelineError("the workers crash")

    def _announce(self) -> None:
        self._crashes = 0
        with contextlib.suppress(OSError):  # the folder is gone, or the disk full
            (self._folder / SERVED).touch()
        if not self._announced:
            host, port = self._listener.getsockname()[:2]
            self._say("info", f"listening on http://{f'[{host}]' if ':' in host else host}:{port}/")
        self._announced = True

    def _replace(self, place: int, wake: socket.socket) -> bool:
        """Replaces a crashed worker; False where too many crashed and none serves, or the server is stopped."""
        worker = self._workers[place]
        self._crashes += not worker.is_ready
        is_served = any(other.is_ready and other.process.is_alive() for other in self._workers)
        if self._crashes >= _CRASHES and not is_served:
            return False
        self._say("warning", f"a worker ended with status {worker.process.exitcode}; starting another")
        if not is_served:
            (self._folder / SERVED).unlink(missing_ok=True)
        if connection.wait([wake], _PAUSE_SECONDS):
            return False
        shutil.rmtree(worker.folder, ignore_errors=True)
        journal.forget_process(self._folder / journal.FOLDER, worker.process.pid or 0)
        try:
            self._workers[place] = self._start()
        except OSError:  # a full disk; the next turn tries again
            if not is_served:
                raise
        return True

    def _say(self, level: str, text: str) -> None:
        journal.say(self._settings.log_format, level, text)

    def _stop(self) -> None:
        """Refuses new connections, lets the workers finish, and kills those that take too long."""
        self._listener.close()
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._settings.grace + 5
        for worker in self._workers:
            worker.process.join(max(0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()
