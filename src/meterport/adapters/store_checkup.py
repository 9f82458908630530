"""What doctor asks of the object store: can it be listed. It writes nothing."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from meterport.adapters.s3_client import S3_ERRORS
from meterport.adapters.s3_uploads import unfinished_uploads
from meterport.domain.findings import Finding, error, ok

_FAILURES: tuple[type[Exception], ...] = (BaseError, *S3_ERRORS, OSError)


class StoreCheckup:
    """With short time-outs of its own. `options` are obstore's."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        self._options: dict[str, Any] = dict(options)

    def findings(self) -> Iterator[Finding]:
        try:
            self._list()
        except _FAILURES as failed:
            said = f"it cannot be listed ({type(failed).__name__})"
            yield error("object store", said, _REMEDY)
        else:
            yield ok("object store", "files and unfinished uploads can be listed")

    def _list(self) -> None:
        plain_http = self._options.get("endpoint", "").startswith("http://")
        connect: Any = from_url
        store = connect(
            self._url,
            config=self._options,
            client_options={"allow_http": plain_http, "connect_timeout": "2s", "timeout": "10s"},
            retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=10)},
        )
        next(iter(obstore.list(store, chunk_size=1)), None)
        next(unfinished_uploads(self._url, self._options).keys(), None)


_REMEDY = (
    "check that it runs, that the bucket of METERPORT_FILES_URL is there, and METERPORT_STORE_…: "
    "its address, and a key that may list, read, write and delete"
)
