"""What a run was expected to take, beside what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from rs_embed_dask.show.tables import bytes_text, seconds_text, table_html, table_text

__all__ = ["PlanReport"]


def _count_text(count: float) -> str:
    return f"{count:,.0f}"


_ROWS: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "items": ("items", _count_text),
    "chunks": ("chunks", _count_text),
    "blocks": ("blocks", _count_text),
    "windows": ("windows", _count_text),
    "reads": ("reads", _count_text),
    "scenes": ("scenes", _count_text),
    "decoded_bytes": ("decoded pixels", bytes_text),
    "batches": ("batches", _count_text),
    "retries": ("retries", _count_text),
    "read_seconds": ("reading, in total", seconds_text),
    "embed_seconds": ("embedding, in total", seconds_text),
    "setup_seconds": ("loading models", seconds_text),
    "wall_seconds": ("wall time", seconds_text),
}
"""What is compared, and how it is written."""

_TITLE: Final = "Plan against actual"
_HEADER: Final = ("", "planned", "actual")


@dataclass(frozen=True, repr=False)
class PlanReport:
    """Plan against actual of a run.

    Attributes
    ----------
    planned, actual : dict of str to float
        Counts of items, chunks, reads, scenes, batches and retries (of a map: blocks and windows), ``decoded_bytes``,
        and seconds: ``read_seconds`` and ``embed_seconds`` over all workers, ``setup_seconds`` in which models were
        loaded, and ``wall_seconds``. None where it was unknown.
    ended : str
        When the run ended, in UTC.
    """

    planned: Mapping[str, float | None]
    actual: Mapping[str, float | None]
    ended: str = ""

    @property
    def factor(self) -> float | None:
        """Planned over actual wall time; None where no time was planned."""
        planned, actual = self.planned.get("wall_seconds"), self.actual.get("wall_seconds")
        return planned / actual if planned and actual else None

    @property
    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """What is compared, planned and actual, in words."""
        names = [name for name in _ROWS if name in self.actual]
        rows = [(_ROWS[name][0], _text(name, self.planned), _text(name, self.actual)) for name in names]
        ratio = "unknown" if self.factor is None else f"{self.factor:.2f} of the actual"
        return (*rows, ("planned time", ratio, ""))

    def __repr__(self) -> str:
        planned, actual = (_text("wall_seconds", side) for side in (self.planned, self.actual))
        return f"PlanReport(planned {planned}, actual {actual}; print it for the rest)"

    def __str__(self) -> str:
        return table_text(_TITLE, _HEADER, self.rows)

    def _repr_html_(self) -> str:
        return table_html(_TITLE, _HEADER, self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return {"planned": dict(self.planned), "actual": dict(self.actual), "ended": self.ended}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; of what anybody else may have written, numbers with a known name are kept."""
        return cls(_numbers(data.get("planned")), _numbers(data.get("actual")), str(data.get("ended", "")))


def _numbers(side: object) -> dict[str, float | None]:
    given = side if isinstance(side, Mapping) else {}
    return {name: given[name] for name in _ROWS if isinstance(given.get(name, ""), int | float | None)}


def _text(name: str, side: Mapping[str, float | None]) -> str:
    value = side.get(name)
    return "unknown" if value is None else _ROWS[name][1](value)
