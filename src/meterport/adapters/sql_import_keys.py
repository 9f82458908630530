"""The import_keys table: who imports what came under a key, and the report of it."""

import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from meterport.adapters.sql_database import Database, db_now
from meterport.adapters.sql_tables import erasures, import_keys
from meterport.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from meterport.domain.idempotency import WINDOW, ImportClaim

CLAIMED, DONE = "claimed", "done"
LEASE = timedelta(seconds=15)

is_spent = import_keys.c.created_at <= db_now(-WINDOW)


class SqlImportKeys:
    def __init__(self, database: Database, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease

    def claim(
        self, *, owner: str, key: str, request_sha256: str
    ) -> ImportClaim | Mapping[str, object]:
        try:
            return self._claim(owner, key, request_sha256)
        except IntegrityError:
            # Another request with this key committed between our look and our insert.
            return self._claim(owner, key, request_sha256)

    def _claim(
        self, owner: str, key: str, request_sha256: str
    ) -> ImportClaim | Mapping[str, object]:
        same = and_(import_keys.c.owner == owner, import_keys.c.key == key)
        claim = ImportClaim(owner, key, uuid.uuid4().hex)
        with self._database.write() as connection:
            connection.execute(delete(import_keys).where(same, is_spent))
            row = connection.execute(_seen().where(same).with_for_update()).first()
            if row is None:
                named = {"owner": owner, "key": key, "request_sha256": request_sha256}
                begun = {"created_at": db_now(), **self._held_by(claim)}
                connection.execute(insert(import_keys).values(**named, **begun))
                return claim
            report = _judged(row, request_sha256)
            if report is None:
                connection.execute(update(import_keys).where(same).values(**self._held_by(claim)))
            return claim if report is None else report

    def renew(self, claim: ImportClaim) -> None:
        with self._database.write() as connection:
            connection.execute(
                update(import_keys).where(_mine(claim)).values(lease_until=db_now(self._lease))
            )

    def finish(self, claim: ImportClaim, report: Mapping[str, object]) -> None:
        with self._database.write() as connection:
            kept = _without_quotes(report) if _is_erased_since(connection, claim) else report
            connection.execute(
                update(import_keys)
                .where(_mine(claim))
                .values(state=DONE, report=json.dumps(kept), holder=None, lease_until=None)
            )

    def release(self, claim: ImportClaim) -> None:
        with self._database.write() as connection:
            connection.execute(delete(import_keys).where(_mine(claim)))

    def _held_by(self, claim: ImportClaim) -> dict[str, Any]:
        return {"state": CLAIMED, "holder": claim.holder, "lease_until": db_now(self._lease)}


def forget_quotes(connection: Connection) -> None:
    """Of the reports that are kept: why a row was refused may tell of a meter, and of its days."""
    done = select(import_keys.c.owner, import_keys.c.key, import_keys.c.report)
    for row in connection.execute(done.where(import_keys.c.report.is_not(None))).all():
        connection.execute(
            update(import_keys)
            .where(import_keys.c.owner == row.owner, import_keys.c.key == row.key)
            .values(report=json.dumps(_without_quotes(json.loads(row.report))))
        )


def _is_erased_since(connection: Connection, claim: ImportClaim) -> bool:
    """Whether a meter was while that was imported: its erasure has not seen this report."""
    later = exists().where(erasures.c.requested_at >= import_keys.c.created_at)
    return bool(connection.execute(select(later).where(_mine(claim))).scalar())


def _without_quotes(report: Mapping[str, Any]) -> dict[str, Any]:
    return {**report, "files": [file | {"refused": []} for file in report["files"]]}


def drop_claims(connection: Connection) -> None:
    """Of a restored database: whoever held them does so elsewhere."""
    connection.execute(delete(import_keys).where(import_keys.c.state == CLAIMED))


def _seen() -> Any:
    return select(import_keys, (import_keys.c.lease_until > db_now()).label("is_held"))


def _judged(row: Any, request_sha256: str) -> Mapping[str, object] | None:
    """The report; None: whoever held the claim has lost it."""
    if row.request_sha256 != request_sha256:
        raise IdempotencyKeyReused(
            "this Idempotency-Key came with another file, or other parameters, within 24 hours; "
            "use a new key"
        )
    if row.state == DONE:
        report: dict[str, object] = json.loads(row.report)
        return report
    if row.is_held:
        raise IdempotencyKeyInUse(
            "a request with this Idempotency-Key is being worked on; try again soon"
        )
    return None


def _mine(claim: ImportClaim) -> ColumnElement[bool]:
    return and_(
        import_keys.c.owner == claim.owner,
        import_keys.c.key == claim.key,
        import_keys.c.holder == claim.holder,
    )
