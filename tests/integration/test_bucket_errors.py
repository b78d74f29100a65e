"""What a service of buckets refuses is one line: what, why, and which option."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.engine.runners import beam_options
from pipeline.errors import UsageError
from pipeline.storage.matching import find_files
from tests.integration.buckets import Storage


@contextlib.contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that gives tokens, and one answer to all other requests; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(status, body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(200, '{"access_token": "anything", "token_type": "Bearer", "expires_in": 3600}')

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body.startswith("{") else "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def s3(code: str, more: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>as S3 says it</Message>{more}</Error>"


def gcs(message: str) -> str:
    return f'{{"error": {{"message": "{message}"}}}}'


@pytest.mark.parametrize(
    ("scheme", "status", "body", "told"),
    [
        ("s3", 404, s3("NoSuchBucket"), "no such bucket"),
        ("s3", 403, s3("AccessDenied"), "access denied: the credentials lack the permission"),
        ("s3", 400, s3("ExpiredToken"), "session token expired; renew it or set s3_session_token"),
        ("s3", 403, s3("InvalidAccessKeyId"), "unknown access key; check s3_access_key_id"),
        ("s3", 403, s3("SignatureDoesNotMatch"), "wrong secret key; check s3_secret_access_key"),
        (
            "s3",
            400,
            s3("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
            "bucket in another region; set s3_region_name eu-west-1",
        ),
        ("s3", 400, s3("SomethingNew"), "as S3 says it"),
        ("gs", 401, gcs("Invalid Credentials"), "credentials invalid or expired"),
        ("gs", 403, gcs("nobody@example.com does not have storage.objects.list access"), "access denied"),
        ("gs", 404, gcs("Not Found"), "no such bucket"),
        ("gs", 400, gcs("Bucket is a requester pays bucket but no user project provided."), "requester-pays buckets"),
        ("gs", 400, gcs("as Google says it"), "as Google says it"),
    ],
)
def test_what_a_service_refuses(
    scheme: str, status: int, body: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, body) as url:
        for name, value in Storage(url, tmp_path).environment.items():
            monkeypatch.setenv(name, value)
        keys = ["--s3_access_key_id=a", "--s3_secret_access_key=b", "--s3_region_name=us-east-1"]
        beam_options([f"--s3_endpoint_url={url}", *keys, "--project=lab-project"])
        with pytest.raises(UsageError) as caught:
            find_files([f"{scheme}://bucket/in/*"])
    assert str(caught.value).startswith(f"{scheme}://bucket/in/*: cannot be listed: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
