"""Logs: one event name with fields a line, on stderr. No bodies, no readings."""

import io
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


def configure_logs(format_name: str, level: str) -> None:
    """`format_name` is auto, console or json, as in Settings."""
    console = format_name == "console" or (format_name == "auto" and sys.stderr.isatty())
    renderer = (
        # Its own way with exceptions prints the values in each frame: readings, links, passwords.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # One write a line: the lines of several processes share the stream.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Unfailing())),
        cache_logger_on_first_use=True,
    )


def forward_logs(*libraries: str) -> None:
    """What those libraries warn of becomes lines of ours, where else it would be said nowhere."""
    handler = _Forwarding(logging.WARNING)
    for library in libraries:
        logging.getLogger(library).addHandler(handler)


class _Forwarding(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_warns",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


class _Unfailing(io.TextIOBase):
    """stderr, whose reader may be gone or whose disk may be full: no line is worth a job."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
