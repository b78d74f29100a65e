"""Pub/Sub, live: the command line as a process, reading a real gRPC server by Beam's direct runner."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from google.cloud import pubsub_v1

from pipeline.formats.messages import Message
from pipeline.stream.topics import GroupMessages
from tests import oracle
from tests.integration.prism_streams import lines_of, stop, stream_process, until
from tests.integration.servers import TOOLS, program
from tests.support import EXAMPLE_EVENTS, EXAMPLE_REPORT, event, hourly_reports, json_lines


def test_packed_messages_make_the_blocks_that_unpacked_ones_make() -> None:
    times = [datetime(2021, 4, 2, 20, 59, second, 999_999, tzinfo=timezone.utc) for second in (0, 59)]
    datas = [json_lines([event()]), b"\xff"]
    packed = [
        PubsubMessage(data, {"a": "b"}, f"{number}", when)._to_proto_str()
        for number, (data, when) in enumerate(zip(datas, times, strict=True))
    ]
    unpacked = [PubsubMessage._from_proto_str(data) for data in packed]
    wanted = [Message(f"message {k}", datas[k], int(times[k].timestamp())) for k in range(2)]
    assert messages_of(packed) == messages_of(unpacked) == wanted


def messages_of(elements: Sequence[Any]) -> list[Message]:
    """What a bundle of them is grouped to."""
    group = GroupMessages()
    group.start_bundle()
    assert not any(map(group.process, elements))
    return [message for block in group.finish_bundle() for message in block.value.messages]


class Topic:
    """A topic with a subscription, on a server that only this test uses."""

    def __init__(self) -> None:
        self._publisher = pubsub_v1.PublisherClient()
        self._name = self._publisher.topic_path("lab-project", "events")
        self._publisher.create_topic(name=self._name)
        with pubsub_v1.SubscriberClient() as subscriber:
            self.subscription = subscriber.subscription_path("lab-project", "report")
            subscriber.create_subscription(name=self.subscription, topic=self._name)

    def publish(self, data: bytes, **attributes: str) -> str:
        """Publishes a message; how rejects call it."""
        return f"message {self._publisher.publish(self._name, data, **attributes).result()}"


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    with program(TOOLS / "pubsub", stdout=subprocess.PIPE) as server:
        assert server.stdout
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.stdout.readline().decode().strip())
        yield Topic()


class Stream:
    """A run of the command line, with its three folders."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder

    @property
    def report(self) -> str:
        """The reports of all hours as one."""
        return hourly_reports(self.folder / "reports")

    @property
    def ids(self) -> dict[str, set[str]]:
        """The ids by hour."""
        return {path.stem: set(path.read_text().split()) for path in (self.folder / "ids").glob("*.txt")}

    @property
    def rejects(self) -> list[tuple[str, str]]:
        """Source and reason of each."""
        return sorted((reject["source"], reject["reason"]) for reject in map(json.loads, lines_of(self.folder / "bad")))

    def await_report(self, events: list[dict[str, Any]]) -> None:
        """Waits until the reports are those of these events."""
        wanted = oracle.report((item["id"], item["event"], item["timestamp"]) for item in events)
        until(lambda: self.report == wanted, self.process)


@contextlib.contextmanager
def stream(topic: Topic, folder: Path, *arguments: str) -> Iterator[Stream]:
    """A run that takes early reports each second."""
    outputs = [f"--output={folder}/reports", f"--ids_output={folder}/ids", f"--rejects_output={folder}/bad"]
    options = ["--runner=DirectRunner", f"--subscription={topic.subscription}", "--early_firing_seconds=1"]
    with stream_process(*options, *outputs, *arguments) as process:
        yield Stream(process, folder)


def test_a_subscription_that_is_not_there(topic: Topic, tmp_path: Path) -> None:
    topic.subscription += "-missing"
    with stream(topic, tmp_path) as run:
        _, err = run.process.communicate(timeout=90)
    assert err == f"error: --subscription {topic.subscription}: no such subscription\n"
    assert (run.process.returncode, os.listdir(tmp_path)) == (2, [])


