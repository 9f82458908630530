"""A stream of frames as batches of whole meters, each of which can be gone through twice.

Memory: a batch has about as many rows as asked for, and more where one meter has more; of those
        HELD_ROWS are in memory, the others in a temporary file.
"""

import io
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import BinaryIO

import polars as pl

from meterport.domain.errors import FileGenerationFailed

HELD_ROWS = 600_000
"""A year of minutes, and some; they are the source's own frames, or some 80 bytes each."""

_METER = "smart_meter_id"


class Batch:
    """Frames of whole meters, in the order in which they came."""

    def __init__(self) -> None:
        self.rows = 0
        self._held: list[pl.DataFrame] = []
        self._held_rows = 0
        self._file: BinaryIO | None = None
        self._lengths: list[int] = []

    def frames(self) -> Iterator[pl.DataFrame]:
        """All of them; as often as is wanted."""
        if self._file is not None:
            self._file.seek(0)
            for length in self._lengths:
                yield pl.read_ipc(io.BytesIO(self._file.read(length)))
        yield from self._held

    def last_meter(self) -> str:
        return str(self._held[-1][_METER][-1])

    def add(self, frame: pl.DataFrame) -> None:
        if self._held_rows + frame.height > HELD_ROWS:
            self._put_away()
        self._held.append(frame)
        self._held_rows += frame.height
        self.rows += frame.height

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _put_away(self) -> None:
        try:
            if self._file is None:
                self._file = TemporaryFile()  # noqa: SIM115 - see close
            for frame in self._held:
                packed = io.BytesIO()
                frame.write_ipc(packed, compression="lz4")
                self._lengths.append(self._file.write(packed.getbuffer()))
        except OSError as error:
            raise FileGenerationFailed(
                f"A temporary file cannot be written: {error.strerror}",
                "Make room in the temporary folder (TMPDIR), then ask for the export again",
            ) from error
        self._held, self._held_rows = [], 0


def batches(frames: Iterable[pl.DataFrame], *, rows: int) -> Iterator[Batch]:
    """`frames` are in order of smart_meter_id. A batch is gone when the next one is asked for."""
    batch = Batch()
    try:
        for frame in frames:
            for piece in frame.iter_slices(rows):
                rest = piece
                if batch.rows >= rows:
                    count = _rows_of(batch.last_meter(), piece)
                    if count:
                        batch.add(piece[:count])
                    rest = piece[count:]
                    if rest.height:
                        yield batch
                        batch.close()
                        batch = Batch()
                if rest.height:
                    batch.add(rest)
        if batch.rows:
            yield batch
    finally:
        batch.close()


def _rows_of(meter: str, piece: pl.DataFrame) -> int:
    """How many rows at the beginning are that meter's."""
    others = (piece[_METER] != meter).arg_true()
    return int(others[0]) if len(others) else piece.height
