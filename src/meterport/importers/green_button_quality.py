"""ESPI's quality codes as words of ours, from the surest to the least sure.

A row of several channels, and a reading of several codes, has the word of the least sure one.
"""

from meterport.domain.errors import shown
from meterport.domain.espi_quality import QUALITY_CODES

WORDS = (
    None,
    "revenue",
    "valid",
    "validated",
    "verified",
    "edited",
    "derived",
    "normalized",
    "raw",
    "mixed",
    "interpolated",
    "estimated",
    "projected",
    "other",
    "questionable",
)
"""By level. None is that of a reading which says nothing of its quality."""

_LEVELS = {str(code): WORDS.index(word) for word, code in QUALITY_CODES.items()}
_OTHER = WORDS.index("other")


def level_of(codes: str) -> int:
    """Of one or more codes with spaces between. Raises ValueError for what is no code."""
    level = 0
    for code in codes.split() or [""]:
        if not (code.isascii() and code.isdigit() and len(code) <= 5):
            raise ValueError(f"{shown(code)} is not a code such as 8")
        level = max(level, _LEVELS.get(str(int(code)), _OTHER))
    return level
