"""Connections whose clients have to get on with it; uvicorn itself waits for them for ever.

Headers: whole within HEADERS_S, from the connection or from the first byte of a further request.
Body:    the next piece within STALL_S, as long as we read.
Answer:  something of it taken within STALL_S.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S = 10.0
STALL_S = 30.0
LEAST_TAKEN_BYTES = 1024


class Punctual(HttpToolsProtocol):
    _coming: asyncio.TimerHandle | None = None
    _going: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._coming)
        _cancel(self._going)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._coming is None:
            self._expect(HEADERS_S)

    def on_headers_complete(self) -> None:
        self._expect(STALL_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._expect(STALL_S)
        super().on_body(body)

    def on_message_complete(self) -> None:
        _cancel(self._coming)
        self._coming = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_going(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        _cancel(self._going)
        super().resume_writing()

    def _expect(self, within_s: float) -> None:
        _cancel(self._coming)
        self._coming = self.loop.call_later(within_s, self._nothing_came, within_s)

    def _nothing_came(self, within_s: float) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._expect(within_s)
        else:
            self.transport.abort()

    def _watch_going(self, waiting_bytes: int) -> None:
        _cancel(self._going)
        self._going = self.loop.call_later(STALL_S, self._look_going, waiting_bytes)

    def _look_going(self, before_bytes: int) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        if before_bytes - waiting_bytes < LEAST_TAKEN_BYTES:
            self.transport.abort()
        else:
            self._watch_going(waiting_bytes)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
