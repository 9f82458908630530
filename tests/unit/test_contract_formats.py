"""Formats and compressions through the contract's own three endpoints."""

import gzip
import io
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2
import polars as pl
import pytest
import zstandard
from starlette.testclient import TestClient

from meterport.adapters.sql_database import Database
from meterport.adapters.sql_tables import idempotency_keys
from meterport.domain.options import AUTO_BYTES
from tests import make
from tests.answers import assert_refused

CSV = make.csv_lines(
    "2024-01-01T00:00:00Z,123,0.5,2.1,230.1,9.1",
    "2024-01-01T00:01:00Z,123,,2.1,230.1,9.1",
).encode()
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LIMIT = "meterport.encoders.compression.AUTO_BYTES"
KEY = {"Idempotency-Key": "order-7"}
OF_AN_EARLIER_RELEASE = "af94e99b85db39c9600490f3232f38ceef0fa7ed85e75d95f40b86f6a3c8fb5b"


@pytest.fixture
def metered(home: make.Home) -> make.Home:
    """With two minutes of a meter, of which one has no energy."""
    home.load(make.readings(0.5, None))
    return home


def downloaded(client: TestClient, home: make.Home, **changes: object) -> httpx2.Response:
    """The file of a request that has been accepted and worked on."""
    accepted = client.post("/api/export/csv", json=make.body(**changes))
    assert accepted.status_code == 202, accepted.text
    home.work()
    return client.get(f"/api/export/download/{accepted.json()['job_id']}")


def said_of_it(answer: httpx2.Response) -> tuple[str, str]:
    """Content type and file name."""
    assert answer.status_code == 200, answer.text
    attached, _, name = answer.headers["Content-Disposition"].partition("; filename=")
    assert attached == "attachment"
    return answer.headers["Content-Type"], name.strip('"')


@pytest.mark.parametrize(
    ("format_", "media_type", "extension", "begins"),
    [
        ("csv", "text/csv; charset=utf-8", "csv", b"timestamp,smart_meter_id,energy_kwh"),
        ("json", "application/json", "json", b'{"export": {"meters": ["123"]'),
        ("ndjson", "application/x-ndjson", "ndjson", b'{"timestamp":"2024-01-01T00:00:00Z"'),
        ("xml", "application/atom+xml; charset=utf-8", "xml", b"<?xml "),
        ("nem12", "text/csv; charset=utf-8", "nem12.csv", b"100,NEM12,"),
        ("parquet", "application/vnd.apache.parquet", "parquet", b"PAR1"),
        ("xlsx", SHEET, "xlsx", b"PK\x03\x04"),
    ],
)
def test_every_format_comes_with_its_type_and_name(
    client: TestClient,
    home: make.Home,
    format_: str,
    media_type: str,
    extension: str,
    begins: bytes,
) -> None:
    # Of 15 minutes, the shortest that NEM12 knows to its day.
    home.load(make.readings(*[0.5] * 96, interval_s=900, start=datetime(2024, 1, 1, tzinfo=UTC)))

    answer = downloaded(client, home, format=format_)

    assert said_of_it(answer) == (media_type, f"smart_meter_123_20240101_20240131.{extension}")
    assert answer.content.startswith(begins)


@pytest.mark.parametrize(
    ("compression", "media_type", "ending", "unpacked"),
    [
        ("none", "text/csv; charset=utf-8", "", bytes),
        ("gzip", "application/gzip", ".gz", gzip.decompress),
        (
            "zstd",
            "application/zstd",
            ".zst",
            zstandard.ZstdDecompressor().decompressobj().decompress,
        ),
    ],
)
def test_every_compression_comes_with_its_type_and_name_and_the_contracts_bytes(
    client: TestClient,
    metered: make.Home,
    compression: str,
    media_type: str,
    ending: str,
    unpacked: Callable[[bytes], bytes],
) -> None:
    answer = downloaded(client, metered, compression=compression)

    assert said_of_it(answer) == (media_type, f"smart_meter_123_20240101_20240131.csv{ending}")
    assert unpacked(answer.content) == CSV
    # The file is compressed, and not the answer: no client unpacks it on the way.
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("format_", "compression", "name"),
    [
        ("json", "gzip", "smart_meter_123_20240101_20240131.json.gz"),
        ("ndjson", "zstd", "smart_meter_123_20240101_20240131.ndjson.zst"),
        ("xml", "gzip", "smart_meter_123_20240101_20240131.xml.gz"),
        ("parquet", "zstd", "smart_meter_123_20240101_20240131.parquet.zst"),
    ],
)
def test_any_format_may_be_compressed(
    client: TestClient, metered: make.Home, format_: str, compression: str, name: str
) -> None:
    plain = downloaded(client, metered, format=format_)

    answer = downloaded(client, metered, format=format_, compression=compression)

    assert said_of_it(answer)[1] == name
    unpack = gzip.decompress if compression == "gzip" else _zstd
    assert unpack(answer.content) == plain.content


def test_the_status_tells_the_name_and_size_of_the_compressed_file(
    client: TestClient, metered: make.Home
) -> None:
    body = make.body(format="json", compression="gzip")
    job_id = client.post("/api/export/csv", json=body).json()["job_id"]
    metered.work()

    told = client.get(f"/api/export/status/{job_id}").json()["file_info"]

    file = client.get(f"/api/export/download/{job_id}").content
    assert told["filename"] == "smart_meter_123_20240101_20240131.json.gz"
    assert told["file_size_bytes"] == len(file)
    assert told["record_count"] == 2


