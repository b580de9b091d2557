"""The errors of rs-embed-dask: one base, one class per situation.

Every error names the value, the reason and the fix::

    BBox.minlon = 200: longitudes lie in [-180, 180]. Fix: give degrees, or pass crs=.

Errors hold no secrets: a signed URL is cut at its question mark before it reaches a message or an attribute.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MISSING",
    "AccessError",
    "EngineError",
    "LicenceError",
    "ModelError",
    "ModelInputError",
    "NoImageryError",
    "PlanError",
    "ProviderError",
    "RsEmbedError",
    "SpecError",
    "StoreBusyError",
    "StoreError",
    "StoreMismatchError",
    "TransientError",
    "UnknownNameError",
    "UnreachableError",
    "WeightsError",
    "is_key_like",
    "keep_secret",
    "printable",
    "redact",
    "shown",
]

_LONGEST: Final = 80
_MOST_NAMES: Final = 12
_QUERY: Final = re.compile(r"(?i)(?:\?|%3f|\\u003f|&#(?:63|x3f);)[^\s'\"<>)\]}]*")
_PASSWORD: Final = re.compile(r"(?<=//)[^/\s'\"]*@")
# tokens that are known by their form: Google's, JSON web tokens, private keys, and whatever a header calls a bearer's
_TOKEN: Final = re.compile(
    r"(?is)(?<=bearer)[\s:=]+[^\s'\",;]+|\bya29\.[\w.-]+|-----BEGIN.*?(?:-----END[^-]*-----|$)|\b1//[\w-]{20,}"
    r"|\beyJ[\w.-]{20,}|\b(?:gh[oprsu]|hf|github_pat)_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}"
    r"|\bAIza[\w-]{30,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=\btoken)\s+(?=\w*\d)(?=\w*[a-z])\w{12,}"
)
# headers whose whole rest is secret
_HEADER: Final = re.compile(
    r"(?i)(\b(?:set-)?cookie['\"]?\s*:\s*['\"]?|\bauthorization['\"]?\s*[:=]\s*['\"]?digest\s+)[^'\"\r\n]+"
)
# values that are known by their name: sig=..., "access_token": "...", Authorization: Basic ...
_NAME: Final = (
    r"(?i:\b(?:sig|signature|(?:access_|auth_|id_|refresh_|sas_|session_)?token)"
    r"|[\w-]*(?:secret|passw(?:or)?d|passphrase|pwd|(?:api|account|access)[_-]?key(?:[_-]?id)?|subscription[_-]key))"
)
# names that also stand before what is no secret: there, only a mixture of letters and digits is one
_WEAK: Final = re.compile(
    r"((?i:\b[\w-]*(?:key|auth|jwt|sid|session(?:id)?|sas|credentials?))['\"]?\s*[=:]\s*['\"]?)"
    r"(?=[\w.~+-]*\d)(?=[\w.~+-]*[A-Za-z])[\w.~+-]{10,}(?![\w./~+-]*/[\w.~+-]+\.)"
)
_VALUE: Final = r"[^\s'\"&<>,;)\]}]"
_NAMED: Final = re.compile(
    rf"({_NAME}=['\"]?){_VALUE}+|({_NAME}['\"]?\s*:\s*['\"]?)(?={_VALUE}*[A-Z\d]){_VALUE}{{6,}}"
    rf"|((?i:authorization)['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?){_VALUE}+"
)
_LINK: Final = re.compile(r"(?i)(?:https?://|\burl: /)[^\s'\"<>]*")
_SEGMENT: Final = re.compile(r"(?<=/)[^/?#&=:\s]+")
_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SWITCH: Final = re.compile(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])")
_SHORT_KEY, _LONG_KEY, _SWITCHES, _LETTERS, _DIGITS = 12, 16, 4, 3, 0.3
# what a terminal obeys or hides: control characters but tab and line feed, marks that reorder text, lone surrogates
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
_PLAIN: Final = (bool, int, float, type(None), dt.date)


class _Missing:
    """The type of `MISSING`, which stands for no value."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

_SECRETS: Final[set[str]] = set()


def keep_secret(text: str) -> str:
    """Return a secret that this process has read, which `redact` removes from now on wherever it stands."""
    if text:
        _SECRETS.add(text)
    return text


def is_key_like(segment: str) -> bool:
    """Tell whether a segment of an address's path may be a key: a UUID, or a long mixture of letters and digits."""
    if _UUID.search(segment):
        return True
    return not _COMMIT.fullmatch(segment) and any(map(_is_random, _RUN.findall(segment)))


def _is_random(run: str) -> bool:
    digits, size = sum(map(str.isdigit, run)), len(run)
    mixed = size >= _SHORT_KEY and len(_SWITCH.findall(run)) >= _SWITCHES
    return mixed or (size >= _LONG_KEY and _DIGITS * size <= digits <= size - _LETTERS)


def _without_keys(link: re.Match[str]) -> str:
    return _SEGMENT.sub(lambda segment: "..." if is_key_like(segment[0]) else segment[0], link[0])


def redact(text: str) -> str:
    """Remove whatever may be secret from a text.

    That is: every question mark with what follows it up to a space, quote or bracket (the query of a signed URL),
    the value of ``sig=...``, ``"access_token": "..."`` and the like outside a query, what follows ``Bearer``, tokens
    and keys that are known by their form, a user name or password before a host, and what may be a key in the path of
    an http(s) address.

    Parameters
    ----------
    text : str
        Any text, for example the message of a library's error.

    Returns
    -------
    str
        The text without the secrets.

    Examples
    --------
    >>> redact("GET https://host/a.tif?sig=abc failed")
    'GET https://host/a.tif failed'
    >>> redact("401: Authorization: Bearer k3yk3y was refused")
    '401: Authorization: Bearer ... was refused'
    """
    for secret in _SECRETS:
        text = text.replace(secret, "...")
    text = _LINK.sub(_without_keys, _QUERY.sub("", text))
    text = _HEADER.sub(r"\1...", _PASSWORD.sub("", text))
    text = _WEAK.sub(r"\1...", _NAMED.sub(lambda named: f"{named[1] or named[2] or named[3]}...", text))
    return _TOKEN.sub(lambda token: " ..." if token[0][:1].isspace() else "...", text)


