"""What every answer of the service has to look like."""

import httpx2


def assert_refused(answer: httpx2.Response, status: int, code: str) -> None:
    """The error envelope, exactly, with this code."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"status", "message", "error", "request_id"}
    assert body["error"].keys() == {"code", "message", "details"}
    assert body["status"] == "error"
    assert body["error"]["code"] == code
    assert body["message"] == body["error"]["message"]
    assert answer.headers["X-Error-Code"] == code
    assert answer.headers["X-Request-Id"] == body["request_id"]
    assert len(answer.content) <= 4096
