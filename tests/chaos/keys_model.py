"""Keys and links as a simple model has them, beside the real ones; see exports_model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from httpx2 import Response

from meterport.adapters.sql_tables import links
from meterport.bootstrap import erase
from meterport.domain.jobs import Phase
from meterport.services.keys import NewKey, create_key, revoke_key, rotate_key
from tests.chaos.exports_model import ANYBODY, LONG_AGO, Export, Real, Who, Wish

EVERY = ("*",)
UNLIMITED: Mapping[str, object] = {"creates_per_minute": 0, "max_active_exports": 0}


@dataclass(frozen=True)
class KeyHolder(Who):
    """One key of its owner, who may have several."""

    id: str = ""
    text: str = ""
    meters: tuple[str, ...] = EVERY

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    def may(self, wish: Wish) -> bool:
        return self.meters == EVERY or set(wish.meters) <= set(self.meters)


@dataclass
class Link:
    """`removed`: it was revoked, or its export's file was taken away."""

    id: str
    url: str
    maker: KeyHolder
    export: Export
    expired: bool = False
    removed: bool = False

    def answer(self, living: Sequence[Who]) -> tuple[int, str]:
        """The status of a download by it, and the code if it is refused."""
        if self.removed or self.maker not in living:
            return 404, "LINK_INVALID"
        if self.expired:
            return 410, "LINK_EXPIRED"
        return (200, "") if self.export.phase is Phase.COMPLETED else (410, "EXPORT_EXPIRED")


class RealKeys(Real):
    """The service as it asks for keys."""

    def __init__(self, template: Path) -> None:
        super().__init__(template, auth="keys", **UNLIMITED)

    def new_key(self, owner: str, meters: tuple[str, ...]) -> KeyHolder:
        made = create_key(
            scopes=("read", "export"),
            meters=meters,
            keys=self.services.keys,
            audit=self.services.audit,
            now=datetime.now(UTC),
            owner=owner,
        )
        return _holder(made)

    def rotate(self, key: KeyHolder, *, overlap: timedelta) -> KeyHolder:
        s = self.services
        now = datetime.now(UTC)
        return _holder(rotate_key(key.id, keys=s.keys, audit=s.audit, now=now, overlap=overlap))

    def revoke(self, key: KeyHolder) -> None:
        revoke_key(key.id, keys=self.services.keys, audit=self.services.audit)

    def follow(self, link: Link) -> Response:
        return self.ask(ANYBODY, "GET", link.url)

    def let_link_expire(self, link: Link) -> None:
        self._set(links, link.id, expires_at=LONG_AGO)

    def erase(self, smart_meter_id: str) -> None:
        erase(self.services, smart_meter_id)


def _holder(made: NewKey) -> KeyHolder:
    return KeyHolder(made.key.owner, made.key.id, made.text, made.key.meters.patterns)
