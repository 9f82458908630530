"""Connections whose clients have to get on with it; uvicorn itself waits for them for ever.

Headers: whole within HEADERS_S of the connection or of the first byte of a further request, and
         no larger than MOST_HEAD_BYTES; as little may come between two pieces of a body.
Body:    LEAST_BYTES more of it, or its end, within each STALL_S in which we read; the end, once it
         is answered.
Answer:  LEAST_BYTES more of it taken, or all that waits, within STALL_S; as the client's system
         has acknowledged it, for ours takes megabytes from us before it makes us wait.
Places:  with MOST_CONNECTIONS, or fewer where the system lets a process open few files, whoever has
         kept us waiting longest for a request gives way to who comes next.
"""

import asyncio
import resource
import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meterport.web.outflow import Outflow, outflow

HEADERS_S = 10.0
STALL_S = 30.0
LEAST_BYTES = 1024
MOST_HEAD_BYTES = 16 * 1024
LOOKS_PER_STALL = 3
"""So who stalls is cut off after two to three thirds of STALL_S."""
MOST_CONNECTIONS = 3000
OTHER_FILES = 256
_DO_NOT_LINGER = struct.pack("ii", 1, 0)


def allow_open_files() -> None:
    """As many as all connections want, each with a file to send, where the system permits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(2 * MOST_CONNECTIONS + OTHER_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def places() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, (soft - OTHER_FILES) // 2)


class Punctual(HttpToolsProtocol):
    _coming: asyncio.TimerHandle | None = None
    _since = 0.0
    _is_in_body = False
    _going: asyncio.TimerHandle | None = None
    _body_bytes = 0
    _other_bytes = 0
    _outflow: Outflow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()
        self._outflow = self._looked()
        self._look_again()
        if len(self.connections) > places():
            self._slowest().cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        _cancel(self._going)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._other_bytes += len(data)
        super().data_received(data)
        if self._coming is None and self._is_idle():
            # Such as line ends, which end uvicorn's own wait for a further request.
            self._expect_head()
        if self._other_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.cut_off()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._coming is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        sizes = (len(name) + len(value) for name, value in self.headers)
        if len(self.url) + sum(sizes) > MOST_HEAD_BYTES:
            raise ValueError("too many headers, or too long ones")  # and uvicorn answers 400
        self._other_bytes = 0
        self._expect_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._other_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._other_bytes = 0
        self._expect_nothing()
        super().on_message_complete()

    def cut_off(self) -> None:
        """At once: what waits to be sent would keep a closed connection in the system."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DO_NOT_LINGER)
        self.transport.abort()

    def _is_idle(self) -> bool:
        """Nothing is left to be answered."""
        return not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _slowest(self) -> "Punctual":
        """This one, where nobody else keeps us waiting."""
        others = (each for each in self.connections if isinstance(each, Punctual))
        waiting = (each for each in others if each._coming and not each.transport.is_closing())
        # An upload that gets on keeps its place before those who have asked for nothing yet.
        return min(waiting, key=lambda each: (each._is_in_body, each._since), default=self)

    def _expect_head(self) -> None:
        _cancel(self._coming)
        self._since, self._is_in_body = self.loop.time(), False
        self._coming = self.loop.call_later(HEADERS_S, self._no_head_came)

    def _no_head_came(self) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._expect_head()
        else:
            self.cut_off()

    def _expect_body(self) -> None:
        _cancel(self._coming)
        self._since, self._is_in_body, self._body_bytes = self.loop.time(), True, 0
        self._coming = self.loop.call_later(STALL_S, self._look_at_body)

    def _look_at_body(self) -> None:
        is_paused = self.flow.read_paused
        if not is_paused and (self._is_idle() or self._body_bytes < LEAST_BYTES):
            self.cut_off()
            return
        self._expect_body()
        if is_paused:  # and may go on just before the next look
            self._body_bytes = LEAST_BYTES

    def _expect_nothing(self) -> None:
        _cancel(self._coming)
        self._coming = None

    def _look_again(self) -> None:
        self._going = self.loop.call_later(STALL_S / LOOKS_PER_STALL, self._look_at_outflow)

    def _look_at_outflow(self) -> None:
        """Until the connection is lost: one that we have closed has bytes to deliver yet."""
        before, now = self._outflow, self._looked()
        taken = now.taken_bytes - before.taken_bytes
        stalls = taken < min(LEAST_BYTES, before.waiting_bytes)
        if stalls and now.at - before.at >= STALL_S * (1 - 1 / LOOKS_PER_STALL):
            self.cut_off()
            return
        if not stalls:
            self._outflow = now
        self._look_again()

    def _looked(self) -> Outflow:
        return outflow(self.transport, at=self.loop.time())


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
