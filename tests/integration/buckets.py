"""Buckets that the tests start: servers of Cloud Storage and of S3 that fail on demand and log their requests."""

import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.integration.servers import TOOLS, program

BUCKET = "bucket"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


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


class FaultyS3:
    """A WSGI application: moto's, without faults until it is armed with some, as tools/gcs takes them.

    --unavailable N, --too_many N: 503 or 429 for each Nth request. --cut_reads N, --cut_writes N: the connection of
    each Nth read or write of an object is cut half-way. --delete_listed, --truncate_listed, --replace_listed
    BUCKET/NAME: it is deleted, cut short or replaced by twice its content as soon as a listing has named it;
    --replace_read: when it was read once. --no_ranges 1: a range is answered with the whole object. --create_only
    BUCKET/PREFIX: below it objects can be created, all else is denied. --delay_ms N: each request waits.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.arm()

    def arm(self, *faults: str) -> None:
        """From now on, these faults, and a new log."""
        self._faults = dict(zip(faults[::2], faults[1::2], strict=True))
        self._counts = {name: itertools.count(1) for name in self._faults}
        self.log: list[str] = []
        self._now = self.at_once = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"].lstrip("/")
        with self._lock:
            self.log.append(f"{environ['REQUEST_METHOD']} {path}?{environ['QUERY_STRING']}")
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            time.sleep(int(self._faults.get("--delay_ms", 0)) / 1000)
            return self._answer(path, environ, start_response)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        query = urllib.parse.parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        method, is_object = environ["REQUEST_METHOD"], path.strip("/").count("/") > 0
        for fault, status in (("--unavailable", "503 Slow Down"), ("--too_many", "429 Too Many Requests")):
            if self._is_due(fault):
                return _refuse(start_response, status)
        shut = self._faults.get("--create_only")
        if shut and f"{path}{query.get('prefix', [''])[0]}".startswith(shut) and method not in ("PUT", "POST"):
            return _refuse(start_response, "403 Forbidden")
        if "--no_ranges" in self._faults:
            environ.pop("HTTP_RANGE", None)
        if is_object and method == "PUT" and self._is_due("--cut_writes"):
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0) // 2)
            self._cut(environ)
        answer = self._moto(environ, start_response)
        if is_object and method == "GET" and self._is_due("--cut_reads"):
            return self._half(answer, environ)
        if is_object and method == "GET" and self._faults.get("--replace_read") == path:
            self._change("--replace_read", path)
        if "list-type" in query:
            answer = [b"".join(answer)]
            self._spoil(answer[0])
        return answer

    def _is_due(self, fault: str) -> bool:
        return fault in self._faults and next(self._counts[fault]) % int(self._faults[fault]) == 0

    def _cut(self, environ: Environ) -> None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError

    def _half(self, answer: Iterable[bytes], environ: Environ) -> Iterator[bytes]:
        data = b"".join(answer)
        yield data[: len(data) // 2]
        self._cut(environ)

    def _spoil(self, listing: bytes) -> None:
        for fault in ("--delete_listed", "--truncate_listed", "--replace_listed"):
            path = self._faults.get(fault, "")
            if path and f"<Key>{path.partition('/')[2]}</Key>".encode() in listing:
                self._change(fault, path)

    def _change(self, fault: str, path: str) -> None:
        del self._faults[fault]
        bucket, _, name = path.partition("/")
        backend = s3_backends["123456789012"]["global"]
        data = backend.get_object(bucket, name).value
        backend.delete_object(bucket, name)
        if fault != "--delete_listed":
            backend.put_object(bucket, name, data[: len(data) // 2] if "truncate" in fault else data * 2)


def _refuse(start_response: StartResponse, status: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", "0")])
    return [b""]


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
