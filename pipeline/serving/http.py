"""The HTTP server: waitress, which here also refuses early, cuts off slow clients, logs, and stops gracefully.

Waitress reads a whole request, into a nameless temporary file if it is large, before it calls the application: a slow
client costs a socket and no thread. What it has no option for is done in subclasses, by the methods it calls.
"""

import contextlib
import logging
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import waitress.adjustments
import waitress.server
import waitress.task

from pipeline.serving import resources
from pipeline.serving.connections import UNSENT_BYTES, Channel
from pipeline.serving.journal import Journal
from pipeline.serving.parsing import HEAD_BYTES, Ahead
from pipeline.serving.settings import Settings
from pipeline.serving.slots import Slots, all_busy

_RECEIVE_BYTES = 256 * 1024
_BODY_IN_MEMORY_BYTES = 256 * 1024
_PATIENCE = 10.0  # seconds that a request waits for a slot

_MOMENT = 0.005
"""Seconds that a page waits at most while reports are made. Beside 2,000 pages a second, a report took 11 ms at the
median and 72 at the 99th percentile, where it takes 5 and 32 (medians of 6 and 10 runs); 3.5 and 4.5 without them."""

_LOOK_SECONDS = 0.0005

_ACCEPTS = 100
"""Clients that are connected in a turn."""

_TURN = 0.002
"""Seconds of a turn for connections: what is left then comes in the next one, behind those with fewer bytes.

Beside 400 connections a second that send what is refused, an ordinary client's p99 was 10 times as long as without them
(median of nine kinds); by this, and by reading little at first, it is 6 times as long."""

_PAGE_THREADS = 1
"""Threads for all requests but reports. If the threads for reports served those, 2,000 pages at once would keep 36
threads busy, and a report would wait 1 s for the interpreter lock; 0.3 s beside one thread, 0.8 beside two."""


def _weight(ready: tuple[Channel, int]) -> int:
    """What comes first in a turn: who sends little, or waits for bytes, or was passed over often."""
    channel, flags = ready
    return channel.unread_bytes() >> channel.passed_over if flags & select.POLLIN else 0


