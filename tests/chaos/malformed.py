"""Sends spoilt requests to the application in this process, and looks at every answer."""

import asyncio
import random
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp

from meterport.domain.access import Access
from meterport.domain.errors import ImportBusy
from meterport.services.import_options import Said
from meterport.settings import environment_of
from meterport.web.app import create_app
from meterport.web.import_process import ImportProcess
from meterport.web.readings import Inbox
from tests import make
from tests.asgi import call, complaint
from tests.chaos.corpus import METERS, Corpus, corpus
from tests.chaos.doors import ASKING, Doors, link_to
from tests.chaos.harness import quiet_logs
from tests.chaos.mutations import mutated

LOOKS = 5
"""So many times the memory is looked at; at the second one all has been used."""

RENEWED_EVERY = 100
"""Requests, for an export that may be cancelled or deleted."""


@dataclass
class Result:
    """`found`: complaints, each with the request; `answers`: by operation and status."""

    found: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    imports: int = 0
    seconds: float = 0.0
    memory_mib: list[int] = field(default_factory=list)

    @property
    def grown_mib(self) -> int:
        """Since all had been used once."""
        return max(self.memory_mib[1:]) - self.memory_mib[1]


class FewImports:
    """The first of them by a process each, as it is; for the others the place is taken."""

    def __init__(self, process: ImportProcess, most: int) -> None:
        self.done = 0
        self._process = process
        self._most = most

    async def __call__(self, path: Path, said: Said, access: Access) -> dict[str, object]:
        if self.done >= self._most:
            raise ImportBusy("another import is at work; try again when it is done")
        self.done += 1
        return await self._process(path, said, access)


def send(
    folder: Path,
    *,
    seed: str,
    requests: int,
    imports: int,
    at_most_found: int = 5,
    with_keys: bool = False,
) -> Result:
    """On a home of its own in `folder`. It stops when it has found that much."""
    folder.mkdir(exist_ok=True)
    frames = (make.many_readings(50, meter=meter) for meter in METERS)
    home = make.home(folder, *frames, **(ASKING if with_keys else {}))
    with quiet_logs():
        return asyncio.run(_send(home, seed, requests, imports, at_most_found))


async def _send(home: make.Home, seed: str, requests: int, imports: int, most: int) -> Result:
    chance = random.Random(seed)  # noqa: S311 - to be replayed
    jobs, doomed = _jobs(home)
    drawn = corpus(chance, jobs, doomed, link=link_to(home, jobs[0]))
    doors = Doors(home, drawn) if home.settings.asks_for_keys else None
    app = create_app(home.services, home.settings)
    few = FewImports(ImportProcess(environment_of(home.settings)), imports)
    app.state.inbox = Inbox(few)
    app.state.watch.stop()  # so that nobody waits for what nobody does
    leave = home.services.presence.announce("worker-of-the-test")
    result = Result()
    began = time.monotonic()
    try:
        for number in range(requests):
            if number % max(1, requests // LOOKS) == 0:
                result.memory_mib.append(resident_mib())
            if number % RENEWED_EVERY == 0:
                drawn.doomed[number // RENEWED_EVERY % len(drawn.doomed)] = _waiting(home, "B")
                if doors is not None:
                    doors.renew()
            await _one(app, number, drawn, result, doors)
            if len(result.found) >= most:
                break
    finally:
        leave()
        home.services.close()
    result.memory_mib.append(resident_mib())
    result.seconds = time.monotonic() - began
    result.imports = few.done
    return result


async def _one(
    app: ASGIApp, number: int, drawn: Corpus, result: Result, doors: Doors | None
) -> None:
    """Every fiftieth is sent as it is, to see that the good ones still get on."""
    name, raw = drawn.drawn()
    if number % 50:
        raw = drawn.sparing(mutated(drawn.random, raw, drawn.drawn()[1]))
    try:
        reply = await call(app, raw)
    except Exception as error:  # noqa: BLE001 - whatever leaves the application is an accident
        result.found.append(f"{number} {name}: {error!r} {raw}")
        return
    if said := complaint(reply) or ("" if doors is None else doors.complaint(raw, reply)):
        result.found.append(f"{number} {name}: {said} {raw}")
    result.answers[f"{name} {reply.status}"] += 1


def _jobs(home: make.Home) -> tuple[list[str], list[str]]:
    """A completed, a failed and a waiting export; and some that may be deleted."""
    first = [_waiting(home, meter) for meter in ("123", "nobody")]
    doomed = [_waiting(home, meter) for meter in METERS]
    home.work()
    return [*first, _waiting(home, "A")], doomed


def _waiting(home: make.Home, meter: str) -> str:
    return str(home.submit(make.request(meter)).id)


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20
