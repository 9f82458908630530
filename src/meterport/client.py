"""A client of the service; needs nothing but the standard library.

Raises MeterportRefused with the service's own code and sentence, or OSError where nobody answers
for as long as the patience lasts. What is asked is safe to repeat, and is repeated: exports are
created under a key of their own, and a download goes on where it broke off.
"""

import base64
import hashlib
import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any, BinaryIO

POLL_S = 0.05
WAIT_S = 1
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
PATIENCE_S = 60.0
TIMES_IN_VAIN = 3
"""So often a download may break off at the same byte."""

HTTP = ("http://", "https://")
PASSES = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")

Json = dict[str, Any]


class MeterportRefused(Exception):
    """`retry_after_s`: when it may be worth to ask again; None: never."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class Client:
    """`patience_s`: for how long a service that does not answer, or cannot now, is asked again.

    `key`: as `meterport keys create` printed it; only `base_url` itself is told.
    """

    def __init__(
        self, base_url: str, *, key: str | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        if not base_url.startswith(HTTP):
            raise ValueError("the service's address begins with http:// or https://")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ValueError("the key is none that `meterport keys create` printed")
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._patience_s = patience_s
        # The address is the user's own choice; no proxy of the environment comes in between.
        self._opener = _opener(_Redirected())

    def create(self, smart_meter_id: str, start: str, end: str) -> str:
        """The new job's id, by the three endpoints that never change."""
        body = {"smart_meter_id": smart_meter_id, "start_datetime": start, "end_datetime": end}
        return str(self._post("/api/export/csv", body)["job_id"])

    def status(self, job_id: str) -> Json:
        return self._json(f"/api/export/status/{job_id}")

    def wait(self, job_id: str, *, told: Callable[[Json], None]) -> Json:
        """Poll until the job has ended; `told` gets every answer. Raises if the job failed."""
        while True:
            status = self.status(job_id)
            told(status)
            if status["status"] == "failed":
                raise MeterportRefused(status["error"]["code"], status["error"]["message"])
            if status["status"] == "completed":
                return status
            time.sleep(POLL_S)

    def submit(self, request: Mapping[str, object]) -> Json:
        """An export with every option of `POST /api/exports`; the export, as it is shown."""
        return self._post("/api/exports", request)

    def export(self, export_id: str, *, wait_s: int = 0) -> Json:
        """How it stands: at once, or when it has ended, at most so many seconds later."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        return self._json(f"/api/exports/{export_id}", headers=headers)

    def wait_for(self, export_id: str, *, told: Callable[[Json], None] = lambda _: None) -> Json:
        """The export once it is completed; `told` gets it about once a second.

        Raises MeterportRefused with its own error if it comes to nothing.
        """
        while True:
            export = self.export(export_id, wait_s=WAIT_S)
            told(export)
            if "error" in export:
                error = export["error"]
                details = f" ({error['details']})" if error["details"] else ""
                raise MeterportRefused(error["code"], f"{error['message']}{details}")
            if "file" in export:
                return export

    def cancel(self, export_id: str) -> Json:
        return self._post(f"/api/exports/{export_id}/cancel", {})

    def manifest(self, export_id: str, sink: BinaryIO) -> None:
        with self._open(f"/api/exports/{export_id}/manifest") as answer:
            while block := answer.read(BLOCK_BYTES):
                sink.write(block)

    def download(self, job_id: str, target: Path) -> None:
        """Save the file under `target`, whole and with the right digest, or not at all."""
        part = target.with_name(target.name + ".part")
        try:
            with part.open("w+b") as file:
                self.fetch(job_id, file)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def fetch(self, job_id: str, file: BinaryIO) -> None:
        """The file's bytes; a download that breaks off goes on where it was.

        The digest is the one that the service told, also where the object store sends the bytes.
        `file` may be cut back, and so has to be one that can.
        """
        fetched = _Fetched(file)
        patience = _Patience(self._patience_s)
        in_vain = 0
        while not fetched.is_whole:
            before, answer = fetched.size, None
            try:
                with self._open(f"/api/export/download/{job_id}", headers=fetched.rest()) as answer:
                    fetched.begin(answer)
                    with _sent(answer, fetched.range) as sent:
                        fetched.take(sent)
            except (OSError, HTTPException) as error:
                if fetched.size > before:
                    patience, in_vain = _Patience(self._patience_s), 0
                elif answer is not None:
                    in_vain += 1
                if in_vain == TIMES_IN_VAIN:
                    raise _damaged() from error  # so it ends where the bytes are not those written
                patience.wait(error)
        fetched.check()

    def is_up(self) -> bool:
        try:
            with self._asked("/livez", None, {}) as answer:
                return bool(json.load(answer)["status"] == "ok")
        except (OSError, HTTPException, MeterportRefused):
            return False

    def _post(self, path: str, body: Mapping[str, object]) -> Json:
        headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        return self._json(path, json.dumps(body).encode(), headers)

    def _json(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Json:
        with self._open(path, body, headers) as answer:
            read: Json = json.load(answer)
            return read

    def _open(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        patience = _Patience(self._patience_s)
        while True:
            try:
                return self._asked(path, body, headers or {})
            except MeterportRefused as refusal:
                if refusal.retry_after_s is None:
                    raise
                patience.wait(refusal, refusal.retry_after_s)
            except (OSError, HTTPException) as error:
                patience.wait(error)

    def _asked(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> HTTPResponse:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
            self._base_url + path, body, dict(headers)
        )
        if self._key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        return answer


class _Patience:
    """Waits a little longer each time, until it is at its end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._next_s = 0.1

    def wait(self, error: Exception, at_least_s: float = 0) -> None:
        """Raises `error` where the wait would be too long."""
        wait_s = max(at_least_s, self._next_s)
        if time.monotonic() + wait_s > self._end:
            raise error
        time.sleep(wait_s)
        self._next_s = min(2 * self._next_s, 5)


