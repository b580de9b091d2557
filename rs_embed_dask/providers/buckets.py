"""Objects of public buckets as HTTPS addresses: ``s3://`` and ``gs://`` links are read like any other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

__all__ = ["over_http", "regional"]

# a certificate for *.s3.amazonaws.com does not cover a name with a dot, which therefore stands in the path
_PUBLIC: Final = {
    "s3": ("https://{bucket}.s3.amazonaws.com/{key}", "https://s3.amazonaws.com/{bucket}/{key}"),
    "gs": ("https://storage.googleapis.com/{bucket}/{key}",) * 2,
}
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}[a-z0-9]")
_GLOBAL: Final = re.compile(r"^(https?://(?:[^/]+\.)?s3)(\.amazonaws\.com/)")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


def over_http(address: str) -> str:
    """Return the public HTTPS address of an object in a bucket, and any other address as it is."""
    scheme, mark, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if not mark or scheme.lower() not in _PUBLIC or not key or not _BUCKET.fullmatch(bucket):
        return address
    return _PUBLIC[scheme.lower()]["." in bucket].format(bucket=bucket, key=quote(key))


def regional(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return where a bucket lies that S3 says is in another region, for it does not send the address itself."""
    region = headers.get("x-amz-bucket-region", "")
    if status != HTTPStatus.MOVED_PERMANENTLY or not _GLOBAL.match(url) or not _REGION.fullmatch(region):
        return None
    return _GLOBAL.sub(rf"\1.{region}\2", url)
