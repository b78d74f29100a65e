"""Ports that only this machine reaches: Beam's services in Python, and a process with a network of its own."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from pipeline.engine.prism import bind_loopback
from tests.support import ROOT

PROGRAM = """
import ctypes, os, socket, sys
from pipeline.engine.prism import isolate_network
user = int(sys.argv[1])
if user != os.getuid():
    os.setgid(user)
    os.setuid(user)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as a program that this user has started
isolate_network()
with socket.socket() as server, socket.socket() as client:
    server.listen()
    client.connect(server.getsockname())
    print(os.getuid(), *(name for _, name in socket.if_nameindex()))
"""


def listening() -> set[str]:
    """Addresses that this process listens on, as the kernel writes them in hexadecimal digits."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/self/net/{name}").read_text().splitlines()]
    links = {f"socket:[{row[9]}]": row[1].partition(":")[0] for row in rows[1:] if row[3] == "0A"}
    descriptors = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {links[str(link)] for link in descriptors if str(link) in links}


def test_services_of_beam_bind_loopback_alone() -> None:
    bind_loopback()
    bind_loopback()
    address, pool = BeamFnExternalWorkerPoolServicer.start()
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("[::]:0")
    other.start()
    assert listening() <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, also as an address of IPv6
    for place in (address, f"localhost:{port}"):
        with grpc.insecure_channel(place) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
    pool.stop(None)
    other.stop(None)


@pytest.mark.parametrize("user", {os.getuid(), 65534 if os.getuid() == 0 else os.getuid()})
def test_a_process_with_a_network_of_its_own(user: int) -> None:
    """As root, and as a user who has no rights at all, where this test may be both."""
    command = [sys.executable, "-c", PROGRAM, str(user)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.split()[:2] == [str(user), "lo"], run.stderr
