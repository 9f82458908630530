"""Links by which a client fetches one object from an S3 store, without keys, for a short time.

Signed here, so that none needs a request; made with boto3, since obstore can sign no file name.
"""

from collections.abc import Mapping
from datetime import timedelta

from meterport.adapters.s3_client import place, s3_client


class S3Links:
    """`options` are obstore's; their endpoint has to be one that clients reach."""

    def __init__(self, url: str, options: Mapping[str, str], *, valid_for: timedelta) -> None:
        self._bucket, self._prefix = place(url)
        self._client = s3_client(options)
        self._valid_for = valid_for

    def link(self, key: str, *, filename: str, media_type: str) -> str:
        """The store answers with that file name and type, and not to be kept by caches."""
        answer = {
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
            "ResponseContentType": media_type,
            "ResponseCacheControl": "private, no-store",
        }
        return str(
            self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": self._prefix + key, **answer},
                ExpiresIn=int(self._valid_for.total_seconds()),
            )
        )
