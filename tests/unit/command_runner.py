"""Runs command lines one after the other in one process, as each would run in one of its own.

`python -m tests.unit.command_runner`: reads a JSON list of lists of arguments, writes one of what
each printed, on both streams, and with which error code it was refused.
Clock: version n of the readings was committed at MADE_AT and n days, so that files which say so
have the same bytes each time.
"""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

MADE_AT = datetime(2024, 11, 1, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """`code`: of the error, or of that of the job; empty where there was none."""

    printed: str
    code: str


def run_all(commands: Sequence[Sequence[str]], folder: Path) -> list[Ran]:
    """In that folder, each on its default home."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(commands),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    return [Ran(**each) for each in json.loads(done.stdout)]


def _run(arguments: Sequence[str]) -> Ran:
    from meterport.cli import main

    sys.argv = ["meterport", *arguments]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    code = ""
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            main()
        except SystemExit as ended:
            # The command leaves from where it handles the error.
            code = getattr(ended.__context__, "code", str(ended.code)) if ended.code else ""
    printed.flush()
    text = printed.buffer.getvalue().decode()
    return Ran(text.replace("\r\n", "\n"), code)


def _set_commit_times(data: Path) -> None:
    for entry in data.glob("readings/_delta_log/*.json"):
        at = MADE_AT + timedelta(days=int(entry.stem))
        text = entry.read_text(encoding="utf-8")
        mark = f'"commitInfo":{{"timestamp":{int(at.timestamp() * 1000)}'
        entry.write_text(re.sub(r'"commitInfo":\{"timestamp":\d+', mark, text), encoding="utf-8")


def _run_each(commands: Sequence[Sequence[str]]) -> Iterator[Ran]:
    for arguments in commands:
        yield _run(arguments)
        if arguments[0] == "import":
            _set_commit_times(Path("meterport-data"))


if __name__ == "__main__":
    ran = [asdict(each) for each in _run_each(json.load(sys.stdin))]
    sys.stdout.write(json.dumps(ran))
