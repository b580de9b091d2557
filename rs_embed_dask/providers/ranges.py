"""Byte ranges of files over HTTP: pooled, signed at the last moment, retried, and quiet about signatures.

GDAL's own HTTP reading is not used: it remembers a failed address for the life of the process, so that no retry can
succeed, and writes signed addresses into its messages. Here every attempt is a fresh, freshly signed request.
"""

from __future__ import annotations

import functools
import logging
import random
import re
import threading
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urldefrag, urlsplit

import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, redact
from rs_embed_dask.providers.signing import PlainLinks, Signer

__all__ = ["AbsentError", "Access", "Kept", "Patience", "Piece", "read_range"]

CONTENT_RANGE: Final = "Content-Range"
DONE: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT})
MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
SECONDS: Final = re.compile(r"\d+(\.\d+)?")
POOLS: Final = 32
CONNECTIONS: Final = 64
REDIRECTS: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


class AbsentError(ProviderError):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with a server before giving up.

    Parameters
    ----------
    attempts
        Requests in all for one range.
    first_wait_s, longest_wait_s
        The wait after a fault doubles from the first to the longest; up to half of it is left out at random.
    timeout_s
        Longest silence of a server, in seconds.
    """

    attempts: int = 6
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0
    timeout_s: float = 60.0

    def wait_s(self, attempt: int) -> float:
        """Return the wait after the `attempt`-th fault (from 0)."""
        whole = min(self.first_wait_s * 2.0**attempt, self.longest_wait_s)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, guards nothing


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file: where they begin, what they are, and how large the whole file is."""

    start: int
    data: bytes
    size: int

    @property
    def stop(self) -> int:
        """The offset behind the last byte."""
        return self.start + len(self.data)


class Kept:
    """What was fetched for one grid, for the next grid of the same place to take; what travels is empty."""

    def __init__(self) -> None:
        self._pieces: defaultdict[str, tuple[Piece, ...]] = defaultdict(tuple)
        self._lock = threading.Lock()

    def of(self, href: str) -> tuple[Piece, ...]:
        """Return what there is of a file."""
        with self._lock:
            return self._pieces.get(href, ())

    def add(self, href: str, piece: Piece) -> None:
        """Keep bytes of a file."""
        with self._lock:
            self._pieces[href] += (piece,)

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


@dataclass(frozen=True, slots=True)
class Access:
    """How files are reached: who signs, how patiently, and what is at hand already. Holds no secret."""

    signer: Signer = field(default_factory=PlainLinks)
    patience: Patience = field(default_factory=Patience)
    kept: Kept | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Fault:
    reason: str
    wait_s: float | None = None
    refused: str = field(default="", repr=False)
    """The signed address that was refused."""


def read_range(href: str, start: int, length: int, *, access: Access) -> Piece:
    """Return `length` bytes of a file from `start` on, or fewer where the file ends.

    Parameters
    ----------
    href
        Plain address: http(s), file:// or a path. What follows ``#`` names the thing in messages and is not sent.
    start, length
        In bytes.
    access
        Who signs, and how patiently.

    Raises
    ------
    AccessError
        If the storage refuses a fresh signature too.
    AbsentError
        If there is no such file.
    ProviderError
        If there is no such range.
    TransientError
        If the faults outlast the patience, or the server asks for a longer wait than that.
    """
    url, fragment = urldefrag(href)
    what = unquote(fragment) or "file"
    scheme = urlsplit(url).scheme
    if scheme in {"http", "https"}:
        return _read_http(what, url, (start, length), access)
    if scheme in {"", "file"}:
        return _read_local(what, url, start, length)
    raise ProviderError(
        what, value=url, reason=f"cannot read {scheme}:// addresses", fix="use a catalogue with http(s) links"
    )


def _read_local(what: str, url: str, start: int, length: int) -> Piece:
    path = Path(unquote(urlsplit(url).path))
    if not path.is_file():
        raise AbsentError(what, value=url, reason="there is no such file", fix="mend the item's href")
    with path.open("rb") as file:
        file.seek(start)
        return Piece(start, file.read(length), path.stat().st_size)


