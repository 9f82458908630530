"""R3: the API killed during POST. An id that was answered exists, and its key gives it again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests import make
from tests.chaos.harness import Chaos, Zygote, kill, zygote
from tests.chaos.lone_api import LoneApi

pytestmark = pytest.mark.promise("R3")

CLIENTS = 4


@dataclass
class Ids:
    """What clients were answered, by the key that they sent."""

    received: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class Api(LoneApi):
    def post(self, key: str) -> str:
        """The job's id. Raises httpx2.HTTPError if no whole answer came."""
        answer = self.http.post(
            "/api/export/csv", json=make.body(), headers={"Idempotency-Key": key}
        )
        answer.raise_for_status()
        return str(answer.json()["job_id"])


def kill_api(chaos: Chaos, home: make.Home, processes: Zygote, *, kills: int) -> None:
    ids = Ids()
    with closing(Api(processes, home)) as api:
        _kill_while_posting(chaos, api, ids, kills)
        chaos.count(kills=kills, requests=len(ids.asked), ids=len(ids.received))
        _check_ids(chaos, home, ids)
        _check_keys(chaos, api, ids)


def _kill_while_posting(chaos: Chaos, api: Api, ids: Ids, kills: int) -> None:
    for number in range(kills):
        with api.running() as pid, ThreadPoolExecutor(CLIENTS) as clients:
            posted = [
                clients.submit(_post_until_dead, api, ids, f"{number}-{client}")
                for client in range(CLIENTS)
            ]
            timer = threading.Timer(chaos.random.uniform(0.001, 0.120), kill, [pid])
            timer.start()
            for one in posted:
                one.result()
            timer.join()


def _post_until_dead(api: Api, ids: Ids, name: str) -> None:
    for number in range(1000):
        key = f"{name}-{number}"
        ids.asked.append(key)
        try:
            ids.received[key] = api.post(key)
        except httpx2.HTTPError:
            return


def _check_ids(chaos: Chaos, home: make.Home, ids: Ids) -> None:
    lost = [job_id for job_id in ids.received.values() if home.services.jobs.get(job_id) is None]
    chaos.expect(not lost, f"{len(lost)} ids were answered and do not exist")
    chaos.count(lost=len(lost))


def _check_keys(chaos: Chaos, api: Api, ids: Ids) -> None:
    """A client repeats what it got no answer to, and some of what it did get one to."""
    answered = chaos.random.sample(sorted(ids.received), min(40, len(ids.received)))
    unanswered = sorted(set(ids.asked) - set(ids.received))[:200]
    with api.running():
        again = {key: api.post(key) for key in [*answered, *unanswered]}
        third = {key: api.post(key) for key in unanswered}
    other = [key for key in answered if again[key] != ids.received[key]]
    other += [key for key in unanswered if again[key] != third[key]]
    chaos.expect(not other, f"{len(other)} keys gave a second job")
    chaos.count(doubled=len(other))


@pytest.fixture
def home(tmp_path: Path) -> make.Home:
    return make.home(tmp_path)


def test_a_killed_api_loses_no_job_that_it_accepted(
    chaos: Chaos, home: make.Home, tmp_path: Path
) -> None:
    with zygote(tmp_path) as processes:
        kill_api(chaos, home, processes, kills=chaos.size(15, full=400))

    assert chaos.found == []


@pytest.mark.parametrize("variant", ["answer_before_commit", "keys_are_not_kept"])
def test_a_product_without_that_promise_is_caught(
    chaos: Chaos, home: make.Home, tmp_path: Path, variant: str
) -> None:
    broken = chaos.toothless(variant)

    with zygote(tmp_path, variant) as processes:
        kill_api(broken, home, processes, kills=5)

    assert broken.found
