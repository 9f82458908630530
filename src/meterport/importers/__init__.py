"""Files in, batches of READING_SCHEMA out; one module per format."""

from collections.abc import Mapping
from pathlib import Path

from meterport.domain.errors import ImportRefused
from meterport.importers import csv, parquet
from meterport.importers.base import ImportFormat

IMPORTERS: Mapping[str, ImportFormat] = {f.name: f for f in (csv.FORMAT, parquet.FORMAT)}


def importer_for(path: Path) -> ImportFormat:
    for importer in IMPORTERS.values():
        if path.suffix.lower() in importer.extensions:
            return importer
    known = ", ".join(e for importer in IMPORTERS.values() for e in importer.extensions)
    raise ImportRefused(f"{path.name or path}: the name's ending tells the format; known: {known}")