def test_messages_of_all_shapes(topic: Topic, tmp_path: Path) -> None:
    """Events of 2021, though the engine's watermark is the wall clock; bad messages are kept and stop nothing."""
    one, array, lines = EXAMPLE_EVENTS[0], EXAMPLE_EVENTS[1:3], EXAMPLE_EVENTS[3:5]
    bad = {
        topic.publish(b'{"id": "a", "event": "click", "timestamp": 1}'): "unknown event 'click'",
        topic.publish(json.dumps(array).encode()[:-1]): "JSON array is truncated",
        topic.publish(b"\xff"): "not JSON",
    }
    topic.publish(b"", kind="empty")
    topic.publish(json.dumps(one).encode())
    topic.publish(json.dumps(array).encode())
    topic.publish(json_lines(lines))
    topic.publish(json.dumps(EXAMPLE_EVENTS[5], indent=2).encode())
    bad[topic.publish(json.dumps([{}]).encode())] = "missing id, event and timestamp"
    with stream(topic, tmp_path) as run:
        until(lambda: run.report == EXAMPLE_REPORT and len(run.rejects) == len(bad), run.process)
        err = stop(run.process)
    assert run.report == EXAMPLE_REPORT
    assert [source for source, _ in run.rejects] == sorted(bad)
    assert all(bad[source] in reason for source, reason in run.rejects), run.rejects
    assert run.ids == {
        "2021-04-02T18+0100": {"75c3-2a09-4ac6-a38a", "d008-a738-45f3-a3fb"},
        "2021-04-02T20+0100": {"c8e3-ace6-4852-a32f"},
        "2021-04-02T22+0100": {"af77-79b6-4fe6-8645", "a6dc-030b-4fb5-891d", "9919-b79c-4897-b3e4"},
    }
    assert err.endswith(f" s: reports in {tmp_path}/reports, ids in {tmp_path}/ids, rejects in {tmp_path}/bad\n")
    assert err.splitlines()[-1].startswith("10 events read, 6 counted, 4 rejected, 0 late, "), err
    assert "Traceback" not in err


def test_late_by_the_time_of_publication(topic: Topic, tmp_path: Path) -> None:
    """Whatever the timestamp attribute says, in both of its forms."""
    now = int(time.time())
    on_time = [event("now", "impressions", now), event("before", "video_25", now - 3600)]
    milliseconds, text = "1617393003000", datetime.fromtimestamp(now, timezone.utc).isoformat()
    topic.publish(json.dumps(event("late", "impressions", now - 4 * 3600)).encode(), when=text)
    topic.publish(json_lines(on_time), when=milliseconds)
    with stream(topic, tmp_path, "--allowed_lateness_seconds", "7200", "--timestamp_attribute", "when") as run:
        run.await_report(on_time)
        until(lambda: bool(run.rejects), run.process)
        stop(run.process)
    assert set().union(*run.ids.values()) == {"now", "before"}
    ((_, reason),) = run.rejects
    assert reason.startswith("late: arrived ")


def test_doubled_messages_count_once(topic: Topic, tmp_path: Path) -> None:
    for _ in range(3):
        topic.publish(json.dumps(EXAMPLE_EVENTS).encode())
    with stream(topic, tmp_path, "--deduplicate") as run:
        run.await_report(EXAMPLE_EVENTS)
        topic.publish(json_lines([*EXAMPLE_EVENTS, event("last")]))
        run.await_report([*EXAMPLE_EVENTS, event("last")])
        stop(run.process)


def test_what_a_crash_loses(topic: Topic, tmp_path: Path) -> None:
    """As the README says: what was taken is gone, and the next run writes its hours without it."""
    topic.publish(json.dumps(event("before")).encode())
    with stream(topic, tmp_path) as run:
        run.await_report([event("before")])
        run.process.kill()
    topic.publish(json.dumps(event("after", "video_25")).encode())
    with stream(topic, tmp_path, "--overwrite") as run:
        run.await_report([event("after", "video_25")])
        stop(run.process)
