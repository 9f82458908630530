"""A small client of the frozen tier; needs nothing but the standard library.

Raises MeterportRefused with the service's own code and sentence, or OSError where nobody answers.
"""

import base64
import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any

POLL_S = 0.05
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
HTTP = ("http://", "https://")


class MeterportRefused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    def __init__(self, base_url: str) -> None:
        if not base_url.startswith(HTTP):
            raise ValueError("the service's address begins with http:// or https://")
        self._base_url = base_url.rstrip("/")
        # The address is the user's own choice; no proxy of the environment comes in between.
        self._opener = _opener(_Redirected())

    def create(self, smart_meter_id: str, start: str, end: str) -> str:
        """The new job's id."""
        body = {"smart_meter_id": smart_meter_id, "start_datetime": start, "end_datetime": end}
        answer = self._json("/api/export/csv", json.dumps(body).encode())
        return str(answer["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        return self._json(f"/api/export/status/{job_id}")

    def wait(self, job_id: str, *, told: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Poll until the job has ended; `told` gets every answer. Raises if the job failed."""
        while True:
            status = self.status(job_id)
            told(status)
            if status["status"] == "failed":
                raise MeterportRefused(status["error"]["code"], status["error"]["message"])
            if status["status"] == "completed":
                return status
            time.sleep(POLL_S)

    def download(self, job_id: str, target: Path) -> None:
        """Save the file under `target`, whole and with the right digest, or not at all.

        The digest is the one that the service told, also where the object store sends the bytes.
        """
        part = target.with_name(target.name + ".part")
        sha256 = hashlib.sha256()
        with self._open(f"/api/export/download/{job_id}") as answer:
            expected = answer.headers["Repr-Digest"]
            with _sent(answer) as sent, part.open("wb") as file:
                while block := sent.read(BLOCK_BYTES):
                    sha256.update(block)
                    file.write(block)
        if f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:" != expected:
            part.unlink()
            raise MeterportRefused("EXPORT_DAMAGED", "the download is not what the service wrote")
        part.replace(target)

    def is_up(self) -> bool:
        try:
            return bool(self._json("/livez")["status"] == "ok")
        except OSError:
            return False

    def _json(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        with self._open(path, body) as answer:
            read: dict[str, Any] = json.load(answer)
            return read

    def _open(self, path: str, body: bytes | None = None) -> HTTPResponse:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
            self._base_url + path, body, {"Content-Type": "application/json"}
        )
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        return answer


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
def _sent(answer: HTTPResponse) -> Iterator[HTTPResponse]:
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
        sent: HTTPResponse = _opener().open(link, timeout=TIMEOUT_S)
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
        return MeterportRefused(code, body["message"])
    except (ValueError, KeyError, AttributeError):
        return MeterportRefused(f"HTTP_{error.code}", "the answer is not meterport's")
