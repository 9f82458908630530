"""Multipart uploads that nobody finished: invisible, but kept and paid for until they are aborted.

obstore can neither list nor abort them, so this is done with boto3. Other stores than S3 forget
unfinished uploads by themselves.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

S3_ERRORS: tuple[type[Exception], ...] = (BotoCoreError, ClientError)


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
        import boto3
        from botocore.config import Config

        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/".lstrip("/")
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=options.get("endpoint") or None,
            region_name=options.get("region") or None,
            aws_access_key_id=options.get("access_key_id") or None,
            aws_secret_access_key=options.get("secret_access_key") or None,
            config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 2}),
        )

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
