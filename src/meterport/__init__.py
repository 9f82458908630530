"""meterport exports smart-meter interval data: exact, whole, durable."""

__version__ = "0.1.0"
