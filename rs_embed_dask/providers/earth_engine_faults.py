"""What Earth Engine's faults mean: try again, ask for less at a time, or give up and say what to do."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from rs_embed_dask.errors import AccessError, ProviderError, TransientError

__all__ = ["TooMuchError", "as_ours", "fault_kinds", "status_of"]

_PASSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_TOO_MUCH: Final = re.compile(r"user memory limit|computation timed out|total request size", re.IGNORECASE)
_LOGIN: Final = re.compile(r"authorize access|ee\.Authenticate|no project found|project=", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"(?is)ya29\.[\w.-]+|bearer\s+\S+|-----BEGIN.*?(-----END[^-]*-----|$)|\b1//[\w-]{20,}|\beyJ[\w.-]{20,}"
)
_LONGEST: Final = 300


class TooMuchError(ProviderError):
    """One request asked for more than the service does at a time."""


def fault_kinds() -> tuple[type[BaseException], ...]:
    """Name what the client and what it stands on can raise over a request.

    Returns
    -------
    tuple of classes
        To be caught; the client is imported by now.
    """
    import ee
    import google.auth.exceptions
    import googleapiclient.errors

    own = (ConnectionError, TimeoutError, ValueError, EOFError, OSError)
    return (ee.EEException, google.auth.exceptions.GoogleAuthError, googleapiclient.errors.Error, *own)


def _answer(error: BaseException) -> Any:
    """Find the response behind an error: the client drops it, but leaves the original as the context."""
    for one in (error, error.__context__, error.__cause__):
        if getattr(one, "resp", None) is not None:
            return one.resp  # type: ignore[union-attr]
    return None


def status_of(error: BaseException) -> int | None:
    """Tell the HTTP status of a fault.

    Parameters
    ----------
    error : BaseException
        As the client raised it.

    Returns
    -------
    int or None
        None where there was no answer.
    """
    answer = _answer(error)
    return None if answer is None else int(answer.status)


def _asked_s(error: BaseException) -> float | None:
    after = str((_answer(error) or {}).get("retry-after", ""))
    return float(after) if after.replace(".", "", 1).isdecimal() else None


def _text(error: BaseException) -> str:
    """Shorten a message and cut out whatever looks like a token or a key."""
    plain = _SECRET.sub("...", " ".join(str(error).split()))
    return plain[:_LONGEST] or type(error).__name__


def as_ours(error: BaseException, what: str, *, advice: str, opening: bool = False) -> ProviderError:
    """Say which of our faults one of the client's is.

    Parameters
    ----------
    error : BaseException
        As the client raised it.
    what : str
        What was asked for.
    advice : str
        What to run where access is refused.
    opening : bool, default False
        Whether the session was being opened, where a bad file or value means bad credentials.

    Returns
    -------
    ProviderError
        `AccessError`, `TransientError`, `TooMuchError`, or a lasting one.
    """
    import google.auth.exceptions

    status, text = status_of(error), _text(error)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        passing = isinstance(error, google.auth.exceptions.TransportError) or getattr(error, "retryable", False)
        return _later(what, text, None) if passing else AccessError(what, reason=_refusal(text), fix=advice)
    if status is not None:
        return _answered(status, text, what, advice=advice, asked_s=_asked_s(error))
    if isinstance(error, ConnectionError | TimeoutError):
        return _later(what, text, None)
    if opening and (_LOGIN.search(text) or isinstance(error, OSError | ValueError)):
        return AccessError(what, reason=_refusal(text), fix=advice)
    return _later(what, f"the answer cannot be read: {text}", None)


def _answered(status: int, text: str, what: str, *, advice: str, asked_s: float | None) -> ProviderError:
    """Say which of our faults an answer with a status is."""
    if status in _REFUSED:
        return AccessError(what, reason=f"Earth Engine refused ({status}): {text}", fix=advice)
    if _TOO_MUCH.search(text):
        fix = "take shorter frames, fewer bands or coarser pixels"
        return TooMuchError(what, reason=f"it is too much for one request: {text}", fix=fix)
    if status in _PASSING:
        return _later(what, f"Earth Engine answered {status}: {text}", asked_s)
    fix = "check the collection and the bands; trying again will not help"
    return ProviderError(what, reason=f"Earth Engine answered {status}: {text}", fix=fix)


def _refusal(text: str) -> str:
    return f"no credentials that Earth Engine takes were found: {text}"


def _later(what: str, reason: str, asked_s: float | None) -> TransientError:
    fix = "try again later; the engine does so by itself. If it lasts, lower at_once"
    return TransientError(what, reason=reason, fix=fix, retry_after_s=asked_s)
