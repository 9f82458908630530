"""Logs: one event name with fields a line, on stderr. No bodies, no readings."""

import logging
import sys

import structlog


def configure_logs(format_name: str, level: str) -> None:
    """`format_name` is auto, console or json, as in Settings."""
    console = format_name == "console" or (format_name == "auto" and sys.stderr.isatty())
    renderer = (
        structlog.dev.ConsoleRenderer()
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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
