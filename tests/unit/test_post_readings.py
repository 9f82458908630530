"""POST /api/readings: a file as a body is imported whole, or refused with what is wrong."""

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import polars as pl
import pytest
from anyio import to_thread
from starlette.testclient import TestClient

from meterport.domain.access import Access
from meterport.domain.errors import ImportBusy, StorageFull
from meterport.services.import_options import Said
from meterport.services.receive_readings import LONGEST_MESSAGE, receive_readings, shortened
from meterport.web.app import create_app
from meterport.web.readings import AT_ONCE, Inbox
from tests import make
from tests.answers import assert_refused

CSV = """\
timestamp,smart_meter_id,interval_s,energy_kwh
2024-01-01T00:00:00Z,123,900,0.5
2024-01-01T00:15:00Z,123,900,0.6
"""
NDJSON = '{"timestamp": "2024-01-01T00:00:00Z", "smart_meter_id": "1", "energy_kwh": 1}\n'
NEM12 = f"""\
100,NEM12,202401020000,MDP1,RETAILER
200,NEM1201009,E1,E1,E1,,METER1,KWH,30,
300,20240101,{",".join(["0.25"] * 48)},A,,,20240102000000,
900
"""


@pytest.fixture
def client(home: make.Home) -> Iterator[TestClient]:
    """It imports in this process, which costs less; see tests/e2e/test_sent_readings.py."""
    s = home.services

    async def run(path: Path, said: Said, access: Access) -> dict[str, object]:
        importing = partial(
            receive_readings,
            path,
            said,
            access,
            source=s.source,
            store=s.readings,
            catalog=s.catalog,
            audit=s.audit,
        )
        return await to_thread.run_sync(importing)

    app = create_app(s, home.settings)
    app.state.inbox = Inbox(run)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def post(
    client: TestClient, body: str | bytes = CSV, kind: str = "text/csv", query: str = ""
) -> httpx2.Response:
    return client.post(f"/api/readings?{query}", content=body, headers={"Content-Type": kind})


def stored(home: make.Home, meter: str = "123") -> list[float | None]:
    frames = home.services.source.scan(
        [meter], make.period(minutes=100_000), columns=["energy_kwh"]
    )
    return [kwh for frame in frames for kwh in frame["energy_kwh"]]


def left_behind(home: make.Home) -> list[Path]:
    return list((home.settings.data / "uploads").glob("*"))


def test_a_csv_file_becomes_readings(client: TestClient, home: make.Home) -> None:
    answer = post(client)

    assert answer.status_code == 200
    assert answer.json() == {
        "files": [
            {
                "path": "body",
                "rows": 2,
                "rows_read": 2,
                "read_as": {},
                "ignored_columns": [],
                "missing_columns": [
                    *("power_kw", "voltage_v", "current_a", "energy_export_kwh", "quality")
                ],
                "unknown_register_steps": 0,
                "passed_over": {},
                "rows_refused": 0,
                "refused": [],
            }
        ],
        "rows_new": 2,
        "rows_replaced": 0,
        "rows_duplicate": 0,
        "rows_overlapped": 0,
        "meters": 1,
        "version": 1,
        "derived_intervals": {},
    }
    assert stored(home) == [0.5, 0.6]
    assert left_behind(home) == []


def test_the_same_file_again_changes_nothing(client: TestClient, home: make.Home) -> None:
    post(client)

    answer = post(client)

    assert (answer.json()["rows_new"], answer.json()["rows_replaced"]) == (0, 2)
    assert stored(home) == [0.5, 0.6]


def parquet() -> bytes:
    sink = io.BytesIO()
    make.readings(1, meter="1").write_parquet(sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        (CSV, "Text/CSV; charset=utf-8", ""),
        (NDJSON, "application/x-ndjson", "interval=900"),
        (NDJSON, "application/octet-stream", "format=ndjson&interval=900"),
        (parquet(), "application/vnd.apache.parquet", ""),
        (NEM12, "text/csv", ""),
        (NEM12, "", "format=nem12"),
    ],
)
def test_the_format_is_told_by_type_name_or_beginning(
    client: TestClient, body: str | bytes, kind: str, query: str
) -> None:
    answer = post(client, body, kind, query)

    assert answer.status_code == 200, answer.text
    assert answer.json()["rows_new"] > 0


def test_green_button_comes_back_as_it_went(client: TestClient, home: make.Home) -> None:
    home.load(make.readings(1, 2, interval_s=900))
    exported = client.post("/api/export/csv", json=make.body(format="xml")).json()["job_id"]
    home.work()
    feed = client.get(f"/api/export/download/{exported}").content

    answer = post(client, feed, "application/atom+xml")

    assert answer.json()["rows_replaced"] == 2
    assert stored(home) == [1, 2]


def test_options_are_those_of_the_command(client: TestClient, home: make.Home) -> None:
    body = "when;usage;comment\n01.02.2024 00:00;1500,5;a\n01.02.2024 01:00;2500;-\nsum;;\n"
    query = (
        "map=timestamp=when&map=energy_kwh=usage:Wh&meter=5&timezone=Europe/Berlin"
        "&date_format=dmy&decimal=,&delimiter=;&interval=3600&skip_bad_rows=true"
    )

    answer = post(client, body, "text/csv", query)

    (file,) = answer.json()["files"]
    assert answer.status_code == 200
    assert file["ignored_columns"] == ["comment"]
    assert (file["rows"], file["rows_refused"]) == (2, 1)
    assert file["refused"][0]["line"] == 4
    assert stored(home, "5") == [1.5005, 2.5]


