"""Writes that survive a power cut: the bytes, the name and the folder, each synced in order."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create the folder and its parents, for their owner only, and make their names durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def publish(part: Path, final: Path) -> None:
    """Give a synced part its final name. Both lie on one file system, so this is a rename."""
    folder = final.parent
    make_folder(folder.parent)
    while True:
        # Nothing slow in between: the folder may go with the last file that another removes.
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            part.replace(final)
            break
        except FileNotFoundError:
            if not part.exists():
                raise
    sync_folder(folder)
    sync_folder(folder.parent)


def write_file(part: Path, data: bytes) -> None:
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def copy(source: BinaryIO, to: Path) -> str:
    """The SHA-256 of what was copied and synced."""
    digest = hashlib.sha256()
    with to.open("wb") as file:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
