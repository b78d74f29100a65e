"""A server of S3 that fails on demand and logs its requests: moto's, behind the faults that tools/gcs has too."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class FaultyS3:
    """A WSGI application, without faults until it is armed with some, as tools/gcs takes them.

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
        query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
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
