"""Byte ranges of files over HTTP: pooled, signed at the last moment, retried, and quiet about signatures.

GDAL's own HTTP reading is not used: it remembers a failed address for the life of the process, so that no retry can
succeed, and writes signed addresses into its messages. Here every attempt is a fresh, freshly signed request.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import importlib
import threading
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote, urldefrag, urljoin, urlsplit

import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, keep_secret, redact
from rs_embed_dask.providers.addresses import KEY, AddressError, judge, pools_for
from rs_embed_dask.providers.retry import REFUSED_STATUSES, TRANSIENT_STATUSES, RetryPolicy, asked_wait_s, retried
from rs_embed_dask.providers.tiff import TiffLimits

__all__ = [
    "AbsentError",
    "Access",
    "ByteCache",
    "KeyedLinks",
    "Piece",
    "PlainLinks",
    "PlanetaryComputerTokens",
    "Signer",
    "read_range",
]

BLOB_HOST: Final = ".blob.core.windows.net"
PUBLIC_HOST: Final = "ai4edatasetspublicassets.blob.core.windows.net"
TOKEN_RETRY: Final = RetryPolicy(attempts=5, first_wait_s=0.8, longest_asked_s=60.0)
REFUSAL_LASTS_S: Final = 30.0
LONGEST_MARGIN_S: Final = 60.0


class Signer(Protocol):
    """What the reader asks before each request. Frozen, hashable, picklable, without secrets."""

    def sign(self, href: str) -> str:
        """Return `href` as it can be read now."""
        ...

    def forget(self, signed: str) -> None:
        """Drop what `signed` was made with, because the storage refused it."""
        ...

    @property
    def advice(self) -> str:
        """What a user can do when the storage refuses."""
        ...


@dataclass(frozen=True, slots=True)
class PlainLinks:
    """Links that need no signature."""

    def sign(self, href: str) -> str:
        """Return `href` as it is."""
        return href

    def forget(self, signed: str) -> None:
        """Do nothing: nothing was kept."""

    @property
    def advice(self) -> str:
        """What a user can do when the storage refuses."""
        return "use a catalogue whose files are public, or provider='planetary_computer', which signs its links"


@dataclass(frozen=True, slots=True)
class KeyedLinks:
    """Links with a key in their path: ``{key}`` stands for it until a request is sent, to its own server alone."""

    url: str
    key_file: str

    def sign(self, href: str) -> str:
        """Return `href` with the key in place of ``{key}``, or as it is where it leads to another server."""
        return href.replace(KEY, self._key()) if urlsplit(href)[:2] == urlsplit(self.url)[:2] else href

    def forget(self, signed: str) -> None:
        """Do nothing: the file is read for each request."""

    def without_key(self, answer: str) -> str:
        """Put ``{key}`` in the key's place in what the server answered."""
        return answer.replace(self._key(), KEY)

    def _key(self) -> str:
        try:
            key = keep_secret(Path(self.key_file).expanduser().read_text(encoding="utf-8").strip())
        except (OSError, ValueError) as error:
            reason, key = f"it cannot be read here ({type(error).__name__})", ""
        else:
            reason = "it is empty"
        if key:
            return key
        raise AccessError("key_file", value=self.key_file, reason=reason, fix=self.advice)

    @property
    def advice(self) -> str:
        """What a user can do when the storage refuses."""
        return "put the key into this file on every worker"


@dataclass(frozen=True)
class _Token:
    text: str
    expiry: dt.datetime
    fetched: dt.datetime

    def fresh(self, now: dt.datetime) -> bool:
        """Return whether a request that begins now ends before the expiry: a minute, or a tenth of a short life."""
        margin = min(LONGEST_MARGIN_S, 0.1 * (self.expiry - self.fetched).total_seconds())
        return (self.expiry - now).total_seconds() > margin


@dataclass(frozen=True)
class _Failure:
    fault: ProviderError
    at: float

    def concerns(self, start: float) -> bool:
        """Return whether this failure answers a request that began at `start`: it waited for it, or a refusal lasts."""
        return start <= self.at or (isinstance(self.fault, AccessError) and start - self.at < REFUSAL_LASTS_S)


