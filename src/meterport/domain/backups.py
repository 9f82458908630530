"""A backup: a folder with the database, one version of the readings, the exports, and this list.

Layout: `backup.json` (this), `meterport.db`, `readings/` (a Delta table of one version),
        `exports/{job}/{attempt}`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from meterport.domain.errors import BackupRefused

LIST = "backup.json"
DATABASE, READINGS, EXPORTS = "meterport.db", "readings", "exports"
LAYOUT = 1


@dataclass(frozen=True)
class BackedUpFile:
    """`path` is relative to the backup's folder."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Backup:
    """`damaged` names files that were damaged already, or gone, when they were to be copied."""

    created_at: datetime
    readings_version: int
    files: Sequence[BackedUpFile]
    damaged: Sequence[str]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def as_json(self) -> str:
        content = {
            "layout": LAYOUT,
            "created_at": self.created_at.isoformat(),
            "readings_version": self.readings_version,
            "damaged": list(self.damaged),
            "files": [asdict(file) for file in self.files],
        }
        return json.dumps(content | {"sha256": _digest(content)}, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "Backup":
        """Raises BackupRefused where there is no finished backup of a layout that is known."""
        try:
            content = json.loads((folder / LIST).read_text(encoding="utf-8"))
            if content["layout"] != LAYOUT:
                raise BackupRefused(f"{folder} is another meterport's backup; restore it with that")
            if content.pop("sha256") != _digest(content):
                raise BackupRefused(f"{folder}/{LIST} is damaged; take another backup")
            return cls(
                datetime.fromisoformat(content["created_at"]),
                content["readings_version"],
                [BackedUpFile(**file) for file in content["files"]],
                content["damaged"],
            )
        except FileNotFoundError as error:
            raise BackupRefused(f"{folder} is no finished backup: it has no {LIST}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackupRefused(f"{folder}/{LIST} cannot be read; take another backup") from error


def _digest(content: Mapping[str, Any]) -> str:
    """Of the list itself, in which any change would go unnoticed by the files' digests."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
