"""From a span of time to the frames that a model takes: one image per frame, half-open, in order."""

from __future__ import annotations

import datetime as dt
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
    "bins": ("days", "cap"),
    "equal": ("days", "cap"),
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
    """How a span is cut into frames for a model.

    Parameters
    ----------
    policy : {"single", "fixed", "bins", "equal"}
        - "single": the whole span is one frame.
        - "fixed": `n` parts of equal length; edge i lies ``days * i // n`` days after the start. A span of fewer than
          `n` days gives one frame per day, so fewer than `n`.
        - "bins": bins of `days` days from the start, the last one possibly shorter, at most `cap` of them. Bins beyond
          the cap are dropped from the end of the span.
        - "equal": ``total_days // days`` parts, at least 1 and at most `cap`, of equal length; edge i lies
          ``total_days * i // parts`` days after the start.
    n : int, optional
        Number of frames of "fixed".
    days : int, optional
        Length of a bin ("bins") or the target length ("equal"), in days.
    cap : int, optional
        Maximum number of frames of "bins" and "equal". Default: no limit.

    Raises
    ------
    SpecError, UnknownNameError
        If the policy is unknown, or a parameter is missing, out of range or not used by it.

    Examples
    --------
    >>> from rs_embed_dask.specs.when import TemporalSpec
    >>> Frames("bins", days=30, cap=2).spans(TemporalSpec.year(2022))
    (Span(2022-01-01, 2022-01-31), Span(2022-01-31, 2022-03-02))
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
        edges = [whole_span.start + dt.timedelta(days=offset) for offset in self._edges(whole_span.days)]
        return tuple(Span(first, last) for first, last in pairwise(edges))

    def _edges(self, total: int) -> list[int]:
        """Return the edges of the frames in days from the start; one more than the number of frames."""
        cap = self.cap if self.cap is not None else total
        if self.policy == "bins" and self.days is not None:
            count = min(-(-total // self.days), cap)
            return [min(index * self.days, total) for index in range(count + 1)]
        if self.policy == "equal" and self.days is not None:
            parts = max(1, min(total // self.days, cap))
        elif self.policy == "fixed" and self.n is not None:
            parts = min(self.n, total)
        else:
            parts = 1
        return [total * index // parts for index in range(parts + 1)]