def _read_http(what: str, url: str, span: tuple[int, int], access: Access) -> Piece:
    patience, refusals, fault = access.patience, 0, _Fault("nothing was tried")
    for attempt in range(patience.attempts):
        outcome = _attempt(what, url, span, access)
        if isinstance(outcome, Piece):
            return outcome
        fault = outcome
        if fault.refused:
            refusals += 1
            if refusals > 1:
                raise AccessError(what, value=url, reason=fault.reason, fix=access.signer.advice)
            access.signer.forget(fault.refused)
            continue
        wait_s = patience.wait_s(attempt) if fault.wait_s is None else fault.wait_s
        if wait_s > patience.longest_wait_s:
            break
        if attempt < patience.attempts - 1:
            time.sleep(wait_s)
    raise TransientError(
        what,
        value=url,
        reason=f"{fault.reason}, after {attempt + 1} attempts",
        fix="try again later, or with fewer readers at once",
        retry_after_s=fault.wait_s,
    )


def _attempt(what: str, url: str, span: tuple[int, int], access: Access) -> Piece | _Fault:
    """Make one request; raise only what no further attempt can mend."""
    start, length = span
    signed = access.signer.sign(url)
    headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
    try:
        answer = _pool(_proxy(*urlsplit(url)[:2])).request(
            "GET", signed, headers=headers, timeout=access.patience.timeout_s, retries=REDIRECTS
        )
    except urllib3.exceptions.HTTPError as error:
        return _Fault(f"{type(error).__name__}: {redact(str(error))}" if str(error) else type(error).__name__)
    if answer.status in DONE:
        return _piece(answer, start, length)
    if answer.status in REFUSED:
        return _Fault(f"the storage answered {answer.status}", refused=signed)
    return _judge(what, url, answer)


def _piece(answer: urllib3.BaseHTTPResponse, start: int, length: int) -> Piece | _Fault:
    if answer.status == HTTPStatus.OK:  # a server without ranges
        return Piece(start, answer.data[start : start + length], len(answer.data))
    total = answer.headers.get(CONTENT_RANGE, "").rpartition("/")[2]
    if not total.isdigit():
        return _Fault("the server does not say how large the file is")
    if len(answer.data) != min(length, int(total) - start):
        return _Fault(f"{len(answer.data)} bytes came instead of {length}")
    return Piece(start, answer.data, int(total))


def _judge(what: str, url: str, answer: urllib3.BaseHTTPResponse) -> _Fault:
    reason = f"the storage answered {answer.status}"
    if answer.status in PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        after = answer.headers.get("Retry-After", "")
        return _Fault(reason, wait_s=float(after) if SECONDS.fullmatch(after) else None)
    if answer.status in MISSING:
        raise AbsentError(
            what, value=url, reason=f"{reason}: the catalogue names a file that is not there", fix="leave out this item"
        )
    raise ProviderError(what, value=url, reason=reason, fix="check the item's href")


@functools.lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the system names for a host, if any; the standard library knows where to look."""
    proxies = urllib.request.getproxies()
    return None if scheme not in proxies or urllib.request.proxy_bypass(host) else proxies[scheme]


def forget_proxies() -> None:
    """Ask the system for proxies again, as a new process would."""
    _proxy.cache_clear()


@functools.cache
def _pool(proxy: str | None) -> urllib3.PoolManager:
    """Return this process's connections, shared by all threads."""
    logging.getLogger("urllib3.connectionpool").addFilter(_without_secrets)
    if proxy is None:
        return urllib3.PoolManager(num_pools=POOLS, maxsize=CONNECTIONS)
    return urllib3.ProxyManager(proxy, num_pools=POOLS, maxsize=CONNECTIONS)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Cut signatures out of a record of urllib3, which at level DEBUG holds whole addresses."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True
