"""Damage as disks, cables and hands do it: each changes the bytes of a file, or of two."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

BLOCK_BYTES = 512


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def grow(path: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, BLOCK_BYTES)))


def blank(path: Path, chance: random.Random) -> None:
    """A block of zeros; a single bit where there were zeros already."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    end = min(len(data), start + BLOCK_BYTES)
    if not any(data[start:end]):
        flip(path, chance)
        return
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def lose(path: Path, chance: random.Random) -> None:
    path.unlink()


ONE: Mapping[str, Callable[[Path, random.Random], None]] = {
    damage.__name__: damage for damage in (flip, cut, grow, blank, lose)
}


def swap(one: Path, other: Path) -> None:
    aside = one.with_name(f"{one.name}.aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
