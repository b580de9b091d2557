"""The storage side of the service: signed, expiring access to files, with byte ranges.

Imitates Azure blob storage as Planetary Computer uses it: a token belongs to one container, carries its own expiry
(`se`) and a signature, and is put behind a plain URL as the query. The signature protects nothing here; it exists so
that a client which signs wrongly, or not at all, fails as it would there.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

SECRET = b"the demo protects nothing"
HOST_SUFFIX = ".blob.core.windows.net"
TOKENS = "/api/sas/v1/token"


@dataclass(frozen=True)
class Reply:
    """What is sent back: status, headers and body. `length` stands for a body that is not sent (HEAD)."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None


def stamp(moment: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(account: str, container: str, expiry: str) -> str:
    """Return the signature of a token."""
    message = f"{account}/{container}/{expiry}".encode()
    return base64.b64encode(hmac.new(SECRET, message, hashlib.sha256).digest()).decode()


def issue(account: str, container: str, *, ttl_s: float) -> dict[str, str]:
    """Return a token for one container, shaped like the answer of Planetary Computer's token service.

    The token begins a day in the past, as the real ones do.
    """
    now = time.time()
    expiry = stamp(now + ttl_s)
    sig = quote(signature(account, container, expiry), safe="")
    token = f"st={quote(stamp(now - 86400))}&se={quote(expiry)}&sp=rl&sv=2024-05-04&sr=c&sig={sig}"
    return {"msft:expiry": expiry, "token": token}


def refusal(account: str, container: str, query: Mapping[str, str]) -> Reply | None:
    """Return why a request may not read `container`, or None when its signature holds."""
    expiry = query.get("se")
    if expiry is None:
        return Reply(HTTPStatus.CONFLICT, b"<Error><Code>PublicAccessNotPermitted</Code></Error>")
    genuine = hmac.compare_digest(query.get("sig", ""), signature(account, container, expiry))
    if not genuine or dt.datetime.fromisoformat(expiry).timestamp() < time.time():
        return Reply(HTTPStatus.FORBIDDEN, b"<Error><Code>AuthenticationFailed</Code></Error>")
    return None


def read(path: Path, *, byte_range: str | None, head: bool) -> Reply:
    """Return a file, or the part that a ``Range`` header asks for, e.g. ``bytes=0-1023``."""
    if not path.is_file():
        return Reply(HTTPStatus.NOT_FOUND, b"<Error><Code>BlobNotFound</Code></Error>")
    size = path.stat().st_size
    headers = (("Accept-Ranges", "bytes"), ("Content-Type", "image/tiff"), ("ETag", f'"{size:x}"'))
    if head:
        return Reply(HTTPStatus.OK, b"", headers, length=size)
    if byte_range is None:
        return Reply(HTTPStatus.OK, path.read_bytes(), headers)
    first, last = span(byte_range, size)
    if first >= size:
        return Reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", (("Content-Range", f"bytes */{size}"),))
    with path.open("rb") as file:
        file.seek(first)
        body = file.read(last - first + 1)
    return Reply(HTTPStatus.PARTIAL_CONTENT, body, (*headers, ("Content-Range", f"bytes {first}-{last}/{size}")))


def span(header: str, size: int) -> tuple[int, int]:
    """Return the first and last byte that a ``Range`` header means in a file of `size` bytes."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
