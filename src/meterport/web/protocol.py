"""The connections of the service: punctual, and with our envelope where no request can be read.

Bytes that are no HTTP reach no route and no middleware; the server itself would answer in plain
text.
"""

import uuid

from meterport.web.deadlines import Punctual
from meterport.web.edge import SECURITY_HEADERS
from meterport.web.errors import InvalidHttp, error_response


class Protocol(Punctual):
    def send_400_response(self, msg: str) -> None:
        request_id = uuid.uuid4().hex
        said = InvalidHttp("the request cannot be read as HTTP/1.1; the connection is closed")
        answer = error_response(said, request_id)
        headers = dict(answer.headers) | SECURITY_HEADERS
        headers |= {"X-Request-Id": request_id, "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(["HTTP/1.1 400 Bad Request", *lines, "", ""])
        self.transport.write(head.encode("ascii") + bytes(answer.body))
        self.transport.close()
