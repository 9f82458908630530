"""The free space that is left alone, so that the database can commit on a disk that fills up."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from meterport.domain.errors import StorageFull, StorageUnavailable
from meterport.domain.figures import DiskSpace
from meterport.domain.findings import Finding, error, ok, warning

SHARE = 0.05
LARGEST_SHARE_BYTES = 2 << 30


class LocalDisk:
    """`reserve_bytes`: None takes 5 % of the disk, at most 2 GiB."""

    def __init__(self, folders: Sequence[Path], reserve_bytes: int | None = None) -> None:
        self._folders = folders
        self._reserve_bytes = reserve_bytes

    def check(self) -> None:
        for folder in filter(Path.is_dir, self._folders):
            if free_bytes(folder) < self.reserve_bytes(folder):
                raise StorageFull(
                    "There is too little space left on the disk",
                    f"Free space in {folder.name}/, or move it to a larger disk; "
                    "METERPORT_DISK_RESERVE_MIB is left free",
                )

    def reserve_bytes(self, folder: Path) -> int:
        if self._reserve_bytes is not None:
            return self._reserve_bytes
        stat = os.statvfs(folder)
        return min(int(stat.f_blocks * stat.f_frsize * SHARE), LARGEST_SHARE_BYTES)

    def scarcest(self) -> DiskSpace:
        if not all(map(Path.is_dir, self._folders)):
            raise StorageUnavailable("A folder of the service is missing")
        spaces = [DiskSpace(free_bytes(each), self.reserve_bytes(each)) for each in self._folders]
        return min(spaces, key=lambda space: space.free_bytes - space.reserve_bytes)

    def findings(self) -> Iterator[Finding]:
        for folder in self._folders:
            if not folder.is_dir():
                yield error("disk", f"{folder} is missing", "start the service, which makes it")
                continue
            free, reserve = free_bytes(folder), self.reserve_bytes(folder)
            said = f"{folder.name}/: {free >> 20:,} MiB free, {reserve >> 20:,} MiB in reserve"
            if free < reserve:
                yield error("disk", said, "free space, or move the folder to a larger disk")
            elif free < 2 * reserve:
                yield warning("disk", said, "free space before new exports are refused")
            else:
                yield ok("disk", said)


def free_bytes(folder: Path) -> int:
    """For this process: without what the file system keeps for root."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
