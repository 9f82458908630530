"""What `meterport backup`, `restore` and `erase` do and print."""

import json
from dataclasses import asdict
from pathlib import Path

from meterport.bootstrap import archive_in, connect, erase
from meterport.domain.backups import Backup
from meterport.domain.errors import BackupRefused
from meterport.domain.exports import check_smart_meter_id
from meterport.domain.period import iso_utc
from meterport.restore import restore
from meterport.services.back_up import back_up
from meterport.settings import Settings


def backed_up(settings: Settings, target: Path, *, as_json: bool) -> tuple[str, bool]:
    """The report, and whether every file was whole."""
    services = connect(settings)
    backup = back_up(
        target,
        database=services.copier,
        archive_in=archive_in,
        source=services.source,
        upkeep=services.upkeep,
        objects=services.objects,
        leases=services.leases,
    )
    if as_json:
        said = asdict(backup) | {
            "created_at": backup.created_at.isoformat(),
            "size_bytes": backup.size_bytes,
        }
        return json.dumps(said), not backup.damaged
    return _report(target, backup), not backup.damaged


def restored(settings: Settings, folder: Path, *, replace: bool, erasures: Path | None) -> str:
    done = restore(settings, folder, replace=replace, erasures=_listed(erasures))
    lines = [
        f"{folder}, taken {done.backup.created_at:%Y-%m-%d %H:%M:%S} UTC, is restored: "
        f"version {done.backup.readings_version} of the readings, {len(done.backup.files)} files"
    ]
    lines += [f"erased again: meter {meter}" for meter in done.erased]
    lines += [f"kept aside, remove it when you need it no more: {path}" for path in done.replaced]
    return "\n".join(lines)


def erased(settings: Settings, smart_meter_id: str) -> str:
    services = connect(settings)
    rows = erase(services, check_smart_meter_id(smart_meter_id))
    if rows == 0:
        return f"no readings of meter {smart_meter_id} are stored; noted for restored backups"
    return f"{rows:,} readings of meter {smart_meter_id} are erased, and its files"


def erasures(settings: Settings) -> str:
    found = connect(settings).erasures.all()
    return json.dumps({meter: iso_utc(asked) for meter, asked in found.items()})


def _report(target: Path, backup: Backup) -> str:
    lines = [
        f"{target}: version {backup.readings_version} of the readings, "
        f"{len(backup.files)} files, {backup.size_bytes:,} bytes"
    ]
    lines += [f"DAMAGED already, see `meterport doctor`: {name}" for name in backup.damaged]
    return "\n".join(lines)


def _listed(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [check_smart_meter_id(meter) for meter in listed]
    except (OSError, ValueError, TypeError) as error:
        raise BackupRefused(
            f"{path} is no list of meters; `meterport erase --list` prints one"
        ) from error
