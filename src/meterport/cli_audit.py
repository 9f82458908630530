"""`meterport audit`: who received whose readings; and whether the log is as it was written."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from meterport.cli_base import Data, Json, home, say

if TYPE_CHECKING:
    from meterport.domain.audit import Seen

audit = typer.Typer(help="The log of who received whose readings.", no_args_is_help=True)
MOST = 10_000


@audit.command("list")
def list_(
    meter: Annotated[str | None, typer.Option(metavar="ID", help="Of that meter.")] = None,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Of that export.")] = None,
    owner: Annotated[str | None, typer.Option(help="By that owner's keys.")] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="By that key.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not before it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the newest entries."""
    from meterport.bootstrap import connect
    from meterport.domain.audit import Sought
    from meterport.domain.wall_times import instant_of

    sought = Sought(
        smart_meter_id=meter,
        job_id=None if job is None else job.lower(),
        owner=owner,
        key_id=key,
        since=None if since is None else instant_of("--since", since, "UTC"),
    )
    found = connect(home(data=data)).audit.page(sought, limit=limit).entries
    if as_json:
        say(json.dumps([seen.as_json() for seen in found]))
        return
    say("\n".join(map(_line, found)) or "nothing is recorded")


@audit.command()
def verify(
    expect: Annotated[
        str | None,
        typer.Option(metavar="SEQ:SHA256", help="A head that was noted before, to be found."),
    ] = None,
    data: Data = None,
) -> None:
    """Read the log through, and print its head: note it where nobody here can change it."""
    from meterport.bootstrap import connect
    from meterport.domain.audit import Head
    from meterport.services.verify_audit import verify_audit

    expected = None if expect is None else Head.read(expect)
    verdict = verify_audit(connect(home(data=data)).audit, expected=expected)
    say(f"head {verdict.head}")
    if verdict.fault is not None:
        say(f"NOT AS IT WAS WRITTEN: {verdict.fault}")
        raise typer.Exit(1)
    say(f"{verdict.head.seq:,} entries, all as they were written")


def _line(seen: "Seen") -> str:
    entry = seen.entry
    meters = seen.smart_meter_id or (f"{seen.meters:,} meters" if seen.meters else "-")
    who = f"{entry.owner}/{entry.key_id}" if entry.key_id else entry.owner
    given = "" if entry.size_bytes is None else f"{entry.size_bytes:,} bytes"
    rows = "" if entry.rows is None else f"{entry.rows:,} rows"
    more = "  ".join(each for each in (rows, given, entry.job_id or "", entry.details) if each)
    action = entry.action if entry.result == "done" else f"{entry.action} {entry.result}"
    return f"{entry.seq:>6}  {entry.at}  {action:<18}  {who:<22}  {meters:<16}  {more}"