class _Fetched:
    """What has come of a download so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._file = file
        self._sha256 = hashlib.sha256()
        self._total: int | None = None
        self._etag = ""
        self._expected = ""

    @property
    def is_whole(self) -> bool:
        return self.size == self._total

    @property
    def range(self) -> str:
        return f"bytes={self.size}-" if self.size else ""

    def rest(self) -> dict[str, str]:
        """The headers that ask for what lacks, if the file is still the same."""
        return {"Range": self.range, "If-Range": self._etag} if self.size else {}

    def begin(self, answer: HTTPResponse) -> None:
        """The service's answer: which file it is. Another one, or a whole one, begins anew."""
        self._expected = answer.headers["Repr-Digest"] or ""
        etag = answer.headers["ETag"] or ""
        if answer.status == HTTPStatus.OK or etag != self._etag:
            self._begin_anew()
        self._etag = etag

    def take(self, sent: HTTPResponse) -> None:
        if sent.status != HTTPStatus.PARTIAL_CONTENT and self.size:
            self._begin_anew()
        length = int(sent.headers["Content-Length"])
        self._total = self.size + length
        while block := sent.read(BLOCK_BYTES):
            self._file.write(block)
            self._sha256.update(block)
            self.size += len(block)
        if not self.is_whole:
            raise ConnectionError("the download broke off")

    def check(self) -> None:
        """Raises MeterportRefused for bytes that are not those which the service wrote."""
        told = _SHA256.fullmatch(self._expected)
        if told is None or base64.b64decode(told[1]) != self._sha256.digest():
            raise _damaged()

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._sha256 = hashlib.sha256()
        self.size = 0


def _damaged() -> MeterportRefused:
    return MeterportRefused("EXPORT_DAMAGED", "the download is not what the service wrote")


class _Redirected(urllib.request.HTTPRedirectHandler):
    """Hands a 307 out as it is: what it says of the file has to be read before it is followed."""

    def http_error_307(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
    ) -> IO[bytes]:
        return fp


@contextmanager
def _sent(answer: HTTPResponse, range_: str) -> Iterator[HTTPResponse]:
    """The bytes: the answer's own, or those of the store to which it leads.

    The store gets a request of its own, with nothing of what the service was told.
    """
    if answer.status != HTTPStatus.TEMPORARY_REDIRECT:
        yield answer
        return
    link = answer.headers["Location"] or ""
    if not link.startswith(HTTP):
        raise MeterportRefused("HTTP_307", "the service leads to an address that is not of HTTP")
    try:
        wanted = urllib.request.Request(link, headers={"Range": range_} if range_ else {})  # noqa: S310
        sent: HTTPResponse = _opener().open(wanted, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            # Not in full: until it expires, the link is a secret.
            raise MeterportRefused(
                f"HTTP_{error.code}", f"the object store refused the download ({error.code})"
            ) from None
    with sent:
        yield sent


def _opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)


def _refusal(error: urllib.error.HTTPError) -> MeterportRefused:
    try:
        with error:
            body = json.load(error)
        code = body.get("error", {}).get("code", body["status"].upper())
        return MeterportRefused(code, body["message"], retry_after_s=_retry_after(error))
    except (ValueError, KeyError, AttributeError):
        return MeterportRefused(
            f"HTTP_{error.code}",
            "the answer is not meterport's",
            retry_after_s=_retry_after(error),
        )


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    if error.code not in PASSES:
        return None
    told = error.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else 0
