"""Byte ranges of files over HTTP: pooled, signed at the last moment, retried, and quiet about signatures.

GDAL's own HTTP reading is not used: it remembers a failed address for the life of the process, so that no retry can
succeed, and writes signed addresses into its messages. Here every attempt is a fresh, freshly signed request.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import importlib
import json
import re
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote, urldefrag, urlsplit

import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, keep_secret, redact
from rs_embed_dask.providers.addresses import KEY, AddressError, joined, judge, pools_for
from rs_embed_dask.providers.buckets import BucketObject, learned_region, regional, what_to_set
from rs_embed_dask.providers.connections import PIECE_BYTES, body_of
from rs_embed_dask.providers.kept import ByteCache, Piece
from rs_embed_dask.providers.ranges import Paces
from rs_embed_dask.providers.reach import no_connection
from rs_embed_dask.providers.retry import (
    REFUSED_STATUSES,
    TRANSIENT_STATUSES,
    ReadState,
    RetryPolicy,
    asked_wait_s,
    deadline,
    retried,
    time_left_s,
)
from rs_embed_dask.providers.tiff import TiffLimits

__all__ = [
    "AbsentError",
    "Access",
    "KeyedLinks",
    "Piece",
    "PlainLinks",
    "PlanetaryComputerTokens",
    "Signer",
    "read_range",
    "split_link",
    "worthwhile_gap",
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
            token = sas.SASToken(**json.loads(answer.data))
            return _Token(str(token.token), _expiry(token), dt.datetime.now(dt.UTC))
    except (urllib3.exceptions.HTTPError, ValueError, TypeError) as error:
        fault = _named(error)  # ValueError and TypeError: an answer that is not a token
    if fault:
        raise TransientError(what, value=place, reason=fault, fix=_LATER)
    reason = f"the issuer answered {answer.status}"
    if answer.status in REFUSED_STATUSES:
        raise AccessError(what, value=place, reason=reason, fix=PlanetaryComputerTokens().advice)
    if answer.status in TRANSIENT_STATUSES or answer.status < HTTPStatus.MULTIPLE_CHOICES:
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
DONE: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
# how a page or a message begins that came in place of a file; no file that is read here begins so
PAGE: Final = (b"<", b"{")
MARK: Final = b"\xef\xbb\xbf"
REFUSED: Final = REFUSED_STATUSES | {HTTPStatus.CONFLICT}  # Azure's answer where public access is not permitted
MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
ONCE: Final = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=0)
REDIRECTS: Final = 5
LEAST_S: Final = 1e-3
MOST_MESSAGE_BYTES: Final = 2**20
"""Of an answer that is not a file: a token, or what a server says about an error."""
# what goes along to another server; a key does not
ANYWHERE: Final = frozenset({"Range", "Accept-Encoding"})


class AbsentError(ProviderError):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Access:
    """How files are reached: who signs, how patiently, on whose word, and what is at hand already. Holds no secret."""

    signer: Signer = field(default_factory=PlainLinks)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    origin: str = ""
    """The address of the catalogue that names the files; without one, the user names each file."""
    limits: TiffLimits = field(default_factory=TiffLimits)
    cache: ByteCache | None = field(default=None, compare=False, repr=False)
    state: ReadState = field(default_factory=ReadState, compare=False, repr=False)
    is_strict: bool = True
    """A file that cannot be read fails the read; otherwise it costs its scene."""


@functools.lru_cache(maxsize=4096)  # that of a file is asked for again and again
def split_link(href: str) -> tuple[str, str]:
    """Return an address, and the name that a link to it carries."""
    url, name = urldefrag(href)
    return url, name


def read_range(href: str, start: int, length: int, *, access: Access, size: int | None = None) -> Piece:
    """Return `length` bytes of a file, of `size` if that is known, from `start` on, or fewer where the file ends."""
    url, fragment = split_link(href)
    what = unquote(fragment) or "file"
    judge(url, origin=access.origin or url, what=what)
    if urlsplit(url).scheme in {"http", "https"}:
        return _read_http(what, url, (start, length, size), access)
    return _read_local(what, url, start, length)


def _read_local(what: str, url: str, start: int, length: int) -> Piece:
    path = Path(unquote(urlsplit(url).path))
    if not path.is_file():
        raise AbsentError(what, value=url, reason="there is no such file", fix="correct the item's href")
    with path.open("rb") as file:
        file.seek(start)
        return Piece(start, file.read(length), path.stat().st_size)


def _read_http(what: str, url: str, span: tuple[int, int, int | None], access: Access) -> Piece:
    try:
        with deadline(ends=access.state.ends_at):
            return retried(lambda: _attempt(what, url, span, access), access.retry)
    except AddressError as error:
        refused = error
    raise AddressError(what, value=url, reason=f"it leads to {refused.value}: {refused.reason}", fix=refused.fix)


def _attempt(what: str, url: str, span: tuple[int, int, int | None], access: Access) -> Piece:
    """Read a range once; a signature that was refused is replaced."""
    start, length, size = span
    headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
    retry_after_s = None
    try:
        for _ in range(2):
            signed = access.signer.sign(url)
            most: dict[int, int] = {HTTPStatus.PARTIAL_CONTENT: length, HTTPStatus.OK: access.limits.whole_bytes}
            answer = _get(signed, headers, access.retry.timeout_s, origin=_origin(signed, url, access), most_bytes=most)
            if answer.status not in REFUSED and not learned_region(url, answer.status, answer.headers):
                break
            access.signer.forget(signed)
    except urllib3.exceptions.HTTPError as error:
        fault = _named(error)
    else:
        if answer.status in DONE:
            is_part = answer.status == HTTPStatus.PARTIAL_CONTENT
            if answer.is_cut and not is_part:
                raise _too_long(what, url, access.limits)
            piece = _part(answer, start, length) if is_part else _cut_out(answer, start, length, size)
            if isinstance(piece, Piece):
                return piece
            fault = piece
        else:
            fault = f"the storage answered {answer.status}"
            if answer.status not in TRANSIENT_STATUSES and answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _lasting(what, url, answer.status, what_to_set(url) or access.signer.advice)
            retry_after_s = asked_wait_s(answer.headers.get("Retry-After"))
    fix = "try again later, or with fewer readers at once"
    raise TransientError(what, value=url, reason=fault, fix=fix, retry_after_s=retry_after_s)


def _origin(signed: str, url: str, access: Access) -> str:
    """Return on whose word a file is opened: a service of buckets is the user's choice, whoever names the object."""
    return signed if BucketObject.at(url) else access.origin or url


