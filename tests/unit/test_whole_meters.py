"""Frames gathered to whole meters, however many rows these have."""

import errno

import polars as pl
import pytest

from meterport.domain.errors import FileGenerationFailed
from meterport.encoders import whole_meters
from tests import make


@pytest.mark.parametrize("rows_per_frame", [1, 3, 100])
def test_a_batch_has_whole_meters_and_no_more_than_it_needs(rows_per_frame: int) -> None:
    whole = pl.concat(
        make.readings(*[0.5] * count, meter=meter)
        for meter, count in (("A", 2), ("B", 7), ("C", 1), ("D", 3))
    )

    found = [
        pl.concat(batch.frames())
        for batch in whole_meters.batches(whole.iter_slices(rows_per_frame), rows=3)
    ]

    assert pl.concat(found).equals(whole)
    meters = [set(frame["smart_meter_id"]) for frame in found]
    assert sum(map(len, meters)) == 4
    assert max(map(len, meters)) <= 3


def test_a_meter_of_many_years_lies_in_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_meters, "HELD_ROWS", 100)
    frames = list(make.many_readings(1000).iter_slices(60))

    for batch in whole_meters.batches(frames, rows=60):
        held = sum(frame.height for frame in batch._held)
        assert pl.concat(batch.frames()).equals(pl.concat(frames))

    assert held <= 100


def test_a_temporary_folder_without_room_fails_the_export_and_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_meters, "HELD_ROWS", 1)
    monkeypatch.setattr(whole_meters, "TemporaryFile", full)

    with pytest.raises(FileGenerationFailed) as failed:
        list(whole_meters.batches([make.readings(0.25), make.readings(0.25)], rows=60))

    assert "No space left on device" in failed.value.message
    assert "TMPDIR" in failed.value.details
