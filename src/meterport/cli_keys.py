"""`meterport keys`: who may use the API, and for which meters."""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterport.cli_base import Data, Json, home, say
from meterport.domain.period import iso_utc, to_the_second

if TYPE_CHECKING:
    from meterport.domain.access import Key
    from meterport.services.keys import NewKey

keys = typer.Typer(help="Keys of the API: made, listed, rotated, revoked.", no_args_is_help=True)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LONGEST_DAYS = 36_500


@keys.command()
def create(
    meters: Annotated[
        list[str],
        typer.Option("--meters", help="Ids, or what ids begin with and *; commas between them."),
    ],
    scopes: Annotated[
        list[str], typer.Option("--scopes", help="read, export, import, metrics, admin.")
    ],
    owner: Annotated[
        str | None,
        typer.Option(help="Whose exports these are; keys with one owner see the same ones."),
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, max=LONGEST_DAYS, help="Days that it is valid.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key, and print it this once."""
    from meterport.bootstrap import prepare
    from meterport.services.keys import create_key

    services = prepare(home(data=data))
    made = create_key(
        scopes=_words(scopes),
        meters=_words(meters),
        keys=services.keys,
        audit=services.audit,
        now=datetime.now(UTC),
        owner=owner,
        valid_for=None if expires_days is None else expires_days * DAY,
    )
    _print_new(made, as_json=as_json)


@keys.command("list")
def list_(data: Data = None, as_json: Json = False) -> None:
    """List the keys, those that are of no use any more too. None can be shown again."""
    from meterport.bootstrap import connect

    now = datetime.now(UTC)
    told = [_as_dict(key, now) for key in connect(home(data=data)).keys.all()]
    if as_json:
        say(json.dumps(told))
        return
    say("\n".join(map(_line, told)) or "no keys yet; `meterport keys create` makes one")


@keys.command()
def rotate(
    key_id: str,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=8760, help="Hours that the old key is valid yet.")
    ] = 24.0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make another key in place of one, and let the old one end soon."""
    from meterport.bootstrap import connect
    from meterport.services.keys import rotate_key

    services = connect(home(data=data))
    made = rotate_key(
        key_id,
        keys=services.keys,
        audit=services.audit,
        now=datetime.now(UTC),
        overlap=overlap_hours * HOUR,
    )
    _print_new(made, as_json=as_json)


@keys.command()
def revoke(key_id: str, data: Data = None) -> None:
    """Let a key be of no use from now on, and its links."""
    from meterport.bootstrap import connect
    from meterport.services.keys import revoke_key

    services = connect(home(data=data))
    revoke_key(key_id, keys=services.keys, audit=services.audit)
    say(f"{key_id} is revoked")


def _print_new(made: "NewKey", *, as_json: bool) -> None:
    told = _as_dict(made.key, made.key.created_at)
    if as_json:
        say(json.dumps({"key": made.text, **told}))
        return
    say(made.text)
    sys.stderr.write(f"{_line(told)}\nThe key is shown this once; keep it like a password.\n")


def _as_dict(key: "Key", now: datetime) -> dict[str, object]:
    state = "revoked" if key.revoked_at else "alive" if key.is_alive(now) else "expired"
    return {
        "id": key.id,
        "state": state,
        "owner": key.owner,
        "scopes": sorted(key.scopes),
        "meters": list(key.meters.patterns),
        "created_at": iso_utc(to_the_second(key.created_at)),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
    }


def _line(told: Mapping[str, Any]) -> str:
    scopes, meters = ",".join(told["scopes"]), ",".join(told["meters"])
    end = f"until {told['expires_at']}" if told["expires_at"] else "no end"
    used = told["last_used_at"] or "never"
    return (
        f"{told['id']}  {told['state']:<7}  {told['owner']:<12}  {scopes:<20}  {meters:<20}  "
        f"{end}  used {used}"
    )


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else iso_utc(to_the_second(instant))


def _words(given: Iterable[str]) -> list[str]:
    words = (word.strip() for each in given for word in each.split(","))
    return [word for word in words if word]
