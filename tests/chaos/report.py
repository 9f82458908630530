"""What the chaos tests counted: one run as a table, all recorded runs for docs/reliability.md.

    python -m tests.chaos.report      writes the sums into docs/reliability.md

A run is one line of docs/reliability-runs.jsonl: date, machine, seed, and per test its counts.
"""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.harness import add

DOCS = Path(__file__).parents[2] / "docs"
RUNS = DOCS / "reliability-runs.jsonl"
PAGE = DOCS / "reliability.md"
BEGIN, END = "<!-- counts: begin -->\n", "<!-- counts: end -->\n"
Counts = Mapping[str, Mapping[str, int]]


def as_text(counts: Counts) -> str:
    return "\n".join(f"{test:<5} {_said(counts[test])}" for test in sorted(counts, key=_number))


def record(counts: Counts, *, seed: int, to: Path) -> None:
    run = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seed": seed,
        "counts": counts,
    }
    with to.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")


def table(runs: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: per test the sums over all runs, and the seeds; then when and where."""
    runs = list(runs)
    sums: dict[str, Counter[str]] = {}
    seeds: dict[str, list[str]] = {}
    for run in runs:
        for test, counts in run["counts"].items():
            add(sums.setdefault(test, Counter()), counts)
            seeds.setdefault(test, []).append(str(run["seed"]))
    lines = ["| test | what was counted | seeds |", "|---|---|---|"]
    lines += [
        f"| {test} | {_said(sums[test])} | {', '.join(seeds[test])} |"
        for test in sorted(sums, key=_number)
    ]
    where = sorted({f"{run['date']} ({run['machine']})" for run in runs})
    return "\n".join(lines) + f"\n\nCounted on {'; '.join(where)}.\n"


def recorded() -> list[dict[str, Any]]:
    if not RUNS.exists():
        return []
    return [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()]


def page_with(page: str, counted: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{counted}{END}{after}"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with(page, table(recorded())), encoding="utf-8")


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _number(test: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, test))
    return int(digits or 0), test


if __name__ == "__main__":
    main()
