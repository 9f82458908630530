"""Requests that no client of ours would send: some bytes, words or headers of a good one spoilt."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.asgi import Headers, Raw

Part = Callable[[random.Random, bytes, bytes], bytes]
LONG = 60 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "X" * 200)
TYPES = (
    *(b"", b"application/json", b"application/json; charset=utf-16", b"APPLICATION/JSON ;x"),
    *(b"text/csv", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"),
    *(b"application/vnd.apache.parquet", b"application/x-ndjson", b"\xff/\xfe", b"application/"),
)
PIECES = (
    *(b"\0", b"\r\n", b"\n", b"\t", b" ", b"'", b'"', b"\\", b"/", b"//", b"..", b"../", b";"),
    *(b"%", b"%%", b"%zz", b"%0", b"%00", b"%0d%0a", b"%2f", b"%2e%2e%2f", b"%25", b"%2500"),
    *(b"%ff", b"%c0%af", b"%ed%a0%80", b"%F0%9F%98%80", b"%u0041", b"+", b"&", b"=", b"?", b"#"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\xf0\x9f\x98\x80", b"\xe2\x80\xae", b"\x7f"),
    *(b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b"null", b"NaN", b"Infinity", b"-", b"-0", b"1e999"),
    *(b"9" * 30, b"9" * 5000, b"0x10", b"\\ud800", b"\\u0000", b"true", b"all", b"*", b"<x>"),
    *(b"2024-02-30", b"0000-01-01", b"9999-12-31T23:59:59.999999+14:00", b"2024-01-01T24:00:00Z"),
    *(b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"2024-01-01T00:00:00+99:99"),
)
NASTY: Sequence[Any] = (
    *(None, True, False, 0, -1, 10**30, 10**400, 1e308, -0.0, 1.5, float("inf"), float("nan")),
    *("", " ", "\0", "\ud800", "\udfff\ud800", "x" * 5000, "é" * 70, "‮", "\n", "%s{0}{x}"),
    *([], [[]], ["123"] * 3000, [None], {}, {"": {}}, {"a": {"b": []}}, "all", ["all"], [1, "1"]),
    *("9999-12-31T23:59:59Z", "9999-12-31", "0001-01-01", "2024-01-01T00:00:00+23:59", "now"),
    *("Europe/Berlin", "../../etc/passwd", "UTC\0", "2024-02-30", "1970-01-01T00:00:00.0000001Z"),
)


def flipped(chance: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: random.Random, data: bytes, other: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 2, 8, 1000)) :]


def with_a_piece(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(PIECES) + data[at:]


def repeated(chance: random.Random, data: bytes, other: bytes) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 4, 30)))
    times = chance.choice((2, 3, 50, 2000))
    return data[:start] + data[start:end] * times + data[end:]


def swapped(chance: random.Random, data: bytes, other: bytes) -> bytes:
    first, second, third = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def spliced(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def noise(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 3, 40))) + data[at:]


def long(chance: random.Random, data: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return (
        data[:at] + chance.choice((b"a", b"9", b"%41", b"\xc3\xa9", b"=", b"/")) * 2000 + data[at:]
    )


OF_BYTES: Sequence[Part] = (
    flipped,
    cut,
    with_a_piece,
    with_a_piece,
    repeated,
    swapped,
    spliced,
    noise,
    long,
)


def deep(chance: random.Random, data: bytes, other: bytes) -> bytes:
    depth = chance.choice((50, 1000, 30_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    nested = opening * depth + b"1" + closing * (depth if chance.random() < 0.5 else 0)
    return data.replace(b'"123"', nested, 1) if chance.random() < 0.5 else nested


def with_a_nasty_value(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """In place of one of a JSON object's values, of a name, or besides them."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return with_a_piece(chance, data, other)
    if not isinstance(body, dict) or not body:
        return json.dumps(chance.choice(NASTY)).encode()
    name, value = chance.choice([*body]), chance.choice(NASTY)
    what = chance.random()
    if what < 0.7:
        body[name] = value
    elif what < 0.8:
        body[chance.choice(("columns", "csv", "as_of", "label", "timezone", "x" * 300))] = value
    elif what < 0.9:
        body[name] = [body[name], value]
    else:
        body[f"{name}\0"] = body.pop(name)
    return json.dumps(body, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")


def too_large(chance: random.Random, data: bytes, other: bytes) -> bytes:
    return data + b" " * chance.choice((LONG, 2 * LONG, 66_000 - len(data)))


OF_BODIES: Sequence[Part] = (
    *OF_BYTES,
    deep,
    *[with_a_nasty_value] * 6,
    too_large,
    lambda chance, data, other: data.decode("latin-1").encode("utf-16"),
)


def mutated(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    """Once to four times, each at some place; `other` is what may be spliced in."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        raw = chance.choice(OF_PARTS if raw.body else OF_HEADS)(chance, raw, other)
    return raw


def _method(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    return replace(raw, method=chance.choice(METHODS))


def _path(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    """Its beginning stays mostly, so that the route is met."""
    kept = raw.path.rfind(b"/", 0, -1) + 1 if chance.random() < 0.8 else 1
    spoilt = chance.choice(OF_BYTES)(chance, raw.path[kept:], other.path)
    return replace(raw, path=raw.path[:kept] + spoilt)


def _query(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    return replace(raw, query=chance.choice(OF_BYTES)(chance, raw.query, other.query))


def _parameter(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    """One of them has another value, comes twice, or is of another request."""
    pairs = raw.query.split(b"&") if raw.query else [b"limit=5"]
    at = chance.randrange(len(pairs))
    name = pairs[at].partition(b"=")[0]
    value = chance.choice((*PIECES, b"", name, pairs[at]))
    pairs[at : at + chance.choice((0, 1))] = [name + chance.choice((b"=", b"", b"==")) + value]
    return replace(raw, query=b"&".join(pairs))


def _body(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    return replace(raw, body=chance.choice(OF_BODIES)(chance, raw.body, other.body))


def _header(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    at = _some_header(chance, raw)
    name, value = raw.headers[at]
    if chance.random() < 0.9:
        value = chance.choice(OF_BYTES)(chance, value, other.body)
    else:
        name = chance.choice(OF_BYTES)(chance, name, other.path).lower()
    return replace(raw, headers=_put(raw.headers, at, (name, value)))


def _doubled_header(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    name, value = chance.choice(raw.headers)
    return raw.with_header(name, value if chance.random() < 0.5 else chance.choice(PIECES))


def _left_out_header(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    at = _some_header(chance, raw)
    return replace(raw, headers=_put(raw.headers, at) or raw.headers)


def _content_type(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    rest = tuple(each for each in raw.headers if each[0] != b"content-type")
    return replace(raw, headers=(*rest, (b"content-type", chance.choice(TYPES))))


def _odd_header(chance: random.Random, raw: Raw, other: Raw) -> Raw:
    """Of those that the service reads."""
    names = (b"idempotency-key", b"prefer", b"range", b"if-range", b"if-none-match", b"host")
    more = (b"origin", b"sec-fetch-site", b"x-request-id", b"content-length", b"content-encoding")
    value = b"".join(chance.choices((*PIECES, b"bytes=", b"wait=", b"0-", b",", b"http://["), k=3))
    return raw.with_header(chance.choice((*names, *more)), value)


def _some_header(chance: random.Random, raw: Raw) -> int:
    """Rarely the first one, which is Host: without it nothing else is looked at."""
    first = 0 if chance.random() < 0.1 or len(raw.headers) == 1 else 1
    return chance.randrange(first, len(raw.headers))


def _put(headers: Headers, at: int, *others: tuple[bytes, bytes]) -> Headers:
    return (*headers[:at], *others, *headers[at + 1 :])


Spoil = Callable[[random.Random, Raw, Raw], Raw]
OF_HEADS: Sequence[Spoil] = (
    *(_method, _path, _path, _query, _query, _parameter, _parameter, _parameter, _body),
    *(_header, _header, _doubled_header, _left_out_header, _odd_header, _odd_header),
)
OF_PARTS: Sequence[Spoil] = (*OF_HEADS, _content_type, _content_type, *[_body] * 10)
