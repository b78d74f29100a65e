"""The same endpoint on FastAPI, uvicorn, pydantic and pandas: whole bodies in memory, no Beam.

Run by `uvicorn bench.rivals.fastapi_server:app --workers 2`.
"""

import gzip
import io
import json
from typing import Literal

import pandas as pd
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

EventType = Literal["impressions", "video_start", "video_25", "video_50", "video_75", "video_completed"]
COLUMNS = list(EventType.__args__)  # type: ignore[attr-defined]
OFFSET = 3600  # GMT+1


class Event(TypedDict):
    """An advertising event."""

    id: str
    event: EventType
    timestamp: int


class Wrapped(TypedDict):
    """The sample's shape."""

    mock_for_test: list[Event]


EVENTS = TypeAdapter(list[Event] | Wrapped)
app = FastAPI()


def read_events(body: bytes) -> list[Event]:
    """The events of a JSON array, `{"mock_for_test": [...]}`, or JSON Lines."""
    start = body.lstrip()[:200]
    if start.startswith(b"[") or b"mock_for_test" in start:
        found = EVENTS.validate_json(body, strict=True)
        return found if isinstance(found, list) else found["mock_for_test"]
    return [event for line in body.splitlines() if line.strip() for event in EVENTS.validate_json(b"[" + line + b"]")]


def make_report(body: bytes) -> str:
    """The hourly report as CSV."""
    frame = pd.DataFrame(read_events(body), columns=["event", "timestamp"])
    frame["hour"] = (frame["timestamp"] + OFFSET) // 3600 * 3600
    table = frame.groupby(["hour", "event"]).size().unstack(fill_value=0).reindex(columns=COLUMNS, fill_value=0)
    table["impressions_scaled"] = [f"{n // 10}.{n % 10}" for n in table["impressions"]]
    table.index = pd.to_datetime(table.index, unit="s").strftime("%Y-%m-%dT%H:00:00+01:00")
    target = io.StringIO()
    table.to_csv(target, index_label="hour", lineterminator="\n")
    return target.getvalue()


@app.post("/")  # type: ignore[untyped-decorator]
async def report(request: Request) -> Response:
    """POST events, get the CSV."""
    body = await request.body()
    try:
        if request.headers.get("content-encoding") == "gzip":
            body = await run_in_threadpool(gzip.decompress, body)
        text = await run_in_threadpool(make_report, body)
    except (ValidationError, ValueError, OSError) as error:
        return Response(json.dumps({"detail": str(error)[:1000]}), 400, media_type="application/problem+json")
    return Response(text, media_type="text/csv")
