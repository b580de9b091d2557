"""What happened in a run, and how it compares with the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.figures import Figures, bytes_text, seconds_text
from rs_embed_dask.engine.table import as_html, as_text
from rs_embed_dask.engine.tally import Tally

if TYPE_CHECKING:
    from rs_embed_dask.engine.events import ItemFailed
    from rs_embed_dask.engine.tally import ChunkReceipt
    from rs_embed_dask.store import Status

__all__ = ["PlanReport", "RunReport"]

_MOST_FAILURES: Final = 20
_SHOWN: Final = 3


@dataclass(frozen=True)
class PlanReport:
    """Plan against actual.

    Attributes
    ----------
    rows : tuple of (str, str, str)
        What, as planned, as it was.
    """

    rows: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return as_text("Plan against actual", ("", "planned", "actual"), self.rows)

    def _repr_html_(self) -> str:
        return as_html("Plan against actual", ("", "planned", "actual"), self.rows)


@dataclass
class RunReport:
    """What happened in a run.

    Attributes
    ----------
    figures : Figures
        What was planned.
    store : str
        Where the results are.
    counts : dict of str to Counter of Status
        How the items of this run ended, by model.
    failures : list of ItemFailed
        The first twenty.
    failed : int
        All of them.
    weights : dict
        What the models said of their weights, by label: for the store's receipt.
    tally : Tally
        Reads, bytes, batches, times.
    chunks : int
        Chunks that were written.
    lost : int
        Chunks whose tasks were lost with a worker and done again.
    workers_lost : int
        Workers that went away.
    seconds : float
        Wall time.
    is_over : bool
        Whether nothing is left to do.
    """

    figures: Figures
    store: str = ""
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    failures: list[ItemFailed] = field(default_factory=list)
    failed: int = 0
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    chunks: int = 0
    lost: int = 0
    workers_lost: int = 0
    seconds: float = 0.0
    is_over: bool = True

    def add(self, receipt: ChunkReceipt) -> None:
        """Count a chunk that was written."""
        self.chunks += 1
        self.tally.add(receipt.tally)
        self.weights.update(receipt.weights)
        self.failed += len(receipt.failed)
        self.failures += receipt.failed[: _MOST_FAILURES - len(self.failures)]
        for label, counts in receipt.counts.items():
            self.counts.setdefault(label, Counter()).update(counts)

    def close(self, seconds: float, *, workers_lost: int, is_over: bool) -> None:
        """Note how the run ended."""
        self.seconds, self.workers_lost, self.is_over = seconds, workers_lost, is_over

    @property
    def against_plan(self) -> PlanReport:
        """Plan against actual."""
        plan, real = self.figures, self.tally
        batches = round(sum(real.batches.values()))
        rows = (
            ("items", f"{plan.items:,}", f"{max((c.total() for c in self.counts.values()), default=0):,}"),
            ("chunks", f"{plan.chunks:,}", f"{self.chunks:,}"),
            ("reads", f"{plan.reads:,}", f"{real.reads:,}"),
            ("scenes", f"{plan.scenes:,.0f}", f"{real.scenes:,}"),
            ("decoded pixels", bytes_text(plan.decoded_bytes), bytes_text(real.read_bytes)),
            ("batches", f"{sum(plan.batches.values()):,}", f"{batches:,}"),
            ("reading, added up", seconds_text(plan.read_seconds), seconds_text(real.read_seconds)),
            ("embedding, added up", seconds_text(plan.embed_seconds), seconds_text(sum(real.embed_seconds.values()))),
            ("repeated tries", "0", f"{real.retries:,}"),
            ("wall time", "", seconds_text(self.seconds)),
        )
        return PlanReport(rows)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [(label, _counts_text(counts)) for label, counts in self.counts.items()]
        rows += [
            (f"item {one.id}", f"{one.label} {one.status.name.lower()}: {one.reason}") for one in self.failures[:_SHOWN]
        ]
        if self.failed > _SHOWN:
            rows.append(("", f"and {self.failed - _SHOWN:,} more failed; the store has every reason"))
        if self.lost or self.workers_lost:
            rows.append(("recovered", f"{self.lost} chunks done again, {self.workers_lost} workers lost"))
        return rows or [("", "nothing was left to do")]

    def _title(self) -> str:
        state = "done" if self.is_over else "stopped before its end; resume it to go on"
        return f"Run {state} in {seconds_text(self.seconds)} -> {self.store}"

    def __str__(self) -> str:
        return as_text(self._title(), ("", ""), self._rows()) + "\n" + str(self.against_plan)

    def _repr_html_(self) -> str:
        return as_html(self._title(), ("", ""), self._rows()) + self.against_plan._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, without the single failures."""
        counts = {label: {status.name: n for status, n in found.items()} for label, found in self.counts.items()}
        plain = ("store", "failed", "chunks", "lost", "workers_lost", "seconds", "is_over")
        tally = {"tally": dict(vars(self.tally)), "plan": self.figures.to_dict(), "counts": counts}
        return {name: getattr(self, name) for name in plain} | tally


def _counts_text(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{count:,} {status.name.lower()}" for status, count in sorted(counts.items()))
