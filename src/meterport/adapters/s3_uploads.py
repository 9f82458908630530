"""Multipart uploads that nobody finished: invisible, but kept and paid for until they are aborted.

obstore can neither list nor abort them, so this is done with boto3. Other stores than S3 forget
unfinished uploads by themselves.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from meterport.adapters.s3_client import place, s3_client


class Uploads(Protocol):
    def keys(self) -> Iterator[str]: ...

    def abort(self, key: str) -> None: ...


class NoUploads:
    def keys(self) -> Iterator[str]:
        return iter(())

    def abort(self, key: str) -> None:
        return


class S3Uploads:
    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._bucket, self._prefix = place(url)
        self._client = s3_client(options)

    def keys(self) -> Iterator[str]:
        for upload in self._all(self._prefix):
            yield upload["Key"].removeprefix(self._prefix)

    def abort(self, key: str) -> None:
        for upload in self._all(self._prefix + key):
            if upload["Key"] == self._prefix + key:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    def _all(self, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            yield from page.get("Uploads", ())


def unfinished_uploads(url: str, options: Mapping[str, str]) -> Uploads:
    return S3Uploads(url, options) if url.startswith("s3://") else NoUploads()
