"""Checks of single values: each returns the value in its one type, or an error names it, the reason and the fix."""

from __future__ import annotations

import functools
import math
import numbers
import operator
from typing import TYPE_CHECKING, Any, TypeVar

from rs_embed_dask.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["choice", "flag", "number", "positive", "renamed", "text", "whole"]

_T = TypeVar("_T")


def number(what: str, value: object, *, reason: str = "a finite number is needed", fix: str = "give a number") -> float:
    """Return a finite number as float; booleans, texts, NaN and infinities are refused.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave; any real number, NumPy's included.
    reason, fix : str, optional
        What the message says where the value is no number.

    Returns
    -------
    float

    Raises
    ------
    SpecError
        Where the value is not a finite real number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SpecError(what, value=value, reason=f"{reason}, this is {type(value).__name__}", fix=fix)
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise SpecError(what, value=value, reason=f"{reason}, this is not finite", fix=fix)
    return real + 0.0  # no negative zero, which is equal to zero and has another token


def positive(what: str, value: object, *, at_most: float = math.inf, unit: str = "", fix: str = "") -> float:
    """Return a number above zero and at most `at_most` as float.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.
    at_most : float, optional
        The largest value allowed, in `unit`. Default: no limit.
    unit : str, optional
        Unit for the message, for example ``"m"``.
    fix : str, optional
        What the message advises. Default: give a number in the range.

    Returns
    -------
    float

    Raises
    ------
    SpecError
        Where the value is not a finite number in the range.
    """
    span = f"above 0{f' and at most {at_most:g}' if math.isfinite(at_most) else ''}{f' {unit}' if unit else ''}"
    advice = fix or f"give a number {span}"
    real = number(what, value, fix=advice)
    if not 0 < real <= at_most:
        raise SpecError(what, value=value, reason=f"it must be {span}", fix=advice)
    return real


def whole(what: str, value: object, *, low: int, high: int, fix: str = "") -> int:
    """Return a whole number within [low, high] as int; ``3.0`` and booleans are refused.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.
    low, high : int
        The range, both ends allowed.
    fix : str, optional
        What the message advises. Default: give a whole number in the range.

    Returns
    -------
    int

    Raises
    ------
    SpecError
        Where the value is not a whole number in the range.
    """
    advice = fix or f"give a whole number in [{low}, {high}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        reason = f"a whole number is needed, this is {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=advice)
    if not low <= int(value) <= high:
        raise SpecError(what, value=value, reason=f"it must lie in [{low}, {high}]", fix=advice)
    return int(value)


def text(what: str, value: object, *, fix: str) -> str:
    """Return a text that is not empty, without the blanks round it.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.
    fix : str
        What the message advises.

    Returns
    -------
    str

    Raises
    ------
    SpecError
        Where the value is no text, or an empty one.
    """
    if not isinstance(value, str):
        raise SpecError(what, value=value, reason=f"a text is needed, this is {type(value).__name__}", fix=fix)
    if not value.strip():
        raise SpecError(what, value=value, reason="the text is empty", fix=fix)
    return value.strip()


def flag(what: str, value: object, *, fix: str) -> bool:
    """Return True or False; 1, 0 and texts are refused.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.
    fix : str
        What the message advises.

    Returns
    -------
    bool

    Raises
    ------
    SpecError
        Where the value is neither.
    """
    if not isinstance(value, bool):
        reason = f"True or False is needed, this is {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=fix)
    return value


def choice(what: str, value: object, known: Collection[str]) -> str:
    """Return a name that is among the known ones.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.
    known : collection of str
        The names allowed.

    Returns
    -------
    str

    Raises
    ------
    SpecError
        Where the value is no text.
    UnknownNameError
        Where it is not among the names; the closest ones are the fix.
    """
    if not isinstance(value, str):
        reason = f"a name is needed, this is {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=f"use one of {', '.join(sorted(known))}")
    if value not in known:
        raise UnknownNameError.among(what, value, known)
    return value


def renamed(**names: str) -> Callable[[type[_T]], type[_T]]:
    """Let a dataclass be made and read by second names of its fields (those of rs-embed).

    Parameters
    ----------
    **names : str
        Second name = field, for example ``scale_m="resolution_m"``.

    Returns
    -------
    callable
        The class decorator. Giving both names with different values is a `SpecError`.
    """

    def decorate(kind: type[_T]) -> type[_T]:
        plain: Callable[..., None] = kind.__init__
        order = tuple(kind.__annotations__)

        @functools.wraps(plain)
        def init(self: object, *args: Any, **given: Any) -> None:
            for second in names.keys() & given.keys():
                first, value = names[second], given.pop(second)
                taken = {**dict(zip(order, args, strict=False)), **given}.get(first)
                if value is None:
                    continue
                if taken is None:
                    given[first] = value
                elif taken != value:
                    reason = f"{first} = {taken!r} was given too, and it is the same thing"
                    raise SpecError(f"{kind.__name__}.{second}", value=value, reason=reason, fix=f"give {first} only")
            plain(self, *args, **given)

        setattr(kind, "__init__", init)  # noqa: B010  mypy refuses the plain assignment
        for second, first in names.items():
            setattr(kind, second, property(operator.attrgetter(first), doc=f"Second name of `{first}`."))
        return kind

    return decorate
