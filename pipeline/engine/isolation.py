"""Keeps the ports of engines on this machine unreachable for others: Prism and Beam's services have no authentication.

Whoever reaches them can run commands as this user. Beam's services in Python are bound to loopback. Prism binds all
addresses and has no option for it, so a process that needs no network gets a network of its own.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any

import grpc

from pipeline.errors import PipelineError

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # of unshare, in linux/sched.h
_SIOCSIFFLAGS, _IFF_UP, _IFF_LOOPBACK = 0x8914, 0x1, 0x8  # of ioctl, in linux/sockios.h and linux/if.h


def bind_loopback() -> None:
    """Has every gRPC server that is made from now on in this process bind 127.0.0.1 instead of all addresses."""
    if grpc.server is not _loopback_server:
        grpc.server = _loopback_server


_make_server = grpc.server


def _loopback_server(*arguments: Any, **named: Any) -> Any:
    server = _make_server(*arguments, **named)
    listen = server.add_insecure_port
    server.add_insecure_port = lambda address: listen(address.replace("[::]", "127.0.0.1", 1))
    return server


def isolate_network() -> None:
    """Moves this process into a network namespace of its own, which has a loopback interface and nothing else.

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
