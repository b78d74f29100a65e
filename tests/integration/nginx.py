"""nginx with the site of deploy/, but for its ports and certificate, before a server."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.integration.servers import program
from tests.serving_support import Answer, Server, await_true, head, receive
from tests.support import ROOT

SITE = ROOT / "deploy" / "nginx.conf"


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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(proxy: Proxy) -> bool:
    with contextlib.suppress(ConnectionError):
        return proxy.ask(head(0, "GET", "/healthz")).status == 200
    return False