class _TokenCache:
    """The tokens of this process: one per container, fetched by one thread while the others wait for its outcome."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._guard = threading.Lock()
        self._locks: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def token(self, account: str, container: str) -> str:
        key, start = (account, container), time.monotonic()
        with self._guard:
            lock = self._locks[key]
        with lock:
            token, failed = self._tokens.get(key), self._failures.get(key)
            if token is not None and token.fresh(dt.datetime.now(dt.UTC)):
                return token.text
            if failed is not None and failed.concerns(start):
                raise copy.copy(failed.fault)
            try:
                token = retried(lambda: _fetch(f"{account}/{container}"), TOKEN_RETRY)
            except ProviderError as fault:
                self._failures[key] = _Failure(copy.copy(fault), time.monotonic())
                raise
            self._tokens[key] = token
            return token.text

    def forget(self, account: str, container: str, *, text: str) -> None:
        """Drop a token, unless another thread has replaced it already."""
        with self._guard:
            token = self._tokens.get((account, container))
            if token is not None and token.text == text:
                del self._tokens[account, container]


_TOKENS: Final = _TokenCache()


@dataclass(frozen=True, slots=True)
class PlanetaryComputerTokens:
    """Read tokens of the Planetary Computer, obtained by the `planetary_computer` package."""

    # That package decides where tokens come from and whether a subscription key goes along, by its own settings.
    # One token per storage container and process is fetched and used until the expiry that it states itself
    # (``se``).

    def sign(self, href: str) -> str:
        """Return `href` with a token behind it, or as it is where none is needed."""
        place = _container(href)
        return href if place is None else f"{href}?{_TOKENS.token(*place)}"

    def forget(self, signed: str) -> None:
        """Drop the token that `signed` carries."""
        href, _, text = signed.partition("?")
        place = _container(href)
        if place is not None:
            _TOKENS.forget(*place, text=text)

    @property
    def advice(self) -> str:
        """What a user can do when the storage refuses."""
        return (
            "this collection may need a Planetary Computer account: run 'planetarycomputer configure' with your "
            "subscription key on every worker, or choose another collection"
        )


def _container(href: str) -> tuple[str, str] | None:
    """Return account and container of a link that needs a token, else None."""
    url = urlsplit(href)
    if (
        not url.netloc.endswith(BLOB_HOST)
        or url.netloc == PUBLIC_HOST
        or {"se", "sp", "st"} & parse_qs(url.query).keys()
    ):
        return None
    return url.netloc.removesuffix(BLOB_HOST), url.path.lstrip("/").partition("/")[0]


@functools.cache
def _client() -> ModuleType:
    with warnings.catch_warnings():
        # its settings are written for pydantic 1; nothing that a user of this package could change
        warnings.filterwarnings("ignore", message="Support for class-based `config`", category=DeprecationWarning)
        return importlib.import_module("planetary_computer.sas")


def _fetch(place: str) -> _Token:
    """Ask the issuer for the token of an account's container."""
    sas = _client()
    settings, what, fault = sas.Settings.get(), "token for container", ""
    headers = {"Ocp-Apim-Subscription-Key": settings.subscription_key} if settings.subscription_key else None
    try:
        answer = _get(f"{settings.sas_url}/{place}", headers, TOKEN_RETRY.timeout_s)
        if answer.status == HTTPStatus.OK:
            token = sas.SASToken(**answer.json())
            return _Token(str(token.token), _expiry(token), dt.datetime.now(dt.UTC))
    except (urllib3.exceptions.HTTPError, ValueError, TypeError) as error:
        fault = _named(error)  # ValueError and TypeError: an answer that is not a token
    if fault:
        raise TransientError(what, value=place, reason=fault, fix=_LATER)
    reason = f"the issuer answered {answer.status}"
    if answer.status in REFUSED_STATUSES:
        raise AccessError(what, value=place, reason=reason, fix=PlanetaryComputerTokens().advice)
    if answer.status in TRANSIENT_STATUSES:
        retry_after_s = asked_wait_s(answer.headers.get("Retry-After"))
        raise TransientError(what, value=place, reason=reason, fix=_LATER, retry_after_s=retry_after_s)
    fix = "check the item's href: the container may not exist"
    raise ProviderError(what, value=place, reason=reason, fix=fix)


def _expiry(answer: Any) -> dt.datetime:
    """Return the expiry of a token: the earlier of what it and the issuer state."""
    stated: dt.datetime = answer.expiry if answer.expiry.tzinfo else answer.expiry.replace(tzinfo=dt.UTC)
    inside = [dt.datetime.fromisoformat(text) for text in parse_qs(str(answer.token)).get("se", [])]
    return min([stated, *(t if t.tzinfo else t.replace(tzinfo=dt.UTC) for t in inside)])


_LATER: Final = "try again later; if it lasts, look at planetarycomputer.microsoft.com, or lower the number of workers"
CONTENT_RANGE: Final = "Content-Range"
DONE: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
REFUSED: Final = REFUSED_STATUSES | {HTTPStatus.CONFLICT}  # Azure's answer where public access is not permitted
MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
ONCE: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=0)
REDIRECTS: Final = 5
# what goes along to another server; a key does not
ANYWHERE: Final = frozenset({"Range", "Accept-Encoding"})


class AbsentError(ProviderError):
    """There is no such file."""


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


