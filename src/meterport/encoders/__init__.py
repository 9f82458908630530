"""Frames in, bytes out; one module per format."""

from collections.abc import Mapping

from meterport.encoders import csv
from meterport.encoders.base import ExportFormat

FORMATS: Mapping[str, ExportFormat] = {f.name: f for f in (csv.FORMAT,)}
