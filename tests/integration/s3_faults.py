"""A server of S3 that fails now and then: moto's, behind the faults that tools/gcs has for Cloud Storage."""

import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class FaultyS3:
    """A WSGI application, without faults until it is armed with some, as tools/gcs takes them.

    --unavailable N: 503 for each Nth request. --cut_reads N, --cut_writes N: the connection of each Nth read or write
    of an object is cut half-way. --delete_listed, --truncate_listed BUCKET/NAME: it is deleted or cut short as soon as
    a listing has named it.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.arm()

    def arm(self, *faults: str) -> None:
        """From now on, these faults."""
        self._faults = dict(zip(faults[::2], faults[1::2], strict=True))
        self._counts = {name: itertools.count(1) for name in self._faults}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        is_object = environ["PATH_INFO"].strip("/").count("/") > 0
        if self._is_due("--unavailable"):
            start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", "0")])
            return [b""]
        if is_object and environ["REQUEST_METHOD"] == "PUT" and self._is_due("--cut_writes"):
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0) // 2)
            self._cut(environ)
        answer = self._moto(environ, start_response)
        if is_object and environ["REQUEST_METHOD"] == "GET" and self._is_due("--cut_reads"):
            return self._half(answer, environ)
        if "list-type" in query:
            self._spoil(answer := [b"".join(answer)])
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

    def _spoil(self, listing: list[bytes]) -> None:
        for fault in ("--delete_listed", "--truncate_listed"):
            bucket, _, name = self._faults.get(fault, "").partition("/")
            if name and f"<Key>{name}</Key>".encode() in listing[0]:
                backend = s3_backends["123456789012"]["global"]
                data = backend.get_object(bucket, name).value
                backend.delete_object(bucket, name)
                if fault == "--truncate_listed":
                    backend.put_object(bucket, name, data[: len(data) // 2])
                del self._faults[fault]
