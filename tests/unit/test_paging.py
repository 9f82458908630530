"""Pages of lists, and what is not known of a request."""

from collections.abc import Mapping

import pytest
from fastapi import Request

from meterport.domain.errors import InvalidRequest
from meterport.web.paging import Page, page_of, paged
from meterport.web.strict import check_fields, parameters_of


def request(query: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/api/things",
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost")],
            "scheme": "http",
            "server": ("localhost", 80),
        }
    )


def test_a_list_begins_with_50_and_goes_on_behind_its_last_entry() -> None:
    answer = paged(request("limit=2&label=x"), ["a", "b"], next_key=("2024", "b"))

    cursor = "WyIyMDI0IiwgImIiXQ"
    assert answer.body == b'{"items":["a","b"],"next_cursor":"' + cursor.encode() + b'"}'
    assert answer.headers["link"] == f'</api/things?limit=2&label=x&cursor={cursor}>; rel="next"'
    assert page_of({}, parts=2) == Page(50, ())
    assert page_of({"cursor": cursor, "limit": "200"}, parts=2) == Page(200, ("2024", "b"))


def test_the_last_page_has_no_next_one() -> None:
    answer = paged(request(""), [], next_key=None)

    assert answer.body == b'{"items":[]}'
    assert "link" not in answer.headers


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"limit": "0"}, "limit must be a whole number from 1 to 200, not '0'"),
        ({"limit": "201"}, "limit must be a whole number from 1 to 200, not '201'"),
        ({"limit": "-1"}, "limit must be a whole number from 1 to 200, not '-1'"),
        ({"limit": "9" * 5000}, "limit must be a whole number from 1 to 200, not a string of 5000"),
        *(
            ({"cursor": cursor}, "cursor is none that this list gave; leave it out to begin")
            for cursor in ("", "x", "W10", "WzEsIDJd", "WyJhIl0", "é", "Ww==", "[" * 5000)
        ),
    ],
)
def test_a_page_that_cannot_be_is_refused(parameters: Mapping[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_of(parameters, parts=2)

    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limt=2", "unknown parameter 'limt'; did you mean limit? known: limit, cursor"),
        ("zzz=2", "unknown parameter 'zzz'; known: limit, cursor"),
        ("limit=2&limit=3", "the parameter limit comes twice; say it once"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused(query: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parameters_of(request(query), ("limit", "cursor"))

    assert refused.value.message == message


def test_a_field_that_is_not_known_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_fields({"format": "csv", "resolutoin": "1h"}, ("format", "resolution"))
    with pytest.raises(InvalidRequest) as refused_below:
        check_fields({"delimeter": ";"}, ("delimiter",), under="csv")

    assert refused.value.message == (
        "unknown field 'resolutoin'; did you mean resolution? known: format, resolution"
    )
    assert refused_below.value.message == (
        "unknown field 'delimeter' in csv; did you mean delimiter? known: delimiter"
    )
