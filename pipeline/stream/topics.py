"""Topics: messages of a Pub/Sub subscription as blocks."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.formats.decoding import AnyBlock
from pipeline.formats.messages import Message, MessageBlock, group_messages

_MESSAGES_A_BLOCK = 10_000
_BYTES_A_BLOCK = 4 * 1024 * 1024


class _Group(beam.DoFn):  # type: ignore[misc]
    """Messages of a bundle as blocks, whose timestamps are their arrival."""

    def start_bundle(self) -> None:
        self._messages: list[Message] = []
        self._bytes = 0

    def process(self, message: PubsubMessage, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        arrived = message.publish_time or timestamp
        name = f"message {message.message_id or '(no id)'}"
        self._messages.append(Message(name, message.data or b"", int(_seconds(arrived))))
        self._bytes += len(message.data or b"")
        if len(self._messages) >= _MESSAGES_A_BLOCK or self._bytes >= _BYTES_A_BLOCK:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for block in group_messages(self._messages):
            yield WindowedValue(block, Timestamp(block.arrived), (GlobalWindow(),))
        self.start_bundle()


def _seconds(time: Any) -> float:
    return float(time.timestamp() if hasattr(time, "timestamp") else time)


@dataclasses.dataclass
class ReadTopic(beam.PTransform):  # type: ignore[misc]
    """Reads a Pub/Sub subscription: Pipeline -> PCollection[AnyBlock], unbounded; a block is a bundle's messages.

    timestamp_attribute: of a message, what the watermark goes by, instead of the time of publication. id_attribute: by
    which the service drops messages that it has delivered already (Dataflow only).
    """

    subscription: str
    timestamp_attribute: str | None = None
    id_attribute: str | None = None

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[AnyBlock]:
        read = ReadFromPubSub(
            subscription=self.subscription,
            with_attributes=True,
            timestamp_attribute=self.timestamp_attribute,
            id_label=self.id_attribute,
        )
        blocks = pipeline | "Pub/Sub" >> read | "Group" >> beam.ParDo(_Group()).with_output_types(MessageBlock)
        blocks.element_type = AnyBlock
        return blocks
