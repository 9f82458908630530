"""Rebuild the catalogue of meters when the readings have moved on without it.

An import commits the readings first and the catalogue second; a crash in between, or another
program's commit, leaves the catalogue behind, and this brings it level again.
"""

from meterport.ports import MeterCatalog, ReadingSource


def refresh_meters(*, source: ReadingSource, catalog: MeterCatalog) -> bool:
    """Whether there was something to do."""
    version = source.version()
    if version is None or catalog.version() == version:
        return False
    catalog.replace(source.summaries(version), version=version)
    return True
