"""A sink as libraries want to see a file: written front to back, never sought, never closed."""

from meterport.encoders.base import Sink


class SinkFile:
    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        return len(data)

    def flush(self) -> None:
        """What is written is the sink's already."""
