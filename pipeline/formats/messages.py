"""Messages of a topic: each is an event, a JSON array, or JSON Lines. Many are decoded at a time."""

import bisect
import dataclasses
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from pipeline.errors import EventError, InputError
from pipeline.formats.blocks import is_array, read_blocks
from pipeline.formats.decoding import AnyBlock, Block, BrokenBlock, Columns, count_lines
from pipeline.formats.strict_json import NotJsonError, parse
from pipeline.model.events import Batch, Reject

_ONE_RECORD = re.compile(rb'\{[ \t\r]*"(?!mock_for_test")[^\n]*\Z')
"""One record on one line, not an array: nearly every message, in a tenth of the time of the other checks."""


class Message(NamedTuple):
    """A message of a topic. name: source of its rejects. arrived: when it was published, Unix seconds."""

    name: str
    data: bytes
    arrived: int


@dataclasses.dataclass(frozen=True, eq=False)
class MessageBlock(AnyBlock):
    """Messages of a bundle that arrived in the same minute. arrived: the first second of that minute."""

    messages: tuple[Message, ...]
    arrived: int = 0

    @property
    def source(self) -> str:  # type: ignore[override]
        more = len(self.messages) - 1
        return self.messages[0].name + (f" and {more} more" if more else "")

    @property
    def nbytes(self) -> int:
        return sum(len(message.data) for message in self.messages)

    def _columns(self, want_ids: bool, max_rejects: int | None) -> Columns:
        batch = decode_messages(self.messages, want_ids, max_rejects)
        return dataclasses.replace(batch, coverage_delta=batch.coverage_delta - len(self.messages)), batch.read


def group_messages(messages: Iterable[Message]) -> list[MessageBlock]:
    """Groups messages into blocks by the minute of their arrival, so that the grouping does not decide what is late.

    Minutes begin one second after the full minute: hours close at full minutes, and only later messages are late.
    """
    minutes: dict[int, list[Message]] = {}
    for message in messages:
        minutes.setdefault((message.arrived - 1) // 60, []).append(message)
    return [MessageBlock(tuple(group), minute * 60 + 1) for minute, group in sorted(minutes.items())]


def decode_messages(messages: Iterable[Message], want_ids: bool = True, max_rejects: int | None = None) -> Batch:
    """Decodes messages into a batch, whose coverage_delta is the number of messages.

    The source and offset of a reject are those in its message; a broken array is one reject. want_ids, max_rejects: as
    for decode.
    """
    lines: list[Message] = []
    batches, read = [], 0
    for message in messages:
        if _ONE_RECORD.match(message.data):
            read += 1
            lines.append(message)
        elif is_array(message.data):
            batches.append(_decode_array(message, want_ids, max_rejects))
        else:
            lines.append(message._replace(data=_as_lines(message.data)))
            read += count_lines(lines[-1].data + b"\n")
    decoded = _decode_lines(lines, want_ids, max_rejects)
    return Batch.concat([*batches, dataclasses.replace(decoded, read=read)])


def _decode_array(message: Message, want_ids: bool, max_rejects: int | None) -> Batch:
    try:
        blocks = read_blocks(io.BytesIO(message.data), message.name)
        batch = Batch.concat([Batch.of([]), *(block.decode(want_ids, max_rejects) for block in blocks)])
        return dataclasses.replace(batch, coverage_delta=1)
    except InputError as error:
        return BrokenBlock(message.name, str(error), coverage_delta=1).decode(want_ids, max_rejects)


def _as_lines(data: bytes) -> bytes:
    """Returns a message as JSON Lines of the same length; a single event may span several lines."""
    data = b"   " + data[3:] if data.startswith(BOM_UTF8) else data
    if b"\n" not in data.strip():
        return data
    try:
        parse(data)
    except NotJsonError:
        return data
    except EventError:
        pass
    return data.replace(b"\n", b" ")


def _decode_lines(messages: list[Message], want_ids: bool, max_rejects: int | None) -> Batch:
    batch = Block(b"\n".join([*(message.data for message in messages), b""])).decode(want_ids, max_rejects)
    rejects = tuple(_named(batch.rejects, messages)) if batch.rejects else ()
    return dataclasses.replace(batch, rejects=rejects, coverage_delta=len(messages))


def _named(rejects: Iterable[Reject], messages: list[Message]) -> Iterator[Reject]:
    """Yields the rejects of joined messages with the name of their message and the offset in it."""
    starts = list(accumulate((len(message.data) + 1 for message in messages), initial=0))
    for reject in rejects:
        number = bisect.bisect_right(starts, reject.offset or 0) - 1
        yield dataclasses.replace(reject, source=messages[number].name, offset=(reject.offset or 0) - starts[number])
