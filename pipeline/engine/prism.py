"""Runs Prism, Beam's local runner for streams, unreachable from other machines.

Prism and Beam's Python services have no authentication: anyone who can connect can run commands as this user. The
Python services are bound to loopback. Prism always listens on all addresses, so a stream that needs no network runs in
a network namespace of its own.
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
_EXIT_SECONDS = 2


class SinkDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn without consumed outputs: tuple[K, V] -> nothing.

    Prism 2.77 busy-waits for a bundle that sends no data (Execute in stage.go): 24 reports took 1.15 s instead of
    0.1 s. The declared timer makes every bundle send an end of stream, although it is never set.
    """

    _UNUSED = TimerSpec("unused", TimeDomain.WATERMARK)

    @on_timer(_UNUSED)  # type: ignore[untyped-decorator]
    def never(self, _: Any = beam.DoFn.TimerParam(_UNUSED)) -> None:
        """Required by Beam; the timer is never set."""


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
    """Runs Prism during the block, if it is the runner, and sets --job_endpoint.

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
            start_new_session=True,  # signals of the terminal drain the stream, which still needs Prism
            preexec_fn=functools.partial(_die_with, os.getpid()),  # noqa: PLW1509 - before there are threads
        )
        if _wait_until_listening(process, port):
            return process, port
    raise PipelineError(
        f"Prism, Beam's local runner, does not start: {printable_path(prism.prism_location)} {exit_reason(process)}"
    )


def _die_with(parent: int) -> None:
    """Makes the kernel kill the new process when the main thread of the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Returns whether the process listens, or False once it has ended."""
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return True
        except ConnectionRefusedError:
            time.sleep(_RETRY_SECONDS)
    return False


def has_exited(process: "subprocess.Popen[bytes]", error: Exception) -> bool:
    """Returns whether a process has exited; waits for it after a failed RPC, since its sockets are closed first."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_EXIT_SECONDS if isinstance(error, grpc.RpcError) else 0)
    return process.poll() is not None


def exit_reason(process: "subprocess.Popen[bytes]") -> str:
    """Returns how a process ended: its signal or exit status."""
    code = process.wait()
    return f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"


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
    """Moves this process into a new network namespace with only a loopback interface.

    Raises:
      PipelineError: the kernel does not permit it, or the process already has threads.
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
