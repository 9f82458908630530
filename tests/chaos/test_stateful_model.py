"""R19: exports are what a simple model says, whatever happens to them in whatever order.

Full: 500 sequences of 50 steps; four runs have the 2,000 of the catalogue.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meterport.adapters import sql_jobs
from meterport.adapters.local_files import LocalFiles
from meterport.adapters.sql_jobs import SqlJobs
from meterport.domain import jobs
from meterport.web import download
from tests.chaos.exports_machine import run, template_in
from tests.chaos.harness import Chaos, quiet_logs

pytestmark = pytest.mark.promise("R19")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_logs():
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template_in(tmp_path_factory.mktemp("model"))


@pytest.mark.timeout(3600)
def test_exports_are_what_the_model_says(chaos: Chaos, template: Path) -> None:
    run(chaos, template, sequences=chaos.size(8, full=500))


def files_outlive_their_exports(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LocalFiles, "delete", lambda self, key: None)


def calling_off_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def cancel(self: SqlJobs, job_id: str) -> jobs.Job:
        job = self.get(job_id)
        assert job is not None
        return replace(job, phase=jobs.Phase.CANCELLED)

    patch.setattr(SqlJobs, "cancel", cancel)


def a_key_makes_two(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_jobs, "_insert_key", lambda *arguments: None)


def a_range_lacks_its_last_byte(patch: pytest.MonkeyPatch) -> None:
    requested = download._requested_part

    def shorter(*arguments: Any) -> download.Part | None:
        part = requested(*arguments)
        return part and download.Part(part.first, max(part.first, part.end - 1))

    patch.setattr(download, "_requested_part", shorter)


@pytest.mark.parametrize(
    "spoil",
    [
        files_outlive_their_exports,
        calling_off_is_forgotten,
        a_key_makes_two,
        a_range_lacks_its_last_byte,
    ],
)
def test_a_product_that_does_anything_else_is_caught(
    chaos: Chaos,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
) -> None:
    spoil(monkeypatch)

    with pytest.raises(AssertionError):
        run(chaos.toothless(spoil.__name__), template, sequences=100, shrinks=False)
