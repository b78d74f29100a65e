"""Starts the application in a worker process: loads Beam, creates workspaces, warms up."""

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from pipeline.engine.prism import running_prism
from pipeline.engine.runners import beam_options
from pipeline.errors import one_line
from pipeline.formats.decoding import Block
from pipeline.native.loader import LOAD_AFTER_BYTES
from pipeline.serving.app import ReportApp
from pipeline.serving.metrics import Metrics
from pipeline.serving.settings import Settings
from pipeline.serving.staging import check_staging
from pipeline.serving.workspaces import Workspace, WorkspacePool
from pipeline.storage.temporary import scratch_folder

_log = logging.getLogger(__name__)
_ARENA_MAX = -8  # of glibc's mallopt


def check_settings(settings: Settings) -> None:
    """Checks Beam's options and the staging folder.

    Raises:
      UsageError: an option is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        check_staging(settings.staging_location, beam_options(settings.beam_arguments), Path(folder))


def start_app(settings: Settings) -> Any:
    """Returns the WSGI application; its temporary files are removed when this process exits.

    Raises:
      UsageError: a setting is invalid.
    """
    check_settings(settings)
    resources = contextlib.ExitStack()
    atexit.register(resources.close)
    return make_report_app(settings, resources).wsgi()


def make_report_app(settings: Settings, resources: contextlib.ExitStack) -> ReportApp:
    """Returns the application, ready to make reports.

    Args:
      settings: checked settings.
      resources: its close() stops Prism, if it is the runner, and removes temporary files.
    """
    _limit_arenas()
    os.makedirs(tempfile.gettempdir(), 0o700, exist_ok=True)  # a cleaner may have removed it
    folder = Path(resources.enter_context(scratch_folder()))
    options = beam_options(settings.beam_arguments)
    resources.enter_context(running_prism(options))
    workspaces = [
        Workspace(folder / f"workspace-{number}", options, settings) for number in range(settings.concurrency)
    ]
    metrics = Metrics()
    threading.Thread(target=_warm_up, daemon=True).start()
    return ReportApp(settings, folder, WorkspacePool(workspaces, settings.queue_timeout, metrics), metrics)


def _limit_arenas() -> None:
    """Limits glibc's malloc to two arenas; no effect on other systems.

    Arenas keep freed memory. With the default, eight per core, a worker grew from 256 to 392 MiB over thousands of
    requests.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_ARENA_MAX, 2)


def _warm_up() -> None:
    """Loads or compiles the scanner before the first large body needs it."""
    try:
        Block(b" " * LOAD_AFTER_BYTES + b"\n").decode(want_ids=False)
    except Exception as error:
        _log.warning("compiled code is unavailable: large bodies will be slow or refused: %s", one_line(error))
    gc.collect()
    gc.freeze()  # exclude Beam's half a million objects from collections
