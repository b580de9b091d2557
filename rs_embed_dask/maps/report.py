"""What happened while a map was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rs_embed_dask.engine.receipts import Spent, Work
from rs_embed_dask.engine.report import SearchesMade
from rs_embed_dask.maps.precision import Loss
from rs_embed_dask.show.against import PlanReport
from rs_embed_dask.show.tables import counted, seconds_text, table_html, table_text
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.maps.graph import BlockReceipt
    from rs_embed_dask.maps.plan import MapPlan
    from rs_embed_dask.maps.windows import BlockIndex

__all__ = ["MapReport"]


@dataclass
class MapReport:
    """What happened in a run of a map.

    Attributes
    ----------
    store : str
        Path or URL of the map.
    counts : dict of str to Counter of Status
        Blocks by status, for each model.
    windows : dict of str to int
        Windows that were embedded, for each model; those of the first pass are not among them.
    embed_seconds : dict of str to float
        Time that the models took.
    read_seconds : float
        Time that reading the written blocks took.
    losses : dict of str to Loss
        What storing the vectors has cost.
    weights : dict
        Path, digest and licence of the weights by model.
    searches : SearchesMade
        What catalogues were asked, for the map's receipt.
    lost : dict
        Blocks that were lost each time, with the last reason.
    workers_lost : int
        Workers that were lost.
    seconds : float
        Wall time.
    plan : MapPlan, optional
        The estimate of what was left to do.
    load_seconds : dict of str to float
        Time in which the models were loaded that the workers did not hold yet.
    left : int
        Blocks that there were to compute, over all models.
    ended : str
        When the run ended, in UTC.
    is_over : bool
        Whether the run reached its end.
    """

    store: str
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    embed_seconds: dict[str, float] = field(default_factory=dict)
    read_seconds: float = 0.0
    losses: dict[str, Loss] = field(default_factory=dict)
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    searches: SearchesMade = field(default_factory=SearchesMade)
    lost: dict[tuple[str, BlockIndex], str] = field(default_factory=dict)
    workers_lost: int = 0
    seconds: float = 0.0
    plan: MapPlan | None = None
    load_seconds: dict[str, float] = field(default_factory=dict)
    left: int = 0
    ended: str = ""
    is_over: bool = True

    def add(self, receipt: BlockReceipt) -> None:
        """Count a block that was written."""
        label = receipt.label
        self.counts.setdefault(label, Counter())[receipt.status] += 1
        self.windows[label] = self.windows.get(label, 0) + receipt.windows
        self.embed_seconds[label] = self.embed_seconds.get(label, 0.0) + receipt.embed_seconds
        self.read_seconds += receipt.read_seconds
        self.losses[label] = self.losses.get(label, Loss()) + receipt.loss
        if receipt.weights:
            self.weights[label] = receipt.weights

    def give_up(self, label: str, block: BlockIndex, *, status: Status, reason: str) -> None:
        """Count a block whose tasks were lost each time."""
        self.counts.setdefault(label, Counter())[status] += 1
        self.windows.setdefault(label, 0)
        self.lost[label, block] = reason

    @property
    def spent(self) -> Spent:
        """What the run took, as receipts keep it; a window counts as decided where its block was to be written."""
        work = Work() if self.plan is None else self.plan.work
        windows = {label: self.windows.get(label, 0) for label in work.items}
        embedding = {label: self.embed_seconds.get(label, 0.0) for label in work.items}
        return Spent(
            work.reads,
            self.read_seconds,
            embedding,
            decided=work.items,
            embedded=windows,
            wall_seconds=self.seconds,
            load_seconds=self.load_seconds,
        )

    @property
    def against_plan(self) -> PlanReport:
        """Plan against actual, of what was left to do."""
        plan, blocks = self.plan, sum(counts.total() for counts in self.counts.values())
        planned: dict[str, float | None] = {"blocks": self.left}
        if plan is not None:
            planned |= {"windows": sum(plan.work.items.values()), **plan.times.to_dict()}
        actual: dict[str, float | None] = {
            "blocks": blocks,
            "windows": sum(self.windows.values()),
            "read_seconds": self.read_seconds,
            "embed_seconds": sum(self.embed_seconds.values()),
            "setup_seconds": self.spent.setup_seconds,
            "wall_seconds": self.seconds,
        }
        return PlanReport(planned, actual, self.ended)

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        for label, counts in self.counts.items():
            blocks = ", ".join(f"{count:,} {status.words}" for status, count in sorted(counts.items()))
            rows.append((label, f"{blocks}; {counted(self.windows[label], 'window')}"))
        if self.counts:
            embedding = seconds_text(sum(self.embed_seconds.values()))
            rows.append(("in total", f"reading {seconds_text(self.read_seconds)}, embedding {embedding}"))
        if self.lost or self.workers_lost:
            workers = counted(self.workers_lost, "worker")
            rows.append(("recovered", f"{workers} lost; {counted(len(self.lost), 'block')} given up"))
        return rows or [("", "nothing was left to do")]

    def _title(self) -> str:
        state = "done in" if self.is_over else "stopped before its end (resume it to continue) after"
        return f"Map {state} {seconds_text(self.seconds)} -> {self.store}"

    def __str__(self) -> str:
        return table_text(self._title(), ("", ""), self._rows()) + (f"\n{self.against_plan}" if self.counts else "")

    def _repr_html_(self) -> str:
        compared = self.against_plan._repr_html_() if self.counts else ""
        return table_html(self._title(), ("", ""), self._rows()) + compared
