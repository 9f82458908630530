"""R19, keys: a key sees what is its own whatever happens, and a link may no more than its key.

The rules of exports_machine on a service that asks for keys, of two owners, and further ones for
keys, links and erasures. Full: 500 sequences of 50 steps.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from meterport.adapters import sql_erasures
from meterport.adapters.sql_keys import SqlKeys
from meterport.domain.access import Access, Key
from meterport.domain.jobs import Job, Phase
from meterport.domain.links import Link as StoredLink
from meterport.ports import JobStore
from meterport.services import find_job, share_export
from tests.chaos.exports_machine import (
    DRAWN,
    WISHES,
    Exports,
    id_in,
    refusal_in,
    run,
    template_in,
)
from tests.chaos.exports_model import Export, Real, Who, Wish
from tests.chaos.harness import Chaos, quiet_logs
from tests.chaos.keys_model import EVERY, KeyHolder, Link, RealKeys

pytestmark = pytest.mark.promise("R19, keys")

ERASABLE = ("124", "125")
MOST_KEYS = 8
NOBODYS = "6f1e9d3c-8a55-4c1b-9f0e-2b7c1d4e5a60"
WAYS = (
    ("GET", "/api/export/status/{}"),
    ("GET", "/api/export/download/{}"),
    ("GET", "/api/exports/{}"),
    ("DELETE", "/api/exports/{}"),
    ("POST", "/api/exports/{}/cancel"),
    ("POST", "/api/exports/{}/rerun"),
    ("GET", "/api/exports/{}/manifest"),
    ("GET", "/api/exports/{}/events"),
    ("GET", "/api/exports/{}/links"),
    ("POST", "/api/exports/{}/links"),
    ("DELETE", "/api/exports/{}/links/none"),
)
"""To ask for an export."""


class Keys(Exports):
    """`people` are the living keys. Each owner has at any time one for every meter."""

    real: RealKeys

    def __init__(self) -> None:
        super().__init__()
        new = self.real.new_key
        self.people = [new("acme", EVERY), new("acme", ("123", "124")), new("other", EVERY)]
        self.dead: list[KeyHolder] = []
        self.links: list[Link] = []

    def begun(self) -> Real:
        return RealKeys(self.template)

    def teardown(self) -> None:
        try:
            self._all_are_followed()
            self.chaos.count(links=len(self.links), keys=len(self.people) + len(self.dead))
        finally:
            super().teardown()

    @initialize(by=DRAWN, wish=WISHES)
    def begin(self, by: int, wish: Wish) -> None:
        """Besides, with an export that acme's smaller key does not see; and a link."""
        self.create(by=0, wish=Wish(("123", "125"), 1), rich=True)
        super().begin(by=by, wish=wish)
        self.work_all()
        self.make_link(n=0, by=by)

    # Keys.

    @precondition(lambda self: len(self.people) < MOST_KEYS)
    @rule(n=DRAWN, at_once=st.booleans())
    def rotate(self, n: int, at_once: bool) -> None:
        """`at_once`: the old one ends with it."""
        old = self._holder(n)
        self.people.append(self.real.rotate(old, overlap=timedelta(hours=0 if at_once else 1)))
        if at_once:
            self._ended(old)

    @rule(n=DRAWN)
    def revoke(self, n: int) -> None:
        """With a link of its own; its owner goes on with another key."""
        key = self._holder(n)
        self._link_by(key, self._finished(key, "123"))
        self.people.append(self.real.rotate(key, overlap=timedelta(hours=1)))
        self.real.revoke(key)
        self._ended(key)
        self._all_are_followed()
        self.a_dead_key_asks(n=0, m=len(self.dead) - 1, way=WAYS[0])

    @precondition(lambda self: self.dead)
    @rule(n=DRAWN, m=DRAWN, way=st.sampled_from(WAYS))
    def a_dead_key_asks(self, n: int, m: int, way: tuple[str, str]) -> None:
        key, (method, path) = self.dead[m % len(self.dead)], way
        answer = self.real.ask(key, method, path.format(self._any(n).id))
        assert refusal_in(answer) == (401, "UNAUTHENTICATED")

    @rule(n=DRAWN, way=st.sampled_from(WAYS))
    def whoever_sees_it_not_asks(self, n: int, way: tuple[str, str]) -> None:
        for export in (self._any(0), self._any(n)):
            for who in self.people:
                if not who.sees(export):
                    self._is_as_none(export, who, *way)

    def _is_as_none(self, export: Export, who: Who, method: str, path: str) -> None:
        """The answer is that of an export that there is not."""
        answer = self.real.ask(who, method, path.format(export.id))
        of_none = self.real.ask(who, method, path.format(NOBODYS))
        assert answer.status_code == of_none.status_code == 404, answer.text
        told, of_none_told = answer.json(), of_none.json()
        told.pop("request_id", None)
        of_none_told.pop("request_id", None)
        assert str(told).replace(export.id, NOBODYS) == str(of_none_told)

    @rule(n=DRAWN, wish=WISHES, rich=st.booleans())
    def whoever_may_not_creates(self, n: int, wish: Wish, rich: bool) -> None:
        those = [who for who in self.people if not who.may(wish)]
        if those:
            answer = self._post(those[n % len(those)], wish, rich=rich)
            assert refusal_in(answer) == (403, "FORBIDDEN")

    # Links.

    @rule(n=DRAWN, by=DRAWN)
    def make_link(self, n: int, by: int) -> None:
        export = self._any(n)
        maker = self._one_who_sees(export, by)
        assert isinstance(maker, KeyHolder)
        self._link_by(maker, export)

    def _link_by(self, maker: KeyHolder, export: Export) -> None:
        answer = self.real.ask(maker, "POST", f"/api/exports/{export.id}/links")
        if export.download_status == 200:
            assert answer.status_code == 201, answer.text
            self.links.append(Link(id_in(answer), answer.json()["url"], maker, export))
        else:
            assert answer.status_code == export.download_status

    @precondition(lambda self: self.links)
    @rule(n=DRAWN)
    def follow_link(self, n: int) -> None:
        self._is_followed(self._link(n))

    @precondition(lambda self: self.links)
    @rule(n=DRAWN, by=DRAWN)
    def revoke_link(self, n: int, by: int) -> None:
        """By whoever sees the export, and not only by the key that made it."""
        link = self._link(n)
        who = self._one_who_sees(link.export, by)
        answer = self.real.ask(who, "DELETE", f"/api/exports/{link.export.id}/links/{link.id}")
        assert answer.status_code == 204
        link.removed = True

    @precondition(lambda self: self.links)
    @rule(n=DRAWN)
    def link_expires(self, n: int) -> None:
        link = self._link(n)
        self.real.let_link_expire(link)
        link.expired = True

    @rule(n=DRAWN, by=DRAWN)
    def list_links(self, n: int, by: int) -> None:
        export = self._any(n)
        who = self._one_who_sees(export, by)
        items = self.real.ask(who, "GET", f"/api/exports/{export.id}/links").json()["items"]
        kept = [link.id for link in self.links if link.export is export and not link.removed]
        assert sorted(item["id"] for item in items) == sorted(kept)

    @rule(n=DRAWN)
    def delete(self, n: int) -> None:
        export = self._any(n)
        super().delete(n=n)
        if export.phase is Phase.EXPIRED:
            self._removed_with(export)

    @precondition(lambda self: self.known.intersection(ERASABLE))
    @rule(n=DRAWN)
    def erase(self, n: int) -> None:
        left = sorted(self.known.intersection(ERASABLE))
        meter = left[n % len(left)]
        key = next(key for key in map(self._holder, range(MOST_KEYS)) if key.meters == EVERY)
        self._link_by(key, self._finished(key, meter))
        self.real.erase(meter)
        self.known -= {meter}
        for export in self.exports.values():
            if meter in export.wish.meters:
                export.erased()
                self._removed_with(export)
        self._swept()
        self._all_are_followed()

    def _finished(self, key: KeyHolder, meter: str) -> Export:
        wish = Wish((meter,), 1)
        export = self._accepted(self._post(key, wish, rich=True), Export("", key.owner, wish))
        self.real.work(export.id)
        export.worked(self.real.most_crashes, self.known)
        return export

    def _all_are_followed(self) -> None:
        for link in self.links:
            self._is_followed(link)

    def _is_followed(self, link: Link) -> None:
        answer = self.real.follow(link)
        assert refusal_in(answer) == link.answer(self.people)
        if answer.status_code == 200:
            assert answer.content == link.export.wish.csv

    def _removed_with(self, export: Export) -> None:
        for link in self.links:
            link.removed |= link.export is export

    def _ended(self, key: KeyHolder) -> None:
        self.people.remove(key)
        self.dead.append(key)

    def _holder(self, n: int) -> KeyHolder:
        who = self.people[n % len(self.people)]
        assert isinstance(who, KeyHolder)
        return who

    def _link(self, n: int) -> Link:
        return self.links[n % len(self.links)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_logs():
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template_in(tmp_path_factory.mktemp("keys"))


@pytest.mark.timeout(3600)
def test_keys_and_links_are_what_the_model_says(chaos: Chaos, template: Path) -> None:
    run(chaos, template, sequences=chaos.size(4, full=500), machine=Keys)


def owners_are_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    def sees(access: Access, job: Job, jobs: JobStore) -> bool:
        return access.meters.lacks(jobs.meters(job)) is None

    patch.setattr(find_job, "sees", sees)


def one_of_its_meters_is_enough(patch: pytest.MonkeyPatch) -> None:
    def sees(access: Access, job: Job, jobs: JobStore) -> bool:
        return job.owner == access.owner and any(each in access.meters for each in jobs.meters(job))

    patch.setattr(find_job, "sees", sees)


def a_link_outlives_its_key(patch: pytest.MonkeyPatch) -> None:
    def access(link: StoredLink | None, key: Key | None, *rest: object) -> Access | None:
        return None if key is None else key.access

    patch.setattr(share_export, "_access", access)


def erasures_leave_links(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_erasures, "drop_links", lambda *arguments: None)


def a_revoked_key_lives_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SqlKeys, "revoke", lambda self, key_id: None)


@pytest.mark.parametrize(
    "spoil",
    [
        owners_are_not_asked_for,
        one_of_its_meters_is_enough,
        a_link_outlives_its_key,
        erasures_leave_links,
        a_revoked_key_lives_on,
    ],
)
def test_a_product_that_gives_away_more_is_caught(
    chaos: Chaos,
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
) -> None:
    broken = chaos.toothless(spoil.__name__)
    spoil(monkeypatch)

    with pytest.raises(AssertionError):
        run(broken, template, sequences=40, shrinks=False, machine=Keys)