class ByteCache:
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

    def __reduce__(self) -> tuple[type[ByteCache], tuple[()]]:
        return ByteCache, ()


@dataclass(frozen=True, slots=True)
class Access:
    """How files are reached: who signs, how patiently, on whose word, and what is at hand already. Holds no secret."""

    signer: Signer = field(default_factory=PlainLinks)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    origin: str = ""
    """The address of the catalogue that names the files; without one, the user names each file."""
    limits: TiffLimits = field(default_factory=TiffLimits)
    cache: ByteCache | None = field(default=None, compare=False, repr=False)


def read_range(href: str, start: int, length: int, *, access: Access) -> Piece:
    """Return `length` bytes of a file from `start` on, or fewer where the file ends."""
    url, fragment = urldefrag(href)
    what = unquote(fragment) or "file"
    judge(url, origin=access.origin or url, what=what)
    if urlsplit(url).scheme in {"http", "https"}:
        return _read_http(what, url, (start, length), access)
    return _read_local(what, url, start, length)


def _read_local(what: str, url: str, start: int, length: int) -> Piece:
    path = Path(unquote(urlsplit(url).path))
    if not path.is_file():
        raise AbsentError(what, value=url, reason="there is no such file", fix="correct the item's href")
    with path.open("rb") as file:
        file.seek(start)
        return Piece(start, file.read(length), path.stat().st_size)


def _read_http(what: str, url: str, span: tuple[int, int], access: Access) -> Piece:
    try:
        return retried(lambda: _attempt(what, url, span, access), access.retry)
    except AddressError as error:
        refused = error
    raise AddressError(what, value=url, reason=f"it leads to {refused.value}: {refused.reason}", fix=refused.fix)


def _attempt(what: str, url: str, span: tuple[int, int], access: Access) -> Piece:
    """Read a range once; a signature that was refused is replaced."""
    start, length = span
    headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
    retry_after_s = None
    try:
        for _ in range(2):
            signed = access.signer.sign(url)
            answer = _get(signed, headers, access.retry.timeout_s, origin=access.origin or url)
            if answer.status not in REFUSED:
                break
            access.signer.forget(signed)
    except urllib3.exceptions.HTTPError as error:
        fault = _named(error)
    else:
        if answer.status in DONE:
            piece = _piece(answer, start, length)
            if isinstance(piece, Piece):
                return piece
            fault = piece
        else:
            fault = f"the storage answered {answer.status}"
            if answer.status not in TRANSIENT_STATUSES:
                raise _lasting(what, url, answer.status, access.signer.advice)
            retry_after_s = asked_wait_s(answer.headers.get("Retry-After"))
    fix = "try again later, or with fewer readers at once"
    raise TransientError(what, value=url, reason=fault, fix=fix, retry_after_s=retry_after_s)


def _piece(answer: urllib3.BaseHTTPResponse, start: int, length: int) -> Piece | str:
    """Return the bytes of an answer, or what is wrong with them."""
    if answer.status == HTTPStatus.OK:  # a server without ranges
        return Piece(start, answer.data[start : start + length], len(answer.data))
    total = answer.headers.get(CONTENT_RANGE, "").rpartition("/")[2]
    if not total.isdigit():
        return "the server does not state the file's size"
    if len(answer.data) != min(length, int(total) - start):
        return f"{len(answer.data)} bytes arrived instead of {length}"
    return Piece(start, answer.data, int(total))


def _lasting(what: str, url: str, status: int, advice: str) -> ProviderError:
    """Return the error for an answer that no further attempt changes."""
    reason = f"the storage answered {status}"
    if status in REFUSED:
        return AccessError(what, value=url, reason=reason, fix=advice)
    if status in MISSING:
        reason = f"{reason}: the catalogue names a file that is not there"
        return AbsentError(what, value=url, reason=reason, fix="leave out this item")
    return ProviderError(what, value=url, reason=reason, fix="check the item's href")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {redact(str(error))}" if str(error) else type(error).__name__


def _get(url: str, headers: dict[str, str] | None, timeout_s: float, *, origin: str = "") -> urllib3.BaseHTTPResponse:
    """Send one request and follow its redirects, each judged as a link of `origin` is."""
    for _ in range(REDIRECTS + 1):
        judge(url, origin=origin or url)
        pool = pools_for(url, origin=origin or url)
        answer = pool.request("GET", url, headers=headers, timeout=timeout_s, retries=ONCE, redirect=False)
        location = answer.get_redirect_location()
        if not location:
            return answer
        origin, url, last = origin or url, urljoin(url, location), url
        if urlsplit(url)[:2] != urlsplit(last)[:2]:
            headers = {name: value for name, value in (headers or {}).items() if name in ANYWHERE}
    msg = f"more than {REDIRECTS} redirects"
    raise urllib3.exceptions.HTTPError(msg)