def printable(text: str) -> str:
    r"""Escape what a terminal would obey or hide; line feeds and tabs stay.

    Parameters
    ----------
    text : str
        Any text, for example a reason in a store of somebody else's.

    Returns
    -------
    str
        The text, with ``\x1b`` and the like written out.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _UNSEEN.sub(lambda unseen: unseen[0].encode("unicode_escape").decode(), text)


def shown(value: object) -> str:
    """Return a value as messages show it: its repr, redacted, at most 80 characters.

    Parameters
    ----------
    value : object
        Any value; arrays are shown by type and shape.

    Returns
    -------
    str
        One line of at most 80 characters without a question mark.
    """
    shape = getattr(value, "shape", None)
    array = isinstance(shape, tuple) and shape
    text = f"{type(value).__name__} of shape {shape}" if array else repr(value)
    text = printable(redact(" ".join(text.split())))
    if len(text) <= _LONGEST:
        return text
    end = 40 if "/" in text and " " not in text else 10  # of a path or an address the last part says most
    return f"{text[: _LONGEST - 3 - end]}...{text[-end:]}"


def _rebuild(kind: type[RsEmbedError], message: str, state: dict[str, object]) -> RsEmbedError:
    """Restore a pickled error, whatever the signature of its class."""
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class RsEmbedError(Exception):
    """The base of every error that this package raises.

    Parameters
    ----------
    what : str
        What is at fault, as the user would write it, for example ``"BBox.minlon"``.
    value : object, optional
        The value that was given, if there is one.
    reason : str
        Why it cannot be used.
    fix : str
        What to do about it.

    Attributes
    ----------
    what, reason, fix : str
        As given, redacted.
    value : object
        The value itself if it is a number, a date or None; otherwise its shortened, redacted text.
    """

    what: str
    value: object
    reason: str
    fix: str

    def __init__(self, what: str, *, value: object = MISSING, reason: str, fix: str) -> None:
        self.what = printable(redact(what))
        self.reason = printable(redact(reason)).strip().removesuffix(".")
        self.fix = printable(redact(fix)).strip().removesuffix(".")
        plain = isinstance(value, _PLAIN) or value is MISSING
        self.value = value if plain else printable(redact(value)) if isinstance(value, str) else shown(value)
        named = "" if value is MISSING else f" = {shown(value)}"
        super().__init__(f"{self.what}{named}: {self.reason}. Fix: {self.fix}.")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class SpecError(RsEmbedError, ValueError):
    """A spec or an argument that is not valid."""


class UnknownNameError(RsEmbedError, LookupError):
    """A model, provider, sensor, band or variant that does not exist."""

    @classmethod
    def among(cls, what: str, value: object, known_names: Iterable[str]) -> Self:
        """Return the error for an unknown name, with the closest known names as the fix.

        Parameters
        ----------
        what : str
            What is named, for example ``"model"``.
        value : object
            The name that was given.
        known_names : iterable of str
            The names that exist.

        Returns
        -------
        UnknownNameError
            For the caller to raise.
        """
        names = sorted({str(name) for name in known_names})
        plain = {name.lower().replace("_", "-"): name for name in names}
        near = difflib.get_close_matches(str(value).lower().replace("_", "-"), plain, n=3, cutoff=0.6)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(names[:_MOST_NAMES]) + more
        close = " or ".join(repr(plain[name]) for name in near)
        if not names:
            fix = "register one first; there are none yet"
        elif close:
            fix = f"did you mean {close}; known are {listed}"
        else:
            fix = f"use one of {listed}"
        return cls(what, value=value, reason="unknown name", fix=fix)


class ModelInputError(RsEmbedError, ValueError):
    """Arrays that do not match a model's card."""


class WeightsError(RsEmbedError):
    """Weights that are missing, truncated, altered, misshapen or unsafe to open."""


class LicenceError(WeightsError):
    """Weights whose licence must be accepted first."""


class ProviderError(RsEmbedError):
    """A read that failed for a permanent reason."""


class NoImageryError(ProviderError):
    """The provider has no imagery for this place and span."""

    n_days: int | None = None
    """On how many days the catalogue has scenes, none of them fit; None if they were not counted."""


class TransientError(ProviderError):
    """A read that failed and may succeed when retried.

    Parameters
    ----------
    what, value, reason, fix
        As in `RsEmbedError`.
    retry_after_s : float, optional
        Seconds that the service asked to wait, if it did.
    """

    retry_after_s: float | None

    def __init__(
        self, what: str, *, value: object = MISSING, reason: str, fix: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, value=value, reason=reason, fix=fix)
        self.retry_after_s = retry_after_s


class UnreachableError(ProviderError):
    """A service that nobody reaches when a run begins."""


class AccessError(ProviderError):
    """The provider refused access: credentials are missing, wrong or insufficient."""


class StoreError(RsEmbedError):
    """A store that cannot be read or written."""


class StoreMismatchError(StoreError):
    """A store that belongs to another request."""


class StoreBusyError(StoreError):
    """A store that another run is writing."""


class EngineError(RsEmbedError):
    """A run that cannot continue."""


class PlanError(EngineError):
    """A request that cannot be run at all."""


class ModelError(RsEmbedError):
    """An encoder that failed on an item."""