def test_bad_rows_are_named_by_their_lines(client: TestClient, home: make.Home) -> None:
    answer = post(client, f"{CSV}2024-01-01T00:30:00Z,123,900,much\n")

    assert_refused(answer, 422, "IMPORT_REFUSED")
    assert answer.json()["message"].startswith("nothing was imported; bad rows:\nbody: line 4: ")
    assert stored(home) == []
    assert left_behind(home) == []


def test_a_refusal_stays_small_whatever_is_bad(client: TestClient) -> None:
    bad = f"2024-01-01T00:00:00Z,{'é' * 500},900,1\n" * 50
    header = ",".join(f"{'é' * 50}{n}" for n in range(200))

    assert_refused(post(client, CSV + bad), 422, "IMPORT_REFUSED")
    assert_refused(post(client, f"{header}\n1\n"), 422, "IMPORT_REFUSED")


def test_a_long_message_keeps_its_first_lines() -> None:
    lines = [f"line {n}: {'x' * 90}" for n in range(50)]

    short = shortened("\n".join(lines))

    assert short.split("\n")[:2] == lines[:2]
    assert short.endswith("\n…")
    assert len(short) <= LONGEST_MESSAGE
    assert shortened("as it is\nhere") == "as it is\nhere"
    assert len(shortened("\x00" * 10_000)) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("map=energy=usage", "IMPORT_REFUSED", "map: 'energy' is no column of ours; "),
        ("date_format=us", "IMPORT_REFUSED", "date_format 'us' is not known; "),
        ("timezone=Mars", "IMPORT_REFUSED", "timezone 'Mars' is unknown; "),
        ("meter=%3D1", "INVALID_SMART_METER_ID", "smart_meter_id must be "),
        ("interval=0", "INVALID_REQUEST", "interval must be a whole number from 1 to 2678400"),
        ("header_line=x", "INVALID_REQUEST", "header_line must be a whole number from 0 "),
        ("skip_bad_rows=1", "INVALID_REQUEST", "skip_bad_rows must be true or false, not '1'"),
        (
            "delimeter=;",
            "INVALID_REQUEST",
            "unknown parameter 'delimeter'; did you mean ",
        ),
        ("meter=1&meter=2", "INVALID_REQUEST", "the parameter meter comes twice"),
        ("format=xls", "UNSUPPORTED_FORMAT", "format 'xls' is not supported; "),
    ],
)
def test_words_that_cannot_be_meant_are_refused(
    client: TestClient, query: str, code: str, said: str
) -> None:
    answer = post(client, query=query)

    assert_refused(answer, 422, code)
    assert answer.json()["message"].startswith(said)


def test_an_option_without_a_meaning_is_named_as_the_query_has_it(client: TestClient) -> None:
    answer = post(client, NEM12, query="skip_bad_rows=true")

    assert_refused(answer, 422, "IMPORT_REFUSED")
    assert answer.json()["message"].endswith("leave skip_bad_rows out")


@pytest.mark.parametrize("kind", ["", "application/pdf", "application/json"])
def test_a_type_that_is_none_is_told_with_those_that_are(client: TestClient, kind: str) -> None:
    answer = post(client, kind=kind)

    assert_refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "Content-Type: text/csv" in answer.json()["message"]


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}

    answer = client.post("/api/readings", content=b"\x1f\x8b", headers=headers)

    assert_refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("body", ["", "\x00", "a", "\n" * 100, '"', "<feed/>"])
@pytest.mark.parametrize(
    "kind", ["text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "text/xml"]
)
def test_what_is_no_such_file_is_refused(
    client: TestClient, home: make.Home, body: str, kind: str
) -> None:
    assert_refused(post(client, body, kind), 422, "IMPORT_REFUSED")
    assert left_behind(home) == []


def test_while_others_write_it_may_be_tried_again(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(**_: object) -> None:
        raise ImportBusy("another process writes readings; try again when it is done")

    monkeypatch.setattr(home.services.catalog, "writing", busy)

    answer = post(client)

    assert_refused(answer, 409, "IMPORT_BUSY")
    assert answer.headers["Retry-After"] == "5"


def test_more_files_than_there_is_place_for_may_be_tried_again(client: TestClient) -> None:
    inbox = client.app.state.inbox  # type: ignore[attr-defined]
    places = [inbox.place() for _ in range(AT_ONCE)]
    for place in places:
        place.__enter__()

    assert_refused(post(client), 409, "IMPORT_BUSY")

    places[0].__exit__(None, None, None)
    assert post(client).status_code == 200


def test_only_get_is_refused_by_its_method(client: TestClient) -> None:
    assert_refused(client.get("/api/readings"), 405, "METHOD_NOT_ALLOWED")


def test_when_the_disk_is_full_nothing_stays(
    client: TestClient, home: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise StorageFull("There is too little space left on the disk")

    monkeypatch.setattr(home.services.space, "check", full)

    assert_refused(post(client), 507, "STORAGE_FULL")
    assert left_behind(home) == []


def test_many_blocks_are_one_file(client: TestClient, home: make.Home) -> None:
    frame = make.many_readings(60_000)

    answer = post(client, make.csv_bytes([frame]))

    assert answer.json()["rows_new"] == 60_000
    assert stored(home) == frame["energy_kwh"].to_list()


def test_a_null_is_stored_as_missing(client: TestClient, home: make.Home) -> None:
    post(client, CSV.replace("0.5", ""))

    assert stored(home) == [None, 0.6]
    assert pl.Series(stored(home)).null_count() == 1
