"""A worker process: makes slots and serves on the socket that it was given."""

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
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
from pipeline.errors import OptionError, UsageError, one_line
from pipeline.formats.decoding import SMALL_BLOCK, Block, decode
from pipeline.serving.app import make_app
from pipeline.serving.folders import Hold
from pipeline.serving.http import Server
from pipeline.serving.settings import Settings
from pipeline.serving.slots import Slot, Slots, slot_maker

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 30


def work(settings: Settings, listener: socket.socket, folder: Path, ready: Any) -> None:
    """Serves until SIGTERM, or until the parent is gone. folder: for its files, in the server's own.

    ready: gets "" before the first request, or what is wrong.
    """
    hold = Hold(folder.parent)

    def renew_folder() -> None:
        hold.renew()
        folder.mkdir(0o700, exist_ok=True)

    with contextlib.ExitStack() as until_the_end:
        tempfile.tempdir = str(folder)
        until_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            until_the_end.enter_context(running_prism(beam_options(settings.beam_arguments)))
            make_slot = slot_maker(folder, settings.beam_arguments, settings.staging, settings.report)
            slots = Slots(settings.queue)
            slots.add(make_slot())
            server = Server(make_app(settings, slots), settings, listener, renew_folder)
        except UsageError as error:
            ready.send(f"--{error}" if isinstance(error, OptionError) else str(error))
            return
        except Exception as error:
            _log.error("a worker cannot start: %s", one_line(error))
            _log.debug("the reason", exc_info=True)
            sys.exit(1)
        _stop_on_signals(server)
        ready.send("")
        _start(_warm_up, make_slot, slots, settings.slots - 1)
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


def _warm_up(make_slot: Callable[[], Slot], slots: Slots, more: int) -> None:
    """What the first request need not wait for: the other slots, and the compiled scanner that large bodies use."""
    for _ in range(more):
        _add_slot(make_slot, slots)
    try:
        decode(Block(b" " * SMALL_BLOCK + b"\n"), want_ids=False)
    except Exception as error:
        _log.warning("large bodies will be slow, or refused: %s", one_line(error))
    gc.collect()
    gc.freeze()  # Beam makes half a million objects, which no collection should visit again


def _add_slot(make_slot: Callable[[], Slot], slots: Slots) -> None:
    """Adds a slot, however often that fails before; the process has one already."""
    while True:
        try:
            slots.add(make_slot())
            return
        except Exception as error:
            _log.error("a slot cannot be made, trying again in %d s: %s", _AGAIN_SECONDS, one_line(error))
        time.sleep(_AGAIN_SECONDS)
