"""From a span of time to the frames that a model takes: one image per frame, half-open, in order."""

from __future__ import annotations

import calendar
import datetime as dt
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, choice, whole
from rs_embed_dask.specs.when import day

if TYPE_CHECKING:
    from rs_embed_dask.specs.when import TemporalSpec

__all__ = ["Frames", "Span"]

_MOST: Final = 10_000

# policy -> the parameters that it uses; all others must be None
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "single": (),
    "fixed": ("n",),
    "equal": ("days", "cap"),
    "months": ("cap",),
    "available": ("cap",),
}


@dataclass(frozen=True, repr=False)
class Span(Record):
    """The days from `start` up to but not including `end`.

    Parameters
    ----------
    start, end : datetime.date or str
        First day, and the day after the last.

    Raises
    ------
    SpecError
        If a day is not real or `end` does not come after `start`.
    """

    start: dt.date
    end: dt.date

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", day("Span.start", self.start))
        object.__setattr__(self, "end", day("Span.end", self.end))
        if self.start >= self.end:
            reason = f"it must come before the end, {self.end}, which is not part of the span"
            raise SpecError("Span.start", value=self.start, reason=reason, fix="swap the two, or end a day later")

    @classmethod
    def of(cls, temporal: TemporalSpec) -> Self:
        """Return the whole of a temporal spec as one span.

        Parameters
        ----------
        temporal : TemporalSpec
            A year or a range.

        Returns
        -------
        Span
        """
        return cls(temporal.start_date, temporal.end_date)

    @property
    def days(self) -> int:
        """Number of days, at least 1."""
        return (self.end - self.start).days

    @property
    def midpoint(self) -> dt.date:
        """The day in the middle, rounded down."""
        return self.start + dt.timedelta(days=self.days // 2)

    def __contains__(self, when: dt.date) -> bool:
        """Whether a day, or the day of a datetime in UTC, is part of the span; without a zone a datetime is UTC."""
        if isinstance(when, dt.datetime):
            when = (when.astimezone(dt.UTC) if when.tzinfo else when).date()
        return self.start <= when < self.end

    def to_dict(self) -> dict[str, Any]:
        """Return both days as ISO strings.

        Returns
        -------
        dict
        """
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}

    def __repr__(self) -> str:
        return f"Span({self.start}, {self.end})"


@dataclass(frozen=True, repr=False)
class Frames(Record):
    """How a span is cut into frames for a model: whole, without a stub at its end.

    Parameters
    ----------
    policy : {"single", "fixed", "equal", "months", "available"}
        - "single": the whole span is one frame.
        - "fixed": `n` parts of equal length; edge i lies ``days * i // n`` days after the start. A span of fewer than
          `n` days gives one frame per day, so fewer than `n`.
        - "equal": parts of about `days` days, all of equal length: ``total_days / days`` of them, rounded, at least 1
          and at most `cap`. Edge i lies ``total_days * i // parts`` days after the start.
        - "months": the calendar months, for models that take the month of an image. A part at either end that holds
          less than half of its month joins its neighbour. A span of more than `cap` of them is cut into `cap` equal
          parts.
        - "available": the actual acquisitions, at most `cap`, of which only a catalogue knows the days; see
          `acquisitions.acquired`. Until it was asked, equal parts stand for them, as many as there can be.
    n : int, optional
        Number of frames of "fixed".
    days : int, optional
        The length aimed at by "equal", in days.
    cap : int, optional
        Maximum number of frames of "equal", "months" and "available". Default: no limit.

    Raises
    ------
    SpecError, UnknownNameError
        If the policy is unknown, or a parameter is missing, out of range or not used by it.

    Examples
    --------
    >>> from rs_embed_dask.specs.when import TemporalSpec
    >>> Frames("months", cap=12).spans(TemporalSpec.range("2022-06-01", "2022-08-01"))
    (Span(2022-06-01, 2022-07-01), Span(2022-07-01, 2022-08-01))
    """

    policy: str = "single"
    n: int | None = None
    days: int | None = None
    cap: int | None = None

    def __post_init__(self) -> None:
        choice("Frames.policy", self.policy, _NEEDS)
        needs = _NEEDS[self.policy]
        for name in ("n", "days", "cap"):
            value = getattr(self, name)
            what = f"Frames.{name}"
            if value is None:
                if name in needs and name != "cap":
                    fix = f"give {name}, for example Frames({self.policy!r}, {name}=4)"
                    raise SpecError(what, value=None, reason=f"the policy {self.policy!r} needs it", fix=fix)
            elif name not in needs:
                reason = f"the policy {self.policy!r} does not use it"
                raise SpecError(what, value=value, reason=reason, fix=f"leave {name} out")
            else:
                object.__setattr__(self, name, whole(what, value, low=1, high=_MOST))

    def spans(self, temporal: TemporalSpec | Span) -> tuple[Span, ...]:
        """Cut a span into frames."""
        whole_span = temporal if isinstance(temporal, Span) else Span.of(temporal)
        edges = [whole_span.start + dt.timedelta(days=offset) for offset in self._edges(whole_span)]
        return tuple(Span(first, last) for first, last in pairwise(edges))

    def _edges(self, span: Span) -> list[int]:
        """Return the edges of the frames in days from the start; one more than the number of frames."""
        total = span.days
        cap = min(self.cap or total, total)
        parts = 1
        if self.policy == "months":
            edges = _months(span)
            if len(edges) <= cap + 1:
                return edges
            parts = cap
        elif self.policy == "equal" and self.days is not None:
            parts = max(1, min(math.floor(total / self.days + 0.5), cap))
        elif self.policy == "fixed" and self.n is not None:
            parts = min(self.n, total)
        elif self.policy == "available":
            parts = cap
        return [total * index // parts for index in range(parts + 1)]


def _months(span: Span) -> list[int]:
    """Return the edges of a span's calendar months in days from its start, without a stub at either end."""
    days = [span.start + dt.timedelta(days=offset) for offset in range(1, span.days)]
    inner = [(first - span.start).days for first in days if first.day == 1]
    if inner and 2 * inner[0] < _month_days(span.start):
        inner = inner[1:]
    if inner and 2 * (span.days - inner[-1]) < _month_days(span.end - dt.timedelta(days=1)):
        inner = inner[:-1]
    return [0, *inner, span.days]


def _month_days(day: dt.date) -> int:
    return calendar.monthrange(day.year, day.month)[1]
