"""R18: whatever is sent, the answer is one of ours: no crash, no long or strange error.

Requests of every operation of the OpenAPI document are spoilt (tests/chaos/mutations.py) and handed
to the application as a server would, with no HTTP client in between. Of each answer the status,
the envelope and its code, the size, and the headers are looked at; and the process's memory. Half
of them meet an application that asks for keys, and have a good one, a spoilt one, another's or
none (tests/chaos/doors.py): whom it lets in is looked at too.
Few: some thousands in this process; full: METERPORT_CHAOS_REQUESTS of them, a million unless
another number is given, in METERPORT_CHAOS_PROCESSES processes, as many as there are cores.
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from meterport.web.app import document
from tests.chaos.broken_answers import OF_KEYS, VARIANTS
from tests.chaos.harness import Chaos
from tests.chaos.malformed import Result, send
from tests.openapi import operations

pytestmark = pytest.mark.promise("R18")

SLACK_MIB = 48
"""What an allocator may keep more at the end than when all has been used once."""


def sent(chaos: Chaos, folder: Path) -> list[Result]:
    if not chaos.full:
        seeds = (f"{chaos.seed}:0", f"{chaos.seed}:1")
        return [
            send(folder / "open", seed=seeds[0], requests=4_000, imports=2),
            send(folder / "keys", seed=seeds[1], requests=3_000, imports=1, with_keys=True),
        ]
    requests = int(os.environ.get("METERPORT_CHAOS_REQUESTS", "1_000_000"))
    processes = max(2, int(os.environ.get("METERPORT_CHAOS_PROCESSES", os.cpu_count() or 1)))
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawned) as pool:
        waiting = [
            pool.submit(
                send,
                folder / str(number),
                seed=f"{chaos.seed}:{number}",
                requests=requests // processes,
                imports=requests // processes // 10_000,
                with_keys=number % 2 == 1,
            )
            for number in range(processes)
        ]
        return [each.result() for each in waiting]


def of_kind(answers: Counter[str], status: str) -> int:
    return sum(count for answer, count in answers.items() if status in answer)


@pytest.mark.timeout(14_400)
def test_whatever_is_sent_the_answer_is_one_of_ours(chaos: Chaos, tmp_path: Path) -> None:
    results = sent(chaos, tmp_path)

    answers = sum((result.answers for result in results), Counter[str]())
    chaos.count(
        requests=answers.total(),
        refused=of_kind(answers, " 4"),
        answers_5xx=of_kind(answers, " 5"),
        imports=sum(result.imports for result in results),
        peak_requests_a_second=sum(
            round(result.answers.total() / result.seconds) for result in results
        ),
        peak_MiB=max(max(result.memory_mib) for result in results),
        peak_MiB_more=max(result.grown_mib for result in results),
    )
    assert [said for result in results for said in result.found] == []
    assert all(result.grown_mib <= SLACK_MIB for result in results), results
    names = {operation.name for operation in operations(document())}
    assert {answer.split()[0] for answer in answers if " 2" in answer} >= names - {"post_readings"}
    assert {answer.split()[0] for answer in answers if " 4" in answer} == names


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_product_that_answers_badly_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    broken = chaos.toothless(variant)
    VARIANTS[variant](monkeypatch)

    result = send(tmp_path, seed=f"{broken.seed}:0", requests=4_000, imports=0, at_most_found=1)

    assert result.found


@pytest.mark.parametrize("variant", OF_KEYS)
def test_a_product_that_lets_others_in_is_caught(
    chaos: Chaos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    broken = chaos.toothless(variant)
    OF_KEYS[variant](monkeypatch)

    seed = f"{broken.seed}:0"
    result = send(tmp_path, seed=seed, requests=4_000, imports=0, at_most_found=1, with_keys=True)

    assert result.found
