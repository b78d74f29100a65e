"""Reading a topic: what the engine is asked for, on the translated graph."""

import time
from datetime import datetime, timezone

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import composites

from pipeline.stream import StreamJob
from pipeline.stream.graph import HourlyStream, ReadStream
from pipeline.stream.topics import GroupMessages

SUBSCRIPTION = "projects/lab-project/subscriptions/events"


def steps(job: StreamJob) -> list[beam_runner_api_pb2.PTransform]:
    """Of the job's graph."""
    pipeline = beam.Pipeline("FnApiRunner", PipelineOptions(["--streaming"]))
    _ = pipeline | ReadStream(job) | HourlyStream(job)
    return list(pipeline.to_runner_api().components.transforms.values())


def pubsub_read(job: StreamJob) -> beam_runner_api_pb2.PubSubReadPayload:
    """How the job's graph reads Pub/Sub."""
    (read,) = (step.spec.payload for step in steps(job) if step.spec.urn == composites.PUBSUB_READ.urn)
    return beam_runner_api_pb2.PubSubReadPayload.FromString(read)


def test_messages_are_not_unpacked_by_beam() -> None:
    names = [step.unique_name for step in steps(StreamJob("out", subscription=SUBSCRIPTION))]
    assert not [name for name in names if "_from_proto_str" in name]


def test_attributes_reach_the_source() -> None:
    job = StreamJob("out", subscription=SUBSCRIPTION, timestamp_attribute="when", id_attribute="number")
    wanted = beam_runner_api_pb2.PubSubReadPayload(
        subscription=SUBSCRIPTION,
        timestamp_attribute="when",
        id_attribute="number",
        with_attributes=True,
    )
    assert pubsub_read(job) == wanted


def test_no_attributes_are_asked_for_unless_named() -> None:
    payload = pubsub_read(StreamJob("out", subscription=SUBSCRIPTION))
    assert (payload.timestamp_attribute, payload.id_attribute) == ("", "")


@pytest.mark.parametrize("by_wall_clock", [True, False])
def test_blocks_have_the_time_that_the_watermark_goes_by(by_wall_clock: bool) -> None:
    """DirectRunner's is the clock: what is taken when its hour was closed must not be said to be in time."""
    begun, group = time.time(), GroupMessages(by_wall_clock)
    group.start_bundle()
    for second in (57, 55, 60):
        group.process(PubsubMessage(b"{}", {}, "1", datetime.fromtimestamp(second, timezone.utc)))
    (block,) = group.finish_bundle()
    assert len(block.value.messages) == 3
    assert float(block.timestamp) >= begun if by_wall_clock else float(block.timestamp) == 55
