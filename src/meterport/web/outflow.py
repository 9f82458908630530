"""How an answer gets on beyond our own buffer: what the client's system has acknowledged.

Source: SIOCOUTQ and `struct tcp_info` of Linux, see tcp(7).
"""

import asyncio
import fcntl
import socket
import struct
import termios
from dataclasses import dataclass

_QUEUED = struct.Struct("i")
_ACKNOWLEDGED = struct.Struct("120xQ")  # tcpi_bytes_acked


@dataclass(frozen=True)
class Outflow:
    """What waited for a client at a time of the loop's, and what it had taken in all."""

    at: float
    waiting_bytes: int
    taken_bytes: int


def outflow(transport: asyncio.Transport, *, at: float) -> Outflow:
    connection = transport.get_extra_info("socket")
    queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_QUEUED.size))
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
    waiting = transport.get_write_buffer_size() + _QUEUED.unpack(queued)[0]
    return Outflow(at, waiting, _ACKNOWLEDGED.unpack(info)[0])
