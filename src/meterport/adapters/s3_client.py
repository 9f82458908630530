"""What obstore cannot do with an S3 store; done with boto3, with options named as obstore's are."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

S3_ERRORS: tuple[type[Exception], ...] = (BotoCoreError, ClientError)


def s3_client(options: Mapping[str, str]) -> Any:
    import boto3
    from botocore.config import Config

    endpoint = options.get("endpoint") or None
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=options.get("region") or None,
        aws_access_key_id=options.get("access_key_id") or None,
        aws_secret_access_key=options.get("secret_access_key") or None,
        config=Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 2},
            signature_version="s3v4",
            # A link names the region's own host: the provider's global one may redirect once more,
            # to a host for which the link is not signed. A work-alike has one host for all buckets.
            s3={"addressing_style": "path" if endpoint else "virtual"},
        ),
    )


def place(url: str) -> tuple[str, str]:
    """Bucket of an s3:// URL, and what its keys begin with."""
    parts = urlsplit(url)
    return parts.netloc, f"{parts.path.strip('/')}/".lstrip("/")
