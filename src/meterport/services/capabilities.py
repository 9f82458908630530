"""What can be asked for, found out from the rules by which a request is checked."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from meterport import __version__
from meterport.domain.errors import MeterportError
from meterport.domain.exports import ExportRequest
from meterport.domain.options import WORDS, Compression, ExportOptions, Layout
from meterport.domain.period import Period
from meterport.domain.readings import DEFAULT_COLUMNS, READING_SCHEMA, VALUE_COLUMNS
from meterport.domain.shapes import Gaps, Label, Resolution
from meterport.domain.zones import zones
from meterport.encoders import FORMATS
from meterport.encoders.base import ExportFormat
from meterport.encoders.compression import WRAPPINGS
from meterport.importers import IMPORTERS
from meterport.importers.base import ImportFormat
from meterport.importers.options import FLAGS, UNITS
from meterport.services.receive_readings import parameter
from meterport.services.submit_export import check_options

_YEAR = Period(datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
_ALWAYS = ("timestamp", "smart_meter_id")
_UNUSUAL: Mapping[str, object] = {
    "columns": [*_ALWAYS, VALUE_COLUMNS[0]],
    "resolution": "30m",
    "timezone": "Europe/Berlin",
    "gaps": "null",
    "interval_label": "end",
    "with_count": True,
    "csv": {"bom": True},
    "layout": "file_per_meter",
    "as_of": 1,
}
"""For every option something other than its default, that no format refuses for its own sake."""


def capabilities(limits: Mapping[str, int]) -> dict[str, object]:
    """`limits` by their names, as whoever holds to them knows them."""
    return {
        "version": __version__,
        "formats": [_format(each) for each in FORMATS.values()],
        "compressions": [_compression(word) for word in Compression],
        "resolutions": list(Resolution),
        "gaps": list(Gaps),
        "interval_labels": list(Label),
        "layouts": list(Layout),
        "columns": [_column(name) for name in READING_SCHEMA],
        "imports": [_import(each) for each in IMPORTERS.values()],
        "timezones": {"source": f"tzdata {version('tzdata')}", "count": len(zones())},
        "limits": dict(limits),
    }


def _format(known: ExportFormat) -> dict[str, object]:
    return {
        "name": known.name,
        "media_type": known.media_type,
        "extension": known.extension,
        "default_columns": list(known.columns),
        "columns": [name for name in READING_SCHEMA if _has_place(known.name, name)],
        "qualities": list(known.qualities) or None,
        "resolutions": [word for word in Resolution if _takes(known.name, resolution=str(word))],
        "options": [word for word in WORDS if _takes(known.name, **{word: _UNUSUAL[word]})],
    }


def _has_place(format: str, column: str) -> bool:  # noqa: A002 - the contract's word
    # With a value that every format holds: some refuse columns that name none.
    asked = dict.fromkeys((*_ALWAYS, VALUE_COLUMNS[0], column))
    return _takes(format, columns=list(asked))


def _takes(format: str, **words: object) -> bool:  # noqa: A002 - the contract's word
    try:
        options = ExportOptions.requested(words)
        check_options(ExportRequest("1", _YEAR, format, options=options))
    except MeterportError:
        return False
    return True


def _compression(word: Compression) -> dict[str, object]:
    wrapping = WRAPPINGS.get(word)
    return {
        "name": word,
        "extension": wrapping.ending.removeprefix(".") if wrapping else None,
        "media_type": wrapping.media_type if wrapping else None,
    }


def _column(name: str) -> dict[str, object]:
    kind = READING_SCHEMA[name]
    return {
        "name": name,
        "unit": next(iter(UNITS[name])) if kind.is_numeric() else None,
        "default": name in DEFAULT_COLUMNS,
    }


def _import(known: ImportFormat) -> dict[str, object]:
    return {
        "name": known.name,
        "extensions": [ending.removeprefix(".") for ending in known.extensions],
        "media_types": list(known.media_types),
        "options": [parameter(flag) for flag in FLAGS.values() if flag in known.understands],
    }
