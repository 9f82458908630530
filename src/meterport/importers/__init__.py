"""Files in, batches of READING_SCHEMA out; one module per format."""

from collections.abc import Mapping
from pathlib import Path

from meterport.domain.errors import ImportRefused
from meterport.importers import csv, green_button, ndjson, nem12, parquet
from meterport.importers.base import ImportFormat

IMPORTERS: Mapping[str, ImportFormat] = {
    f.name: f
    for f in (csv.FORMAT, parquet.FORMAT, nem12.FORMAT, green_button.FORMAT, ndjson.FORMAT)
}


def importer_for(path: Path) -> ImportFormat:
    """By the name's ending, but NEM12 files, which end in .csv too, by how they begin."""
    if path.suffix.lower() in csv.FORMAT.extensions and nem12.is_nem12(path):
        return nem12.FORMAT
    for importer in IMPORTERS.values():
        if path.suffix.lower() in importer.extensions:
            return importer
    raise ImportRefused(f"{path.name or path}: {_why_not(path.suffix.lower())}")


def _why_not(extension: str) -> str:
    if extension in (".gz", ".zst", ".zip"):
        return "unpack it first"
    if extension == ".json":
        return "JSON documents have no shape in common; write a JSON object a line, as .ndjson"
    known = ", ".join(e for importer in IMPORTERS.values() for e in importer.extensions)
    return f"the name's ending tells the format; known: {known}"
