"""Objects of buckets as HTTPS addresses: ``s3://`` and ``gs://`` links are read like any other, signed if need be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["BucketObject", "learned_region", "over_http", "region_of", "regional", "what_to_set"]

# a certificate for *.s3.amazonaws.com does not cover a name with a dot, which therefore stands in the path
_PUBLIC: Final = {
    "s3": ("https://{bucket}.s3.amazonaws.com/{key}", "https://s3.amazonaws.com/{bucket}/{key}"),
    "gs": ("https://storage.googleapis.com/{bucket}/{key}",) * 2,
}
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}[a-z0-9]")
_GLOBAL: Final = re.compile(r"^(https?://(?:[^/]+\.)?s3)(\.amazonaws\.com/)")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_OBJECTS: Final = {
    "s3": re.compile(r"https://(?:([a-z0-9-]+)\.s3\.amazonaws\.com|s3\.amazonaws\.com/([a-z0-9._-]+))/([^?#]+)"),
    "gs": re.compile(r"https://()storage\.googleapis\.com/([a-z0-9._-]+)/([^?#]+)"),
}
_REGIONS: dict[str, str] = {}
_SETTINGS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account",
}


@dataclass(frozen=True, slots=True)
class BucketObject:
    """An object of a bucket."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def at(cls, url: str) -> BucketObject | None:
        """Return the object that a global address of `over_http` means, if it is one."""
        for scheme, form in _OBJECTS.items():
            matched = form.fullmatch(url)
            if matched is not None:
                return cls(scheme, matched[1] or matched[2], unquote(matched[3]))
        return None


def over_http(address: str) -> str:
    """Return the public HTTPS address of an object in a bucket, and any other address as it is."""
    scheme, mark, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if not mark or scheme.lower() not in _PUBLIC or not key or not _BUCKET.fullmatch(bucket):
        return address
    return _PUBLIC[scheme.lower()]["." in bucket].format(bucket=bucket, key=quote(key))


def regional(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return where a bucket lies that S3 says is in another region, for it does not send the address itself."""
    region = _referred(status, headers)
    return _GLOBAL.sub(rf"\1.{region}\2", url) if region and _GLOBAL.match(url) else None


def learned_region(url: str, status: int, headers: Mapping[str, str]) -> bool:
    """Note the region to which S3 refers a signed request for an object; return whether that is new."""
    item, region = BucketObject.at(url), _referred(status, headers)
    if item is None or not region or _REGIONS.get(item.bucket) == region:
        return False
    _REGIONS[item.bucket] = region
    return True


def region_of(bucket: str) -> str:
    """Return the region of a bucket as far as this process has learned it."""
    return _REGIONS.get(bucket, "")


def _referred(status: int, headers: Mapping[str, str]) -> str:
    region = headers.get("x-amz-bucket-region", "")
    return region if status == HTTPStatus.MOVED_PERMANENTLY and _REGION.fullmatch(region) else ""


def what_to_set(url: str) -> str:
    """Say what makes an object of a private bucket readable; nothing for an address that is none."""
    item = BucketObject.at(url)
    if item is None:
        return ""
    return f"if its bucket is private, {_SETTINGS[item.scheme]} on every worker, and pass credentials='environment'"
