"""Turning plain addresses into ones that may be read, at the moment of reading and in the process that reads.

A signer is a small frozen value: it travels in graphs and keys. What it obtains (tokens) stays in this process, in
memory, and is never part of a value, a key or a message.
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
from dataclasses import dataclass
from http import HTTPStatus
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

import requests

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, redact

__all__ = ["PlainLinks", "PlanetaryComputerTokens", "Signer"]

BLOB_HOST: Final = ".blob.core.windows.net"
PUBLIC_HOST: Final = "ai4edatasetspublicassets.blob.core.windows.net"
REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
TOKEN_RETRIES: Final = 4
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


@dataclass(frozen=True)
class _Token:
    text: str
    expiry: dt.datetime
    fetched: dt.datetime

    def fresh(self, now: dt.datetime) -> bool:
        """Tell whether a request that begins now will end before the expiry: a minute, or a tenth of a short life."""
        margin = min(LONGEST_MARGIN_S, 0.1 * (self.expiry - self.fetched).total_seconds())
        return (self.expiry - now).total_seconds() > margin


@dataclass(frozen=True)
class _Failure:
    fault: ProviderError
    at: float

    def concerns(self, asked: float) -> bool:
        """Tell whether a thread that asked then is answered by this failure: it waited for it, or it lasts."""
        return asked <= self.at or (isinstance(self.fault, AccessError) and asked - self.at < REFUSAL_LASTS_S)


class _Wallet:
    """The tokens of this process: one a container, fetched by one thread while the others wait for its outcome."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._guard = threading.Lock()
        self._locks: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def token(self, account: str, container: str) -> str:
        key, asked = (account, container), time.monotonic()
        with self._guard:
            lock = self._locks[key]
        with lock:
            kept, failed = self._tokens.get(key), self._failures.get(key)
            if kept is not None and kept.fresh(dt.datetime.now(dt.UTC)):
                return kept.text
            if failed is not None and failed.concerns(asked):
                raise copy.copy(failed.fault)
            found = _fetch(account, container)
            if isinstance(found, _Token):
                self._tokens[key] = found
                return found.text
            self._failures[key] = _Failure(found, time.monotonic())
            raise found

    def forget(self, account: str, container: str, *, text: str) -> None:
        """Drop a token, unless another thread has replaced it already."""
        with self._guard:
            kept = self._tokens.get((account, container))
            if kept is not None and kept.text == text:
                del self._tokens[account, container]

    def clear(self) -> None:
        with self._guard:
            self._tokens.clear()
            self._failures.clear()


_WALLET: Final = _Wallet()


def forget_tokens() -> None:
    """Drop every token, and where they come from, as a new process would have none."""
    _WALLET.clear()
    _client().TOKEN_CACHE.clear()
    _client().Settings.get.cache_clear()


@dataclass(frozen=True, slots=True)
class PlanetaryComputerTokens:
    """Read tokens of the Planetary Computer, obtained by the `planetary_computer` package.

    That package decides where tokens come from and whether a subscription key goes along, by its own settings. One
    token a storage container and process is fetched and used until the expiry that it states itself (``se``).
    """

    def sign(self, href: str) -> str:
        """Return `href` with a token behind it, or as it is where none is needed.

        Raises
        ------
        AccessError
            If the issuer refuses.
        TransientError
            If the issuer cannot be reached, or asks to come back later.
        """
        place = _container(href)
        return href if place is None else f"{href}?{_WALLET.token(*place)}"

    def forget(self, signed: str) -> None:
        """Drop the token that `signed` carries."""
        href, _, text = signed.partition("?")
        place = _container(href)
        if place is not None:
            _WALLET.forget(*place, text=text)

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


def _fetch(account: str, container: str) -> _Token | ProviderError:
    """Ask the issuer for a token; its own waits for 429 (Retry-After) are kept."""
    sas, place = _client(), f"{account}/{container}"
    sas.TOKEN_CACHE.pop(f"{sas.Settings.get().sas_url}/{place}", None)  # freshness is judged here, by `se`
    try:
        answer = sas.get_token(account, container, retry_total=TOKEN_RETRIES)
    except requests.HTTPError as error:
        return _refusal(place, error.response)
    except requests.RequestException as error:
        return _later(place, redact(str(error)))
    return _Token(str(answer.token), _expiry(answer), dt.datetime.now(dt.UTC))


def _expiry(answer: Any) -> dt.datetime:
    """Return the expiry of a token: the earlier of what it says itself and what the issuer says of it."""
    stated: dt.datetime = answer.expiry if answer.expiry.tzinfo else answer.expiry.replace(tzinfo=dt.UTC)
    inside = [dt.datetime.fromisoformat(text) for text in parse_qs(str(answer.token)).get("se", [])]
    return min([stated, *(t if t.tzinfo else t.replace(tzinfo=dt.UTC) for t in inside)])


def _refusal(place: str, response: requests.Response | None) -> ProviderError:
    if response is not None and response.status_code in REFUSED:
        return AccessError(
            "token for container",
            value=place,
            reason=f"the issuer answered {response.status_code}",
            fix=PlanetaryComputerTokens().advice,
        )
    status = "nothing" if response is None else str(response.status_code)
    return _later(place, f"the issuer answered {status}")


def _later(place: str, reason: str) -> TransientError:
    return TransientError(
        "token for container",
        value=place,
        reason=reason,
        fix="try again later; if it lasts, look at planetarycomputer.microsoft.com, or lower the number of workers",
    )
