"""Servers that the tests start, each for one test or module: Prism and its worker pool, nginx."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.processes import await_true, free_port
from tests.serving_support import Answer, Server, head, receive
from tests.support import ROOT

TOOLS = ROOT / "build" / "tools"
SITE = ROOT / "deploy" / "nginx.conf"


@contextlib.contextmanager
def program(*arguments: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block. Its standard input ends first, which some take as the sign to go."""
    with subprocess.Popen([str(a) for a in arguments], stdin=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def prism(folder: Path) -> Iterator[str]:
    """Prism as a job server, what Flink's and Spark's job servers are too; its address."""
    port = free_port()
    address = f"localhost:{port}"
    with open(folder / "prism.log", "wb") as log:
        arguments = ("--job_port", str(port), "--serve_http=false")
        with program(TOOLS / "prism", *arguments, stdout=log, stderr=log) as process:
            await_port(port, process)
            yield address


@contextlib.contextmanager
def worker_pool(folder: Path, **environment: str) -> Iterator[str]:
    """Beam's pool of workers, which starts one for each job that asks; its address."""
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the pool starts the `python` that it finds
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **environment}
    module = ("-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}")
    with (
        open(folder / "pool.log", "wb") as log,
        program(sys.executable, *module, stdout=log, stderr=log, env=environment) as process,
    ):
        await_port(port, process)
        yield f"localhost:{port}"


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until a program listens; fails if it ends before."""

    def listens() -> bool:
        assert process.poll() is None, "it ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    await_true(listens)


class Proxy:
    """A proxy before a server. port: with TLS; plain: without, where all is passed on as well if it was asked for."""

    def __init__(self, server: Server, plain: int, port: int, has_tls: bool) -> None:
        self.server, self.plain, self.port, self._has_tls = server, plain, port, has_tls

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        if not self._has_tls:
            return connection
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(connection)

    def ask(self, request: bytes) -> Answer:
        with self.connect() as connection:
            connection.sendall(request)
            return receive(connection)


@contextlib.contextmanager
def proxied(server: Server, folder: Path, has_tls: bool = True) -> Iterator[Proxy]:
    """Runs nginx. has_tls: as the site says; else clients need no TLS, so that many cost little."""
    plain, port = free_port(), free_port()
    site = SITE.read_text().replace("listen 80;", f"listen 127.0.0.1:{plain};")
    site = site.replace("server 127.0.0.1:8080;", f"server 127.0.0.1:{server.port};")
    if has_tls:
        site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
        for name in ("pem", "key"):
            site = site.replace(
                f"/etc/ssl/{'certs' if name == 'pem' else 'private'}/hourly-report.{name}", f"{folder}/{name}"
            )
        certify(folder)
    else:
        site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
        site = "\n".join(line for line in site.splitlines() if not line.strip().startswith("ssl_"))
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    http = "access_log off; " + "".join(f"{name}_temp_path {folder}/{name};" for name in names) + "\n" + site
    main = f"daemon off; user root; pid {folder}/pid; error_log stderr; worker_rlimit_nofile 16384;\n"
    (folder / "nginx.conf").write_text(f"{main}events {{ worker_connections 8192; }} http {{ {http} }}")
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") or "nginx"
    with program(nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "log"):
        proxy = Proxy(server, plain, port, has_tls)
        await_true(lambda: answers(proxy))
        yield proxy


def certify(folder: Path) -> None:
    names = ["-keyout", str(folder / "key"), "-out", str(folder / "pem"), "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names], check=True, capture_output=True
    )


def answers(proxy: Proxy) -> bool:
    with contextlib.suppress(ConnectionError):
        return proxy.ask(head(0, "GET", "/healthz")).status == 200
    return False
