"""`meterport audit`, what `doctor --scrub` says of the log, and what commands leave in it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from meterport import export_here
from meterport.adapters.sql_database import Database
from meterport.cli import app
from meterport.domain.audit import Head, Sought
from meterport.domain.errors import InvalidRequest
from meterport.export_targets import Targets, Wanted
from tests import make
from tests.contracts.audits import change
from tests.unit.exports import submitted


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def run(home: make.Home, *arguments: str, code: int = 0) -> str:
    told = CliRunner().invoke(app, [*arguments, "--data", str(home.settings.data)])
    assert told.exit_code == code, (told.output, told.exception)
    return told.stdout


def forge(home: make.Home, seq: int) -> None:
    database = Database(home.settings.jobs_url)
    change(database, "UPDATE audit SET owner = 'nobody' WHERE seq = :seq", seq=seq)
    database.engine.dispose()


def head(home: make.Home) -> Head:
    return list(home.services.audit.entries())[-1].head


def test_the_list_tells_who_received_what(loaded: make.Home) -> None:
    job = submitted(loaded, "A")

    lines = run(loaded, "audit", "list").splitlines()
    told = json.loads(run(loaded, "audit", "list", "--meter", "A", "--job", job.id, "--json"))

    assert len(lines) == 2
    assert lines[0].split()[0] == "2"
    for word in ("export_created", "anonymous", "A", job.id, "command line"):
        assert word in lines[0]
    assert "3 meters" in lines[1]
    assert [(entry["seq"], entry["job_id"]) for entry in told] == [(2, job.id)]


def test_the_list_can_be_narrowed(loaded: make.Home) -> None:
    submitted(loaded, "A")

    assert run(loaded, "audit", "list", "--meter", "D") == "nothing is recorded\n"
    assert run(loaded, "audit", "list", "--owner", "acme") == "nothing is recorded\n"
    assert run(loaded, "audit", "list", "--key", "k") == "nothing is recorded\n"
    assert run(loaded, "audit", "list", "--since", "2100-01-01") == "nothing is recorded\n"
    assert len(run(loaded, "audit", "list", "--limit", "1").splitlines()) == 1


def test_verify_prints_the_head_and_finds_it_again(loaded: make.Home) -> None:
    noted = head(loaded)
    submitted(loaded, "A")

    told = run(loaded, "audit", "verify", "--expect", str(noted))

    assert told == f"head {head(loaded)}\n2 entries, all as they were written\n"


def test_verify_names_what_was_changed_and_fails(loaded: make.Home) -> None:
    submitted(loaded, "A")
    forge(loaded, 1)

    told = run(loaded, "audit", "verify", code=1)

    assert told == (f"head 0:{'0' * 64}\nNOT AS IT WAS WRITTEN: entry 1 is not what was written\n")


def test_a_head_that_is_none_is_refused() -> None:
    for text in ("", "5", "5:abc", f"-1:{'0' * 64}", f"1:{'G' * 64}"):
        with pytest.raises(InvalidRequest, match="SEQ:SHA256"):
            Head.read(text)


def test_the_doctor_looks_the_log_through_where_it_scrubs(loaded: make.Home) -> None:
    assert f"audit log: as it was written, up to {head(loaded)}" in run(loaded, "doctor", "--scrub")
    forge(loaded, 1)

    told = run(loaded, "doctor", "--scrub", code=1)

    assert "ERROR   audit log: entry 1 is not what was written" in told
    assert "audit log" not in run(loaded, "doctor")


def test_an_export_on_the_command_line_is_recorded(loaded: make.Home, tmp_path: Path) -> None:
    wanted = Wanted(("A",), "2024-01-01", "2024-01-02", "csv", "none", {})
    file, manifest = tmp_path / "a.csv", tmp_path / "a.json"

    export_here.run(
        loaded.settings, wanted, Targets(file, manifest, overwrite=False), as_json=False
    )

    entries = loaded.services.audit.page(Sought(smart_meter_id="A"), limit=3).entries
    told = [seen.as_json() for seen in reversed(entries)]
    assert [(entry["action"], entry.get("bytes"), entry.get("rows")) for entry in told] == [
        ("export_created", None, None),
        ("file_downloaded", file.stat().st_size, 2),
        ("manifest_read", None, None),
    ]
    assert {entry["details"]["by"] for entry in told} == {"command line"}  # type: ignore[index]


def test_a_key_that_is_made_on_the_command_line_is_recorded(home: make.Home) -> None:
    made = run(home, "keys", "create", "--meters", "*", "--scopes", "read", "--json")
    key = json.loads(made)

    (seen,) = home.services.audit.page(Sought(), limit=10).entries
    assert seen.as_json()["details"] == {
        "by": "command line",
        "key": key["id"],
        "owner": key["id"],
        "scopes": "read",
    }
