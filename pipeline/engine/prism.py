"""Runs Prism, Beam's local runner for streams, so that other machines cannot reach it.

Prism and Beam's Python services have no authentication: whoever reaches them can run commands as this user. The latter
are bound to loopback. Prism binds all addresses and has no option for it, so a process that needs no network gets a
network namespace of its own.
"""

import contextlib
import ctypes
import fcntl
import functools
import logging
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer

from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.storage.files import printable_path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # of unshare, in linux/sched.h
_SIOCSIFFLAGS, _IFF_UP, _IFF_LOOPBACK = 0x8914, 0x1, 0x8  # of ioctl, in linux/sockios.h and linux/if.h
_PR_SET_PDEATHSIG = 1  # of prctl, in linux/prctl.h
_ATTEMPTS = 3
_RETRY_SECONDS = 0.02


class SinkDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn at the end of a graph: tuple[K, V] -> nothing that is read.

    Prism 2.77 polls a bundle that sends nothing without a pause (Execute in stage.go), which takes a core: 24 reports
    were written in 1.15 s, now in 0.1 s. The end of a timer is sent even if the timer is never set.
    """

    _UNUSED = TimerSpec("unused", TimeDomain.WATERMARK)

    @on_timer(_UNUSED)  # type: ignore[untyped-decorator]
    def never(self, _: Any = beam.DoFn.TimerParam(_UNUSED)) -> None:
        """Is not called."""


def is_prism(options: PipelineOptions) -> bool:
    """Whether Prism is the runner and is started for the job."""
    return options.view_as(StandardOptions).runner == "PrismRunner" and not (
        options.view_as(PortableOptions).job_endpoint
    )


def find_prism(options: PipelineOptions) -> None:
    """Finds or downloads Prism if the options need it, and sets --prism_location.

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


@contextlib.contextmanager
def running_prism(options: PipelineOptions) -> Iterator["subprocess.Popen[bytes] | None"]:
    """Runs Prism while the block runs, if it is the runner, and sets --job_endpoint.

    The kernel kills it when this process ends in any way. (A Prism that Beam starts would outlive a killed client.)

    Yields:
      The process, or None where Prism is not the runner.

    Raises:
      PipelineError: it does not start.
    """
    if not is_prism(options):
        yield None
        return
    find_prism(options)
    process, port = _start(options)
    try:
        options.view_as(PortableOptions).job_endpoint = f"localhost:{port}"
        yield process
    finally:
        process.kill()
        process.wait()


def _start(options: PipelineOptions) -> tuple["subprocess.Popen[bytes]", int]:
    """Starts Prism and waits until it listens; tries another port if the free one was taken meanwhile."""
    prism = options.view_as(PrismRunnerOptions)
    for _ in range(_ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        arguments = [f"-job_port={port}", "-serve_http=false", f"-log_level={prism.prism_log_level}"]
        quiet = None if logging.getLogger().isEnabledFor(logging.INFO) else subprocess.DEVNULL
        process = subprocess.Popen(
            [prism.prism_location, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=quiet,
            stderr=quiet,
            preexec_fn=functools.partial(_end_with, os.getpid()),  # noqa: PLW1509 - before there are threads
        )
        if _listens(process, port):
            return process, port
    raise PipelineError(
        f"Prism, Beam's local runner, does not start: {printable_path(prism.prism_location)} {died(process)}"
    )


def _end_with(parent: int) -> None:
    """Makes the kernel kill the new process when the main thread of the parent ends.

    Ctrl-C in a terminal reaches both processes; the new one ignores it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return True
        except ConnectionRefusedError:
            time.sleep(_RETRY_SECONDS)
    return False


def died(process: "subprocess.Popen[bytes]") -> str:
    """How a process that is over has ended."""
    code = process.wait()
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


def bind_loopback() -> None:
    """Makes gRPC servers that this process creates from now on bind 127.0.0.1 instead of all addresses."""
    if grpc.server is not _loopback_server:
        grpc.server = _loopback_server


_make_server = grpc.server


def _loopback_server(*arguments: Any, **named: Any) -> Any:
    server = _make_server(*arguments, **named)
    listen = server.add_insecure_port
    server.add_insecure_port = lambda address: listen(address.replace("[::]", "127.0.0.1", 1))
    return server


def isolate_network() -> None:
    """Moves this process into a network namespace of its own, with a loopback interface only.

    Raises:
      PipelineError: the kernel does not allow it, or the process has threads already.
    """
    user, group = os.getuid(), os.getgid()
    flags = _CLONE_NEWNET if user == 0 else _CLONE_NEWNET | _CLONE_NEWUSER  # root keeps its rights on others' files
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise PipelineError(os.strerror(ctypes.get_errno()))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x8x", b"lo", _IFF_UP | _IFF_LOOPBACK))
