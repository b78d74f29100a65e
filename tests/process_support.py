"""What tests of the server as a process share."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.serving_support import (
    EVENT,
    Server,
)

LIMIT = 400_000
LARGE = (EVENT + "\n").encode() * 6000  # a body that goes to a file
SKIP = "/?rejects=skip"
SLOW = (EVENT + "\n" + "x\n" * 200_000).encode()  # with SKIP a second of work, which nobody misses who looks for it


def metrics(server: Server) -> dict[str, float]:
    answer = server.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.body.decode())
    return {
        sample.name + ("{" + ",".join(f'{k}="{v}"' for k, v in sample.labels.items()) + "}") * bool(sample.labels): (
            sample.value
        )
        for family in families
        for sample in family.samples
    }


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[k : k + size] for k in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name in ("body", "report.csv")]
