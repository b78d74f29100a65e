"""Servers that the tests start: Cloud Storage, S3, Prism and its worker pool, each for one test or module."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.integration.s3_faults import FaultyS3
from tests.serving_support import await_true
from tests.support import ROOT

TOOLS = ROOT / "build" / "tools"
BUCKET = "bucket"


@contextlib.contextmanager
def program(*arguments: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block. Its standard input ends first, which some take as the sign to go."""
    with subprocess.Popen([str(a) for a in arguments], stdin=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def surely(call: Callable[[], Any], times: int = 10) -> Any:
    """A call that is repeated while the server or its connection fails."""
    for _ in range(times - 1):
        with contextlib.suppress(urllib.error.URLError, ConnectionError, http.client.HTTPException, BotoCoreError):
            return call()
    return call()


class Storage:
    """Objects of a bucket on a server of Cloud Storage. environment: what points Google's client to the server."""

    scheme = "gs"

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        key = folder / "service-account.json"
        key.write_text(json.dumps(_service_account(url)))
        self.environment = {"STORAGE_EMULATOR_HOST": url, "GOOGLE_APPLICATION_CREDENTIALS": str(key)}
        self.options = ("--project=lab-project",)

    def put(self, name: str, data: bytes, encoding: str = "") -> str:
        """Writes an object; its path."""
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={urllib.parse.quote(name, safe='')}"
        self._call("POST", f"{path}&contentEncoding={encoding}", data)
        return f"gs://{BUCKET}/{name}"

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        return self._call("GET", f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}?alt=media")

    def names(self, prefix: str = "") -> list[str]:
        """The names of all objects, hidden ones too."""
        found = json.loads(self._call("GET", f"/storage/v1/b/{BUCKET}/o?prefix={urllib.parse.quote(prefix)}"))
        return sorted(item["name"] for item in found.get("items", []))

    def requests(self) -> tuple[list[str], int]:
        """The requests since the last call, and how many there were at once."""
        found = json.loads(self._call("GET", "/log"))
        return found["log"], found["at_once"]

    def _call(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data, method=method)
        with contextlib.closing(urllib.request.urlopen(request)) as answer:
            return bytes(answer.read())


def _service_account(url: str) -> dict[str, str]:
    """Credentials with a throw-away key, whose tokens come from the server too."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": "lab-project",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "tests@lab-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }


@contextlib.contextmanager
def cloud_storage(folder: Path, *faults: str) -> Iterator[Storage]:
    """A server of Cloud Storage with one bucket. faults: options of tools/gcs."""
    with program(TOOLS / "gcs", "--buckets", BUCKET, *faults, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield Storage(process.stdout.readline().decode().strip(), folder)


class S3Server:
    """Objects of a bucket on a server of S3. options: what points Beam to the server."""

    scheme = "s3"

    def __init__(self, url: str, application: FaultyS3) -> None:
        self._application = application
        self.options = (
            f"--s3_endpoint_url={url}",
            "--s3_access_key_id=anything",
            "--s3_secret_access_key=anything",
            "--s3_region_name=us-east-1",
        )
        self.environment: dict[str, str] = {}
        keys = {"aws_access_key_id": "anything", "aws_secret_access_key": "anything", "region_name": "us-east-1"}
        self._client = boto3.client("s3", endpoint_url=url, **keys)
        self._client.create_bucket(Bucket=BUCKET)
        for name in self.names():  # moto keeps the objects of all servers of a process together
            self._client.delete_object(Bucket=BUCKET, Key=name)

    def put(self, name: str, data: bytes, encoding: str = "") -> str:
        """Writes an object; its path."""
        more = {"ContentEncoding": encoding} if encoding else {}
        self._client.put_object(Bucket=BUCKET, Key=name, Body=data, **more)
        return f"s3://{BUCKET}/{name}"

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        return bytes(self._client.get_object(Bucket=BUCKET, Key=name)["Body"].read())

    def requests(self) -> tuple[list[str], int]:
        """The requests since the last call, and how many there were at once."""
        found = self._application.log, self._application.at_once
        self._application.log, self._application.at_once = [], 0
        return found

    def names(self, prefix: str = "") -> list[str]:
        """The names of all objects, hidden ones too."""
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return sorted(item["Key"] for item in found.get("Contents", []))


@contextlib.contextmanager
def s3_server(*faults: str) -> Iterator[S3Server]:
    """A server of S3 with one bucket. faults: as FaultyS3 has them."""
    application = FaultyS3()
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        store = S3Server(f"http://127.0.0.1:{server.server_port}", application)
        application.arm(*faults)
        yield store
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


def bucket_server(scheme: str, folder: Path, *faults: str) -> contextlib.AbstractContextManager[Storage | S3Server]:
    """The server of a scheme, gs or s3, with one bucket."""
    return cloud_storage(folder, *faults) if scheme == "gs" else s3_server(*faults)


def job(
    *arguments: str, cwd: Path | None = None, limit: int = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a process of its own; standard output and error as text. limit: seconds."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=limit,
    )


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


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until a program listens; fails if it ends before."""

    def listens() -> bool:
        assert process.poll() is None, "it ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    await_true(listens)