def _too_long(what: str, url: str, limits: TiffLimits) -> ProviderError:
    reason = f"the server does not send parts of files, and the whole is longer than {limits.whole_bytes} bytes"
    return ProviderError(what, value=url, reason=reason, fix="leave out this item, or raise whole_bytes of its limits")


def _part(answer: Answer, start: int, length: int) -> Piece | str:
    """Return the bytes of an answer to a range, or what is wrong with them."""
    stated = answer.headers.get("Content-Range", "")
    matched = CONTENT_RANGE.fullmatch(stated.strip())
    if matched is None:
        return f"the server does not state range and size of what it sent (Content-Range: {stated or 'none'})"
    first, last, size = map(int, matched.groups())
    if (first, last) != (start, min(start + length, size) - 1):
        return f"the server sent bytes {first}-{last} of {size}, not {start}-{start + length - 1}"
    if answer.is_cut:
        return f"more than {length} bytes arrived"
    if len(answer.data) != last - first + 1:
        return f"{len(answer.data)} bytes arrived instead of {last - first + 1}"
    return Piece(start, answer.data, size)


def _cut_out(answer: Answer, start: int, length: int, size: int | None) -> Piece | str:
    """Return the bytes out of a whole file, which a server without ranges sends, or what is wrong with it."""
    data = answer.data
    if data[:64].removeprefix(MARK).lstrip().startswith(PAGE):
        kind = answer.headers.get("Content-Type", "text of no stated type")
        return f"the server sent a page or message ({kind}), not the file"
    if len(data) <= start or (size is not None and len(data) < size):
        return f"{len(data)} bytes of the file arrived instead of {size or f'more than {start}'}"
    return Piece(start, data[start : start + length], len(data), is_of_whole=True)


def _lasting(what: str, url: str, status: int, advice: str) -> ProviderError:
    """Return the error for an answer that no further attempt changes."""
    reason = f"the storage answered {status}"
    if status in REFUSED or (status == HTTPStatus.BAD_REQUEST and BucketObject.at(url)):  # an expired credential's
        return AccessError(what, value=url, reason=reason, fix=advice)
    if status in MISSING:
        reason = f"{reason}: the catalogue names a file that is not there"
        return AbsentError(what, value=url, reason=reason, fix="leave out this item")
    return ProviderError(what, value=url, reason=reason, fix="check the item's href")


def _named(error: Exception) -> str:
    if why := no_connection(error):
        return why
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason  # what happened, without the words about retries that were not made
    return f"{type(error).__name__}: {redact(str(error))}" if str(error) else type(error).__name__


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent, unpacked; `is_cut` where there was more than may come."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    is_cut: bool


def _get(
    url: str,
    headers: dict[str, str] | None,
    timeout_s: float,
    *,
    origin: str = "",
    most_bytes: Mapping[int, int] = {},
) -> Answer:
    """Send one request and follow its redirects, each judged as a link of `origin` is."""
    for _ in range(REDIRECTS + 1):
        judge(url, origin=origin or url)
        pool = pools_for(url, origin=origin or url)
        silence_s, asked = min(timeout_s, max(time_left_s(), LEAST_S)), time.perf_counter()
        came = pool.request(
            "GET", url, headers=headers, timeout=silence_s, retries=ONCE, redirect=False, preload_content=False
        )
        location = came.get_redirect_location() or regional(url, came.status, came.headers)
        begun, most = time.perf_counter(), most_bytes.get(came.status, MOST_MESSAGE_BYTES)
        parts = came.stream(_piece_bytes(came.headers, most), decode_content="Content-Encoding" in came.headers)
        data, is_cut = body_of(parts, most)
        (came.close if is_cut else came.release_conn)()
        _PACES.note(_server(url), wait_s=begun - asked, body_s=time.perf_counter() - begun, n_bytes=len(data))
        if not location:
            return Answer(came.status, came.headers, data, is_cut)
        origin, url, last = origin or url, joined(url, location), url
        if urlsplit(url)[:2] != urlsplit(last)[:2]:
            headers = {name: value for name, value in (headers or {}).items() if name in ANYWHERE}
    msg = f"more than {REDIRECTS} redirects"
    raise urllib3.exceptions.HTTPError(msg)


def _piece_bytes(headers: Mapping[str, str], most: int) -> int:
    """Return how much of an answer to take at once: all of one that states its length and is not too long."""
    stated = headers.get("Content-Length", "")
    return max(PIECE_BYTES, int(stated)) if stated.isdecimal() and int(stated) <= most else PIECE_BYTES


_PACES: Final = Paces()


def worthwhile_gap(href: str) -> int:
    """Return how many bytes between two ranges of a file are read for the sake of one request less."""
    return _PACES.gap(_server(href))


def _server(url: str) -> str:
    return urlsplit(url).netloc