def test_what_is_read_back_from_other_formats_are_the_same_rows(
    client: TestClient, metered: make.Home
) -> None:
    as_json = downloaded(client, metered, format="json").json()["readings"]
    as_parquet = pl.read_parquet(io.BytesIO(downloaded(client, metered, format="parquet").content))

    assert as_json == [
        {
            "timestamp": "2024-01-01T00:00:00Z",
            "smart_meter_id": "123",
            "energy_kwh": 0.5,
            "power_kw": 2.1,
            "voltage_v": 230.1,
            "current_a": 9.1,
        },
        {
            "timestamp": "2024-01-01T00:01:00Z",
            "smart_meter_id": "123",
            "energy_kwh": None,
            "power_kw": 2.1,
            "voltage_v": 230.1,
            "current_a": 9.1,
        },
    ]
    assert as_parquet["energy_kwh"].to_list() == [0.5, None]
    assert as_parquet["timestamp"].to_list() == [
        datetime(2024, 1, 1, 0, 0, tzinfo=UTC),
        datetime(2024, 1, 1, 0, 1, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("bytes_of_none", "media_type", "ending"),
    [(2 * 57, "text/csv; charset=utf-8", ""), (2 * 57 - 1, "application/gzip", ".gz")],
)
def test_auto_compresses_what_would_else_be_larger_than_the_limit(
    client: TestClient,
    metered: make.Home,
    monkeypatch: pytest.MonkeyPatch,
    bytes_of_none: int,
    media_type: str,
    ending: str,
) -> None:
    # Two rows of a CSV are reckoned with 57 bytes each.
    monkeypatch.setattr(LIMIT, bytes_of_none)

    answer = downloaded(client, metered, compression="auto")

    assert said_of_it(answer) == (media_type, f"smart_meter_123_20240101_20240131.csv{ending}")
    assert (gzip.decompress(answer.content) if ending else answer.content) == CSV


@pytest.mark.parametrize("format_", ["parquet", "xlsx"])
def test_auto_leaves_alone_what_compresses_itself(
    client: TestClient, metered: make.Home, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    monkeypatch.setattr(LIMIT, 0)

    answer = downloaded(client, metered, format=format_, compression="auto")

    assert said_of_it(answer)[1] == f"smart_meter_123_20240101_20240131.{format_}"


def test_the_limit_of_auto_is_sixteen_megabytes() -> None:
    assert AUTO_BYTES == 16_000_000


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"format": "doc"},
            "UNSUPPORTED_FORMAT",
            "format 'doc' is not supported; known: csv, json, ndjson, xml, nem12, parquet, xlsx",
        ),
        (
            {"compression": "rar"},
            "UNSUPPORTED_COMPRESSION",
            "compression 'rar' is not known; known: none, gzip, zstd, auto",
        ),
        (
            {"compression": "GZIP"},
            "UNSUPPORTED_COMPRESSION",
            "compression 'GZIP' is not known; did you mean gzip? known: none, gzip, zstd, auto",
        ),
    ],
)
def test_an_unknown_word_is_told_those_that_are_known(
    client: TestClient, changes: dict[str, object], code: str, message: str
) -> None:
    answer = client.post("/api/export/csv", json=make.body(**changes))

    assert_refused(answer, 422, code)
    assert answer.json()["message"] == message


def test_a_compression_of_null_is_no_word(client: TestClient) -> None:
    answer = client.post("/api/export/csv", json=make.body() | {"compression": None})

    assert_refused(answer, 422, "UNSUPPORTED_COMPRESSION")


def test_options_of_the_other_tier_are_passed_over(client: TestClient, metered: make.Home) -> None:
    answer = downloaded(
        client, metered, resolution="1h", csv={"delimiter": ";"}, columns=["timestamp"]
    )

    assert answer.content == CSV


@pytest.mark.parametrize("changes", [{"format": "json"}, {"compression": "gzip"}])
def test_a_key_that_came_with_another_format_or_compression_is_refused(
    client: TestClient, changes: dict[str, object]
) -> None:
    client.post("/api/export/csv", json=make.body(), headers=KEY)

    answer = client.post("/api/export/csv", json=make.body(**changes), headers=KEY)

    assert_refused(answer, 422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("changes", [{}, {"format": "csv"}, {"compression": "none"}])
def test_what_goes_without_saying_makes_no_other_request(
    client: TestClient, changes: dict[str, object]
) -> None:
    first = client.post("/api/export/csv", json=make.body(format=None), headers=KEY)

    again = client.post("/api/export/csv", json=make.body(**changes), headers=KEY)

    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_request_with_auto_is_the_same_one_after_the_job_has_chosen(
    client: TestClient, metered: make.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMIT, 0)
    first = client.post("/api/export/csv", json=make.body(compression="auto"), headers=KEY)
    metered.work()

    again = client.post("/api/export/csv", json=make.body(compression="auto"), headers=KEY)
    as_chosen = client.post("/api/export/csv", json=make.body(compression="gzip"), headers=KEY)

    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert_refused(as_chosen, 422, "IDEMPOTENCY_KEY_REUSED")


def test_a_key_that_an_earlier_release_remembered_still_knows_its_request(
    client: TestClient, home: make.Home
) -> None:
    first = client.post("/api/export/csv", json=make.body(), headers=KEY)
    _remember(home, OF_AN_EARLIER_RELEASE)

    again = client.post("/api/export/csv", json=make.body(), headers=KEY)

    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"


def _remember(home: make.Home, digest: str) -> None:
    """Of the one key that there is."""
    with Database(home.settings.jobs_url).write() as connection:
        connection.execute(idempotency_keys.update().values(request_sha256=digest))


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
