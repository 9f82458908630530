"""The keys table. The secret's digest is all that there is of a secret."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, func, insert, or_, select, update

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import api_keys
from meterport.domain.access import Key, Meters, Scope

USED_TO = timedelta(minutes=1)
"""So that a client that asks every second costs one write a minute."""


def is_among(smart_meter_id: ColumnElement[str], meters: Meters) -> ColumnElement[bool]:
    """Not by LIKE, which passes over capital letters on SQLite.

    All beginnings of one length at a time: SQLite takes no chain of some hundred conditions.
    """
    begin = (
        func.substr(smart_meter_id, 1, length).in_(list(prefixes))
        for length, prefixes in groupby(sorted(meters.prefixes, key=len), key=len)
    )
    return or_(smart_meter_id.in_(sorted(meters.ids)), *begin)


class SqlKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: Key, *, secret_sha256: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                insert(api_keys).values(
                    id=key.id,
                    owner=key.owner,
                    secret_sha256=secret_sha256,
                    scopes=json.dumps(sorted(key.scopes)),
                    meters=json.dumps(key.meters.patterns),
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                )
            )

    def find(self, key_id: str) -> tuple[Key, str] | None:
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
        return None if row is None else (_key(row), row.secret_sha256)

    def all(self) -> Sequence[Key]:
        in_order = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(in_order)]

    def end(self, key_id: str, *, at: datetime) -> None:
        later = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > at)
        with self._database.write() as connection:
            connection.execute(
                update(api_keys).where(api_keys.c.id == key_id, later).values(expires_at=at)
            )

    def revoke(self, key_id: str) -> None:
        alive = api_keys.c.revoked_at.is_(None)
        with self._database.write() as connection:
            connection.execute(
                update(api_keys).where(api_keys.c.id == key_id, alive).values(revoked_at=db_now())
            )

    def used(self, key_id: str) -> None:
        this = api_keys.c.id == key_id
        known = func.coalesce(api_keys.c.last_used_at > db_now(-USED_TO), False)
        with self._database.read() as connection:
            if connection.execute(select(known).where(this)).scalar():
                return
        with self._database.write() as connection:
            connection.execute(update(api_keys).where(this, ~known).values(last_used_at=db_now()))


def _key(row: Any) -> Key:
    return Key(
        id=row.id,
        owner=row.owner,
        scopes=frozenset(Scope(word) for word in json.loads(row.scopes)),
        meters=Meters(tuple(json.loads(row.meters))),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
