"""R9: many exports of many tenants at once, who ask for all of theirs before the next one asks.

Each tenant has a key of its own, and asks over HTTP. All exports end, with the bytes that they
should have, each tenant lists its own and no other, and none waits much longer than another:
counted in claims, in whose order the exports were begun, and not in seconds.

Full: 500 exports of 20 tenants, by two workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import mean

import pytest

from meterport.domain.jobs import Job, JobId, JobStatus
from tests import make
from tests.chaos.clients import Others
from tests.chaos.harness import Chaos, spoilt, wait_until
from tests.e2e.service import Service, body, csv_of, running
from tests.unit import keyed

pytestmark = pytest.mark.promise("R9")

ROWS = 3_000
MINUTES = (60, 500, ROWS)
WORST_TO_BEST = 3


UNLIMITED = {"METERPORT_CREATES_PER_MINUTE": "0", "METERPORT_MAX_ACTIVE_EXPORTS": "0"}
"""A key's own limits would refuse what is to be served here."""


@dataclass
class Tenant:
    """Whose exports are its own. `wanted`: the minutes of each, by its id."""

    name: str
    key: Mapping[str, str]
    wanted: dict[JobId, int] = field(default_factory=dict)

    def ask(self, service: Service, minutes: int) -> None:
        asked = body("123", 0, minutes)
        answer = service.http.post("/api/export/csv", json=asked, headers=self.key)
        assert answer.status_code == 202, answer.text
        self.wanted[answer.json()["job_id"]] = minutes

    def file(self, service: Service, job_id: JobId) -> bytes:
        answer = service.http.get(f"/api/export/download/{job_id}", headers=self.key)
        assert answer.status_code == 200, answer.text
        return answer.content

    def listed(self, service: Service) -> set[str]:
        answer = service.http.get("/api/exports?limit=200", headers=self.key)
        return {item["id"] for item in answer.json()["items"]}


def rush(
    chaos: Chaos, home: make.Home, *variants: str, tenants: int, exports: int, workers: int = 2
) -> None:
    """`exports`: of each tenant."""
    names = [f"tenant-{number}" for number in range(tenants)]
    asking = [Tenant(name, keyed.key(home, owner=name)) for name in names]
    others_key = keyed.key(home, owner="others")
    spoiling = spoilt(*variants) if variants else {}
    given = {**UNLIMITED, **spoiling}
    with running(home.settings.data, workers=workers, METERPORT_AUTH="keys", **given) as service:
        with service.paused():
            for tenant in chaos.random.sample(asking, tenants):
                for _ in range(exports):
                    tenant.ask(service, chaos.random.choice(MINUTES))
        others = Others(service, others_key)
        with others.served_meanwhile():
            wait_until(lambda: all_ended(home, asking), every_s=0.2, within_s=600)
        chaos.found += others.accidents
        check_files(chaos, service, asking)
    chaos.count(exports=tenants * exports, peak_tenants=tenants, exports_beside=len(others.exports))
    check_waits(chaos, home, asking)


def jobs_of(home: make.Home, tenants: Sequence[Tenant]) -> Mapping[JobId, Job]:
    return home.services.archive.some([job_id for tenant in tenants for job_id in tenant.wanted])


def all_ended(home: make.Home, tenants: Sequence[Tenant]) -> bool:
    return all(job.status is not JobStatus.PENDING for job in jobs_of(home, tenants).values())


def check_files(chaos: Chaos, service: Service, tenants: Sequence[Tenant]) -> None:
    expected = {minutes: csv_of("123", first=0, rows=minutes) for minutes in MINUTES}
    for tenant in tenants:
        for job_id, minutes in tenant.wanted.items():
            whole = tenant.file(service, job_id) == expected[minutes]
            chaos.expect(whole, f"{job_id} of {tenant.name} has other bytes")
        own = tenant.listed(service) == set(tenant.wanted)
        chaos.expect(own, f"{tenant.name} lists other exports than its own")


def check_waits(chaos: Chaos, home: make.Home, tenants: Sequence[Tenant]) -> None:
    """A wait is the number of claims before one's own, since all had asked before the first."""
    jobs = jobs_of(home, tenants).values()
    claims = {job.id: number for number, job in enumerate(sorted(jobs, key=began_at), start=1)}
    waits = {tenant.name: mean(claims[job_id] for job_id in tenant.wanted) for tenant in tenants}
    best, worst = min(waits.values()), max(waits.values())
    chaos.count(peak_percent_of_the_shortest_wait=round(100 * worst / best))
    chaos.expect(worst <= WORST_TO_BEST * best, f"the waits are {best:.0f} to {worst:.0f} claims")


def began_at(job: Job) -> datetime:
    assert job.started_at is not None
    return job.started_at


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(tmp_path, make.many_readings(ROWS))


@pytest.mark.timeout(900)
def test_every_tenant_is_served_and_none_waits_for_another(chaos: Chaos, home: make.Home) -> None:
    rush(chaos, home, tenants=chaos.size(10, full=20), exports=chaos.size(6, full=25))

    assert chaos.found == []


def test_a_service_that_serves_first_whoever_came_first_is_caught(
    chaos: Chaos, home: make.Home
) -> None:
    broken = chaos.toothless("first_come_first_served")

    rush(broken, home, "first_come_first_served", tenants=10, exports=5, workers=1)

    assert any("the waits are" in accident for accident in broken.found)
