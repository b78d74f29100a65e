"""A worker process: makes slots, and serves on the socket that it is given."""

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from pipeline.engine import logs

logs.configure()

from pipeline.engine.prism import running_prism
from pipeline.engine.runners import beam_options
from pipeline.errors import UsageError, one_line
from pipeline.formats.decoding import SMALL_BLOCK, Block, decode
from pipeline.serving import journal
from pipeline.serving.app import make_app
from pipeline.serving.http import Server
from pipeline.serving.resources import SERVED, Hold
from pipeline.serving.settings import Settings
from pipeline.serving.slots import Slot, Slots, slot_maker

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 30


def work(settings: Settings, listener: socket.socket, folder: Path, ready: Any) -> None:
    """Serves until SIGTERM, or until the parent is gone. folder: for its files, in the server's own.

    ready: gets "" once a report can be made, or the UsageError.
    """
    journal.configure(settings.log_format)
    hold = Hold(folder.parent)

    def renew_folder() -> None:
        hold.renew()
        folder.mkdir(0o700, exist_ok=True)

    with contextlib.ExitStack() as until_the_end:
        tempfile.tempdir = str(folder)
        until_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            options = beam_options(settings.beam_arguments)
            until_the_end.enter_context(running_prism(options))
            make_slot = slot_maker(folder, options, settings.staging, settings.report)
        except UsageError as error:
            ready.send(error)
            return
        slots = Slots()
        notes = journal.Journal(
            settings.log_format,
            folder.parent / journal.FOLDER,
            gauges=lambda: (slots.busy, slots.total, server.waiting),
        )
        app = make_app(settings, slots, notes, lambda: server.stopping)
        server = Server(
            app,
            settings,
            listener,
            notes,
            slots,
            renew_folder,
            may_accept=lambda: slots.total > 0 or not (folder.parent / SERVED).exists(),
        )
        _stop_on_signals(server)
        _start(_get_ready, make_slot, slots, settings.slots, notes, ready)
        server.serve()
        threading.excepthook = lambda _: None  # what still runs loses its files now
    os._exit(0)  # a run that outlived its grace, or is not wanted any more, must not hold the process


def _stop_on_signals(server: Server) -> None:
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    parent = parent_process()
    if parent is not None:
        _start(_stop_with, parent.sentinel, server)


def _stop_with(sentinel: int, server: Server) -> None:
    connection.wait([sentinel])
    server.stop()


def _start(function: Callable[..., object], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _get_ready(
    make_slot: Callable[[], Slot],
    slots: Slots,
    count: int,
    notes: journal.Journal,
    ready: connection.Connection,
) -> None:
    """Makes the slots. Requests that come before wait for one, up to their limit."""
    try:
        slots.add(make_slot())
    except UsageError as error:
        ready.send(error)
        return
    except Exception as error:
        _log.error("a worker cannot start: %s", one_line(error))
        os._exit(1)
    ready.send("")
    _warm_up(make_slot, slots, count - 1, notes)


def _warm_up(make_slot: Callable[[], Slot], slots: Slots, more: int, notes: journal.Journal) -> None:
    """Makes the other slots, and loads metrics and the scanner: the first request need not wait for these."""
    for _ in range(more):
        _add_slot(make_slot, slots)
    _try(notes.load, "there are no metrics")
    _try(lambda: decode(Block(b" " * SMALL_BLOCK + b"\n"), want_ids=False), "large bodies will be slow, or refused")
    gc.collect()
    gc.freeze()  # Beam makes half a million objects, which no collection should visit again


def _try(action: Callable[[], object], otherwise: str) -> None:
    try:
        action()
    except Exception as error:
        _log.warning("%s: %s", otherwise, one_line(error))


def _add_slot(make_slot: Callable[[], Slot], slots: Slots) -> None:
    """Adds a slot, trying again until that succeeds; the process has one already."""
    while True:
        try:
            slots.add(make_slot())
            return
        except Exception as error:
            _log.error("a slot cannot be made, trying again in %d s: %s", _AGAIN_SECONDS, one_line(error))
        time.sleep(_AGAIN_SECONDS)