class Server(waitress.server.TcpWSGIServer):  # type: ignore[misc]
    """Serves an application on a listening socket that other processes may share.

    slots: make the reports, with a thread for each. renew_folder: makes the folder for temporary files again if it is
    gone. may_accept: whether this process takes new connections.
    """

    channel_class = Channel

    def __init__(
        self,
        application: Any,
        settings: Settings,
        listener: socket.socket,
        journal: Journal,
        slots: Slots,
        renew_folder: Callable[[], None],
        may_accept: Callable[[], bool] = lambda: True,
    ) -> None:
        adjustments = waitress.adjustments.Adjustments(
            sockets=[listener],
            threads=slots.total,
            max_request_body_size=settings.max_body_bytes + _RECEIVE_BYTES,  # the parser tells exactly
            inbuf_overflow=_BODY_IN_MEMORY_BYTES,
            recv_bytes=_RECEIVE_BYTES,
            max_request_header_size=HEAD_BYTES,
            outbuf_high_watermark=sys.maxsize,  # else threads wait for clients; add_task() bounds what is unsent
            connection_limit=resources.connections(settings.slots),
            cleanup_interval=1,
            ident=None,
        )
        adjustments.settings, adjustments.renew_folder = settings, renew_folder
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        self.changed: deque[Any] = deque()  # connections that may wait for something else than before
        self._poll, self._is_woken = select.poll(), False
        super().__init__(application, _sock=listener, adj=adjustments, bind_socket=False, sockinfo=info)
        self.changed.append(self.trigger)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # warns where more wait than there are threads
        self._pages = waitress.task.ThreadedTaskDispatcher()
        self._pages.set_thread_count(_PAGE_THREADS)
        self._may_accept, self._slots = may_accept, slots
        slots.on_added = self._have_threads
        self._settings, self.journal, self.stopping = settings, journal, False

    def readable(self) -> bool:
        """Whether to accept connections: while this process starts, only if no other can serve them."""
        return bool(super().readable() and self._may_accept())

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot now."""
        return max(0, len(self.task_dispatcher.queue) - self._slots.free)

    def add_task(self, channel: Channel) -> None:
        """Has a thread serve a connection's next request; if too much is unsent, handle_write() does that later."""
        if channel.total_outbufs_len > UNSENT_BYTES:
            channel.deferred = True
        elif not channel.is_for_report():
            self._pages.add_task(channel)
        elif len(self.task_dispatcher.queue) < self._slots.free + self._settings.queue:
            channel.queued_at = time.monotonic()
            self.task_dispatcher.add_task(channel)
        else:
            self._refuse(channel)

    def _refuse(self, channel: Channel) -> None:
        channel.requests[0].fail(all_busy().problem)
        self._pages.add_task(channel)

    def maintenance(self, now: float) -> None:
        """Called by waitress each second."""
        with contextlib.suppress(OSError):  # no room for the folder: said to the requests that need it
            self.adj.renew_folder()
        self.journal.refresh()
        for channel in self._take_impatient():
            self._refuse(channel)
        for channel in list(self.active_channels.values()):
            if not channel.requests or channel.deferred:
                channel.cut_off(now, self._settings.timeout)
                self.changed.append(channel)

    def _take_impatient(self) -> list[Channel]:
        reports, end = self.task_dispatcher, time.monotonic() - _PATIENCE
        with reports.lock:
            late = [channel for channel in reports.queue if channel.queued_at < end]
            for _ in late:  # the first ones
                reports.queue.popleft()
        return late

    def _have_threads(self) -> None:
        """Starts threads for reports, so that there is one for each slot."""
        self.task_dispatcher.set_thread_count(self._slots.total)
        self.wake()

    def let_reports_go_first(self) -> None:
        """Waits while reports are made, for a moment; called by the thread for pages."""
        end = time.monotonic() + _MOMENT
        while self._slots.busy and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Makes serve() return. May be called by a signal handler or another thread."""
        self.stopping = True
        self.wake()

    def has_changed(self, channel: Channel) -> None:
        """Looks soon at what a connection waits for now. Called by threads."""
        self.changed.append(channel)
        self.wake()

    def wake(self) -> None:
        """Wakes the thread that serves, to look at what has changed. May be called by any thread."""
        if not self._is_woken:
            self._is_woken = True
            super().pull_trigger()

    def pull_trigger(self) -> None:
        """Called by waitress when a connection has changed. Does nothing: Channel reports that itself."""

    def serve(self) -> None:
        """Serves until stop() is called; then lets running requests finish, for at most settings.grace seconds."""
        while not self.stopping:
            self._turn()
        self.accepting = False
        self.forget(self._fileno)
        self.del_channel(self._map)
        self.socket.close()
        deadline = time.monotonic() + self._settings.grace
        while self.active_channels and time.monotonic() < deadline:
            self.maintenance(time.time())
            for channel in list(self.active_channels.values()):
                if not (channel.requests or isinstance(channel.request, Ahead)):
                    channel.finish()
            self._turn()

    def _turn(self) -> None:
        """Waits for what happens next, up to a second, and does it.

        Waitress asks each connection what it waits for, before each turn: half of the time of 16 clients' reports.
        """
        self._is_woken = False
        self._watch(self)
        while self.changed:
            self._watch(self.changed.popleft())
        ready = [(self._map.get(descriptor), flags) for descriptor, flags in self._poll.poll(1000)]
        for item, flags in ready:
            if item is not None and not isinstance(item, Channel):
                self._handle(item, flags)
        self._take_turns([(item, flags) for item, flags in ready if isinstance(item, Channel)])

    def _take_turns(self, ready: list[tuple[Channel, int]]) -> None:
        if len(ready) > 1:
            ready.sort(key=_weight)
        end = time.monotonic() + _TURN
        for channel, flags in ready:
            channel.passed_over = channel.passed_over + 1 if time.monotonic() > end else 0
            if not channel.passed_over:
                self._handle(channel, flags)

    def _handle(self, item: Any, flags: int) -> None:
        if item._fileno is not None:  # else it was closed in this turn
            self.changed.append(item)
            self.asyncore.readwrite(item, flags)

    def handle_accept(self) -> None:
        """Called by waitress when clients wait to be connected. Connects many: each may be the last of a crowd."""
        before, last = -1, len(self.active_channels) + _ACCEPTS
        while before < len(self.active_channels) < last and self.readable():
            before = len(self.active_channels)
            super().handle_accept()

    def _watch(self, item: Any) -> None:
        if item._fileno is None:  # it was closed
            return
        wanted = select.POLLIN | select.POLLPRI if item.readable() else 0
        wanted |= select.POLLOUT if item.writable() else 0
        if wanted:
            self._poll.register(item._fileno, wanted)  # in place of what it waited for before
        else:  # or its end would be told again and again
            self.forget(item._fileno)

    def forget(self, descriptor: int | None) -> None:
        """Stops waiting for a connection that ends."""
        if descriptor is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
