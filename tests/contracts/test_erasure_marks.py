"""How those who send readings notice an erasure, over every database."""

from dataclasses import dataclass

import pytest

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_erasures import SqlErasures
from tests.contracts.conftest import wait_until


@dataclass
class Marks:
    """Each mark that was seen, in order."""

    erasures: SqlErasures

    def __post_init__(self) -> None:
        self.seen = [self.erasures.mark()]

    def changed(self) -> bool:
        self.seen.append(self.erasures.mark())
        return self.seen[-1] != self.seen[-2]


@pytest.fixture
def erasures(database: Database) -> SqlErasures:
    return SqlErasures(database)


def test_the_mark_changes_when_an_erasure_begins_and_when_it_ends(erasures: SqlErasures) -> None:
    marks = Marks(erasures)
    assert not marks.changed()

    for meter in ("A", "B", "A"):
        erasures.begin(meter)
        assert marks.changed()
        erasures.begin(meter, version=3)
        assert not marks.changed()
        erasures.finish(meter)
        assert marks.changed()
    assert not marks.changed()


def test_a_meter_is_told_to_be_under_way_until_it_is_done(erasures: SqlErasures) -> None:
    assert erasures.state("A") == (None, None)

    erasures.begin("A")
    asked, finished = erasures.state("A")
    assert asked is not None
    assert finished is None

    erasures.finish("A")
    again, finished = erasures.state("A")
    assert again == asked
    assert finished is not None
    assert erasures.state("B") == (None, None)


def test_another_erasure_of_the_meter_is_another_state(erasures: SqlErasures) -> None:
    erasures.begin("A")
    erasures.finish("A")
    first = erasures.state("A")

    def is_another() -> bool:
        erasures.begin("A")
        erasures.finish("A")
        return erasures.state("A") != first

    assert wait_until(is_another)
