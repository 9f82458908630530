"""Frames in, bytes out; one module per format."""

from collections.abc import Mapping

from meterport.encoders import csv, espi, json, ndjson, nem12, parquet, xlsx
from meterport.encoders.base import ExportFormat

FORMATS: Mapping[str, ExportFormat] = {
    module.FORMAT.name: module.FORMAT for module in (csv, json, ndjson, espi, nem12, parquet, xlsx)
}
