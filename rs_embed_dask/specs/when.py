"""When: a calendar year or a half-open range of days, validated on construction."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, overload

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.accepted import DayLike
from rs_embed_dask.specs.base import Record, as_mapping, choice, whole

__all__ = ["FIRST_YEAR", "LAST_YEAR", "SpanLike", "SpansLike", "TemporalSpec", "day", "spans"]

FIRST_YEAR: Final = 1972
LAST_YEAR: Final = 2100
_FIRST: Final = dt.date(FIRST_YEAR, 1, 1)
_LAST: Final = dt.date(LAST_YEAR + 1, 1, 1)
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?(Z|[+-]00:?00)?)?")
_ZONED: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ][\d:.]+[+-]\d{2}(:?\d{2})?")
_CLOCKED: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:?\d{2}[\d:.,]*Z?")
_DATE_FIX: Final = "write 'YYYY-MM-DD', or give a datetime.date"
_ZONE: Final = "days are days of UTC, and this is in another time zone"
_ZONE_FIX: Final = "give the day in UTC: value.astimezone(datetime.UTC).date(), or value.date() to drop the zone"
_CLOCK: Final = "spans consist of whole days, and this has a time of day"


def day(what: str, value: object) -> dt.date:
    """Return a day of UTC from a string, a date, a datetime at midnight or a NumPy datetime.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.

    Returns
    -------
    datetime.date

    Raises
    ------
    SpecError
        If it is not a real day, has a time of day or a time zone other than UTC, or lies outside 1972 to 2100.

    Examples
    --------
    >>> day("start", dt.datetime(2022, 6, 1, tzinfo=dt.UTC))
    datetime.date(2022, 6, 1)
    """
    if isinstance(value, np.datetime64):
        micro = value.astype("datetime64[us]")
        if micro != value and not np.isnat(value):  # nanoseconds, which datetime does not have
            raise SpecError(what, value=str(value), reason=_CLOCK, fix="give its day")
        value = micro.item()
    if isinstance(value, str):
        value = _from_text(what, value)
    if not isinstance(value, dt.date) or value != value:  # noqa: PLR0124  pandas.NaT is a datetime unlike itself
        reason = f"expected a day, got {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=_DATE_FIX)
    if isinstance(value, dt.datetime):
        if value.utcoffset():
            raise SpecError(what, value=str(value), reason=_ZONE, fix=_ZONE_FIX)
        if value.time() != dt.time() or getattr(value, "nanosecond", False):
            raise SpecError(what, value=str(value), reason=_CLOCK, fix="give its .date()")
        value = value.date()
    if not _FIRST <= value <= _LAST:
        reason = f"days lie between {FIRST_YEAR} and {LAST_YEAR}"
        raise SpecError(what, value=value, reason=reason, fix="give a day since the first Landsat of 1972")
    return value


def _from_text(what: str, value: str) -> dt.date:
    if not _ISO.fullmatch(value.strip()):
        if _ZONED.fullmatch(value.strip()):
            raise SpecError(what, value=value, reason=_ZONE, fix="write the day in UTC as 'YYYY-MM-DD'")
        if _CLOCKED.fullmatch(value.strip()):
            raise SpecError(what, value=value, reason=_CLOCK, fix="write its day as 'YYYY-MM-DD'")
        raise SpecError(what, value=value, reason="this is not an ISO date", fix=_DATE_FIX)
    try:
        return dt.date.fromisoformat(value.strip()[:10])
    except ValueError as error:
        reason = f"there is no such date ({error})"
        raise SpecError(what, value=value, reason=reason, fix="check month and day") from error


class _YearDoor:
    """`TemporalSpec.year` is the factory on the class and the number on an instance."""

    @overload
    def __get__(self, instance: None, owner: type[TemporalSpec]) -> Callable[[int], TemporalSpec]: ...
    @overload
    def __get__(self, instance: TemporalSpec, owner: type[TemporalSpec]) -> int | None: ...
    def __get__(
        self, instance: TemporalSpec | None, owner: type[TemporalSpec]
    ) -> int | Callable[[int], TemporalSpec] | None:
        if instance is None:
            return owner.of_year
        return instance.calendar_year


@dataclass(frozen=True, init=False, repr=False)
class TemporalSpec(Record):
    """A calendar year, or the days of UTC from `start` up to but not including `end`.

    Use `TemporalSpec.year(2022)` or `TemporalSpec.range("2022-06-01", "2022-09-01")`; both read back, as `.year` and
    as `.start` and `.end`.

    Parameters
    ----------
    mode : {"year", "range"}
        Which of the two.
    year : int, optional
        1972 to 2100; with mode "year" only.
    start, end : str or date or datetime or numpy.datetime64, optional
        First day, and the day after the last; with mode "range" only.

    Attributes
    ----------
    year : int or None
        The year of mode "year".
    start, end : str or None
        ISO days of mode "range".

    Raises
    ------
    SpecError
        If a day is not real or out of range, the order is wrong, or fields of the other mode are given.

    Examples
    --------
    >>> TemporalSpec.year(2022).year
    2022
    >>> TemporalSpec.range("2022-06-01", "2022-09-01").days
    92
    """

    mode: str
    calendar_year: int | None
    start: str | None
    end: str | None

    def __init__(
        self, mode: str, year: int | None = None, start: DayLike | None = None, end: DayLike | None = None
    ) -> None:
        fix = "use TemporalSpec.year(2022) or TemporalSpec.range('2022-06-01', '2022-09-01')"
        choice("TemporalSpec.mode", mode, ("year", "range"))
        if mode == "year":
            if start is not None or end is not None:
                reason = "a year takes neither start nor end"
                raise SpecError("TemporalSpec.start", value=start if end is None else end, reason=reason, fix=fix)
            year = whole("TemporalSpec.year", year, low=FIRST_YEAR, high=LAST_YEAR)
            first = last = None
        else:
            if year is not None:
                raise SpecError("TemporalSpec.year", value=year, reason="a range does not take a year", fix=fix)
            first, last = day("TemporalSpec.start", start), day("TemporalSpec.end", end)
            _check_order(first, last)
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "calendar_year", year)
        object.__setattr__(self, "start", first and first.isoformat())
        object.__setattr__(self, "end", last and last.isoformat())

    year = _YearDoor()

    @classmethod
    def of_year(cls, year: int) -> TemporalSpec:
        """Make the span of a calendar year; `TemporalSpec.year` calls it.

        Parameters
        ----------
        year : int
            1972 to 2100.

        Returns
        -------
        TemporalSpec
        """
        return cls("year", year)

    @classmethod
    def range(cls, start: DayLike, end: DayLike) -> TemporalSpec:
        """Make the span [start, end).

        Parameters
        ----------
        start : str or date or datetime or numpy.datetime64
            First day.
        end : str or date or datetime or numpy.datetime64
            The day after the last.

        Returns
        -------
        TemporalSpec

        Raises
        ------
        SpecError
            If a day is not real or `end` does not come after `start`.
        """
        return cls("range", start=start, end=end)

    @classmethod
    def of(cls, value: SpanLike) -> TemporalSpec:
        """Return a span, in whatever form it is written.

        Parameters
        ----------
        value : TemporalSpec or int or (start, end) or mapping
            A year is an int, a range is a pair, a mapping is what `to_dict` returns.

        Returns
        -------
        TemporalSpec

        Raises
        ------
        SpecError
            If it is none of these.
        """
        unchecked: Any = value
        if isinstance(unchecked, TemporalSpec):
            return unchecked
        if isinstance(unchecked, int | np.integer):
            return cls.of_year(int(unchecked) if not isinstance(unchecked, bool) else unchecked)
        if isinstance(unchecked, Mapping):
            return cls.from_dict(unchecked)
        match unchecked:
            case (start, end):
                return cls.range(start, end)
        fix = "use TemporalSpec.year(2022) or TemporalSpec.range('2022-06-01', '2022-09-01')"
        raise SpecError("temporal", value=value, reason=f"{type(value).__name__} is not a span", fix=fix)

    @property
    def start_date(self) -> dt.date:
        """First day."""
        if self.calendar_year is not None:
            return dt.date(self.calendar_year, 1, 1)
        return dt.date.fromisoformat(str(self.start))

    @property
    def end_date(self) -> dt.date:
        """The day after the last."""
        if self.calendar_year is not None:
            return dt.date(self.calendar_year + 1, 1, 1)
        return dt.date.fromisoformat(str(self.end))

    @property
    def days(self) -> int:
        """Number of days, at least 1."""
        return (self.end_date - self.start_date).days

    @property
    def midpoint(self) -> dt.date:
        """The day in the middle, rounded down."""
        return self.start_date + dt.timedelta(days=self.days // 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the mode and its fields as JSON values.

        Returns
        -------
        dict
        """
        if self.calendar_year is not None:
            return {"mode": "year", "year": self.calendar_year}
        return {"mode": "range", "start": self.start, "end": self.end}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the span from what `to_dict` returns.

        Parameters
        ----------
        data : mapping
            With ``"mode"`` and ``"year"``, or ``"start"`` and ``"end"``.

        Returns
        -------
        TemporalSpec

        Raises
        ------
        SpecError
            If it is not a mapping, or as for the class.
        UnknownNameError
            If it holds another key.
        """
        fields = as_mapping("TemporalSpec", data)
        for name in fields:
            choice("TemporalSpec field", name, ("mode", "year", "start", "end"))
        return cls(**{"mode": None, **fields})

    def __repr__(self) -> str:
        if self.calendar_year is not None:
            return f"TemporalSpec.year({self.calendar_year})"
        return f"TemporalSpec.range({self.start!r}, {self.end!r})"


def _check_order(first: dt.date, last: dt.date) -> None:
    if first >= last:
        fix = "give the day after the last one, or swap the two" if first == last else "swap start and end"
        reason = f"it must come before the end, {last}, which is not part of the span"
        raise SpecError("TemporalSpec.start", value=first.isoformat(), reason=reason, fix=fix)


SpanLike: TypeAlias = TemporalSpec | int | tuple[DayLike, DayLike] | Mapping[str, Any]
SpansLike: TypeAlias = SpanLike | Iterable[SpanLike] | Mapping[str, SpanLike]


def spans(temporal: Any, n: int) -> list[TemporalSpec]:
    """Return the span of each of n places: one for all, or one each.

    Parameters
    ----------
    temporal : TemporalSpec or sequence of TemporalSpec
        Also anything that `TemporalSpec.of` accepts.
    n : int
        Number of places.

    Returns
    -------
    list of TemporalSpec
        n of them.

    Raises
    ------
    SpecError
        If a list of spans has another length than n, or holds anything that is not a span.
    """
    if isinstance(temporal, TemporalSpec | Mapping | str) or _is_pair(temporal) or not isinstance(temporal, Iterable):
        return [TemporalSpec.of(temporal)] * n
    each = [TemporalSpec.of(value) for value in temporal]
    if len(each) != n:
        reason = f"there are {len(each)} spans for {n} places"
        fix = "give one span for all places, or one for each"
        raise SpecError("temporal", value=len(each), reason=reason, fix=fix)
    return each


def layers(temporal: Any) -> tuple[TemporalSpec, ...]:
    """Return the spans of a map, each one layer of it.

    Parameters
    ----------
    temporal : TemporalSpec or sequence of TemporalSpec
        Also anything that `TemporalSpec.of` accepts.

    Returns
    -------
    tuple of TemporalSpec

    Raises
    ------
    SpecError
        If there is no span, or spans have names.
    """
    if isinstance(temporal, Mapping) and not set(temporal) <= _FIELDS:
        reason, fix = "the layers of a map have days and no names", "give a list of the spans"
        raise SpecError("temporal", value=list(temporal), reason=reason, fix=fix)
    if isinstance(temporal, TemporalSpec | Mapping | str) or _is_pair(temporal) or not isinstance(temporal, Iterable):
        return (TemporalSpec.of(temporal),)
    each = tuple(TemporalSpec.of(value) for value in temporal)
    if not each:
        raise SpecError("temporal", value=temporal, reason="there is no span", fix="give at least one")
    return each


def seasons(temporal: Any, n: int) -> dict[str, TemporalSpec] | None:
    """Return the spans that each of n places has, by label; None where there is one for all, or one for each.

    Parameters
    ----------
    temporal : mapping of str to span, sequence of spans, or a span
        Labels and spans; or a list of other than n spans, whose labels are their days, such as
        ``"2022-06-01/2022-09-01"``.
    n : int
        Number of places.

    Returns
    -------
    dict of str to TemporalSpec, or None

    Raises
    ------
    SpecError
        If there is no span, or two have one label.
    """
    if isinstance(temporal, Mapping) and not set(temporal) <= _FIELDS:
        return {str(label): TemporalSpec.of(value) for label, value in temporal.items()}
    if isinstance(temporal, TemporalSpec | Mapping | str) or _is_pair(temporal) or not isinstance(temporal, Iterable):
        return None
    each = [TemporalSpec.of(value) for value in temporal]
    if len(each) in {0, n}:
        return None
    labelled = {f"{span.start_date}/{span.end_date}": span for span in each}
    if len(labelled) < len(each):
        reason, fix = "two of the spans are the same", "give each once, or {'a label': span}"
        raise SpecError("temporal", value=[str(span) for span in each], reason=reason, fix=fix)
    return labelled


_FIELDS: Final = frozenset({"mode", "year", "start", "end"})


def _is_pair(value: object) -> bool:
    """Distinguish ("2022-06-01", "2022-09-01"), which is one span, from a list of two spans; a day is not a span."""
    match value:
        case (str() | dt.date() | np.datetime64(), str() | dt.date() | np.datetime64()):
            return True
    return False
