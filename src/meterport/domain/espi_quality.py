"""The words of `quality` for which ESPI (Green Button) has a code; our words, their codes."""

from collections.abc import Mapping

QUALITY_CODES: Mapping[str, int] = {
    "valid": 0,
    "edited": 7,
    "estimated": 8,
    "interpolated": 9,
    "questionable": 10,
    "derived": 11,
    "projected": 12,
    "mixed": 13,
    "raw": 14,
    "normalized": 15,
    "other": 16,
    "validated": 17,
    "verified": 18,
    "revenue": 19,
}
