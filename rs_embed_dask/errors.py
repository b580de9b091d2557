"""The errors of rs-embed-dask: one base, one class a situation.

Every error names the value, the reason and the fix::

    BBox.minlon = 200: longitudes lie in [-180, 180]. Fix: give degrees, or pass crs=.

Nothing secret is kept: a signed URL is cut at its question mark before it reaches a message or an attribute.
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
    "StoreError",
    "StoreMismatchError",
    "TransientError",
    "UnknownNameError",
    "WeightsError",
    "redact",
    "shown",
]

_LONGEST: Final = 80
_MOST_NAMES: Final = 12
_QUERY: Final = re.compile(r"\?[^\s'\"<>)\]}]*")
_SIGNATURE: Final = re.compile(r"(?i)\b(sig|signature|x-amz-signature|x-goog-signature|access_token)=[^&\s'\"<>)\]}]*")
_PASSWORD: Final = re.compile(r"(?<=://)[^/\s@'\"]+@")
_PLAIN: Final = (bool, int, float, type(None), dt.date)


class _Missing:
    """The type of `MISSING`: there is no value to name."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def redact(text: str) -> str:
    """Cut what may be secret out of a text.

    Every question mark and what follows it up to a space, quote or bracket goes (the query of a signed URL), and so
    do ``sig=...`` and the like outside a query, and a user name or password before a host.

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
    """
    return _PASSWORD.sub("", _SIGNATURE.sub(r"\1=...", _QUERY.sub("", text)))


def shown(value: object) -> str:
    """Write a value as it stands in a message: its repr, redacted, at most 80 characters.

    Parameters
    ----------
    value : object
        Any value; arrays are shown by type and shape.

    Returns
    -------
    str
        One line of at most 80 characters that holds no question mark.
    """
    shape = getattr(value, "shape", None)
    array = isinstance(shape, tuple) and shape
    text = f"{type(value).__name__} of shape {shape}" if array else repr(value)
    text = redact(" ".join(text.split()))
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 13]}...{text[-10:]}"


def _rebuild(kind: type[RsEmbedError], message: str, state: dict[str, object]) -> RsEmbedError:
    """Make an error again from its pickle, whatever the signature of its class."""
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class RsEmbedError(Exception):
    """The base of every error that this package raises.

    Parameters
    ----------
    what : str
        The thing at fault, as the user would write it, for example ``"BBox.minlon"``.
    value : object, optional
        The value that was given. Left out where there is none.
    reason : str
        Why it cannot be used.
    fix : str
        What to do about it.

    Attributes
    ----------
    what, reason, fix : str
        As given, redacted.
    value : object
        The value itself where it is a number, a date or None; its shortened, redacted text otherwise.
    """

    what: str
    value: object
    reason: str
    fix: str

    def __init__(self, what: str, *, value: object = MISSING, reason: str, fix: str) -> None:
        self.what = redact(what)
        self.reason = redact(reason).strip().removesuffix(".")
        self.fix = redact(fix).strip().removesuffix(".")
        plain = isinstance(value, _PLAIN) or value is MISSING
        self.value = value if plain else redact(value) if isinstance(value, str) else shown(value)
        named = "" if value is MISSING else f" = {shown(value)}"
        super().__init__(f"{self.what}{named}: {self.reason}. Fix: {self.fix}.")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class SpecError(RsEmbedError, ValueError):
    """A spec or an argument that cannot be used."""


class UnknownNameError(RsEmbedError, LookupError):
    """A model, provider, sensor, band or variant that nobody knows."""

    @classmethod
    def among(cls, what: str, value: object, known_names: Iterable[str]) -> Self:
        """Make the error for a name that is not among the known ones, with the closest of them as the fix.

        Parameters
        ----------
        what : str
            What was asked for, for example ``"model"``.
        value : object
            The name that was given.
        known_names : iterable of str
            The names that would have been understood.

        Returns
        -------
        UnknownNameError
            To be raised by the caller.
        """
        names = sorted({str(name) for name in known_names})
        plain = {name.lower().replace("_", "-"): name for name in names}
        near = difflib.get_close_matches(str(value).lower().replace("_", "-"), plain, n=3, cutoff=0.6)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        listed = ", ".join(names[:_MOST_NAMES]) + more
        close = " or ".join(repr(plain[name]) for name in near)
        if not names:
            fix = "register one first, none is known"
        elif close:
            fix = f"did you mean {close}; known are {listed}"
        else:
            fix = f"use one of {listed}"
        return cls(what, value=value, reason="this name is not known", fix=fix)


class ModelInputError(RsEmbedError, ValueError):
    """Arrays that a model's card cannot take."""


class WeightsError(RsEmbedError):
    """Weights that are missing, truncated, altered, misshapen or unsafe to open."""


class LicenceError(WeightsError):
    """Weights whose licence must be accepted first."""


class ProviderError(RsEmbedError):
    """A read that failed for a lasting reason."""


class NoImageryError(ProviderError):
    """The provider was searched and has nothing there and then."""


class TransientError(ProviderError):
    """A read that failed and may well succeed when tried again.

    Parameters
    ----------
    what, value, reason, fix
        As in `RsEmbedError`.
    retry_after_s : float, optional
        Seconds that the service asked to wait, if it said so.
    """

    retry_after_s: float | None

    def __init__(
        self, what: str, *, value: object = MISSING, reason: str, fix: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, value=value, reason=reason, fix=fix)
        self.retry_after_s = retry_after_s


class AccessError(ProviderError):
    """The provider refused: credentials are missing, wrong or not enough."""


class StoreError(RsEmbedError):
    """A store that cannot be read or written."""


class StoreMismatchError(StoreError):
    """A store that was made by another request."""


class EngineError(RsEmbedError):
    """A run that cannot go on."""


class PlanError(EngineError):
    """A request that cannot be run at all."""


class ModelError(RsEmbedError):
    """An encoder that failed on an item."""
