"""The events and the report of a run, and how it compares with the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

from rs_embed_dask.engine.estimate import Figures
from rs_embed_dask.engine.receipts import Spent
from rs_embed_dask.show.against import PlanReport
from rs_embed_dask.show.tables import counted, seconds_text, table_html, table_text
from rs_embed_dask.store import Status
from rs_embed_dask.store.document import now

if TYPE_CHECKING:
    from rs_embed_dask.engine.reading import CubeRead
    from rs_embed_dask.engine.stages import Outcome, ProductRead, Unit
    from rs_embed_dask.providers.vicinity import SearchMade

__all__ = [
    "ChunkDone",
    "ChunkLost",
    "ChunkReceipt",
    "Delayed",
    "Event",
    "ItemFailed",
    "Listener",
    "ModelLoaded",
    "Retried",
    "RunCounts",
    "RunFinished",
    "RunReport",
    "RunStarted",
    "SearchesMade",
    "Waiting",
    "WorkerLost",
    "emit",
]


@dataclass(frozen=True)
class Event:
    """The base of every event."""


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins."""

    store: str
    items: int
    chunks: int
    todo: Mapping[str, int]
    workers: int
    dashboard: str = ""
    plan: object = None
    unit: str = "chunk"


@dataclass(frozen=True)
class ChunkDone(Event):
    """A chunk is in the store."""

    chunk: int
    items: int
    counts: Mapping[str, Mapping[Status, int]]
    seconds: float
    read_bytes: int
    left: int


@dataclass(frozen=True)
class ItemFailed(Event):
    """An item has no embedding by a model; the store keeps the reason."""

    index: int
    id: str
    label: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Retried(Event):
    """A read met transient faults and was tried again."""

    index: int
    sensor: str
    tries: int
    reason: str


@dataclass(frozen=True)
class ModelLoaded(Event):
    """A worker has loaded a model; emitted once per model and run."""

    label: str
    weights: Mapping[str, Any]


@dataclass(frozen=True)
class WorkerLost(Event):
    """A worker process is gone; its tasks run elsewhere."""

    address: str
    left: int


@dataclass(frozen=True)
class ChunkLost(Event):
    """A chunk's task was lost and is submitted again."""

    chunk: int
    attempt: int
    reason: str


@dataclass(frozen=True)
class Waiting(Event):
    """Nothing can run now."""

    reason: str


@dataclass(frozen=True)
class Delayed(Event):
    """A read waits before it asks a service again: the latest of them, every few seconds at most."""

    reason: str


class Ended(Protocol):
    """What is said of any run when it has ended."""

    store: str
    seconds: float


@dataclass(frozen=True)
class RunFinished(Event):
    """A run has ended: done, interrupted or failed."""

    report: Ended
    interrupted: bool = False


Listener: TypeAlias = Callable[[Event], None]
"""Any callable that takes an event."""


def emit(listeners: tuple[Listener, ...], event: Event) -> None:
    """Pass an event to every listener, in order."""
    for listener in listeners:
        listener(event)


@dataclass
class RunCounts:
    """Reads, bytes, batches and times of a chunk or a run."""

    reads: int = 0
    read_bytes: int = 0
    read_seconds: float = 0.0
    scenes: int = 0
    retries: int = 0
    batches: dict[str, float] = field(default_factory=dict)
    embed_seconds: dict[str, float] = field(default_factory=dict)

    def add_visit(self, results: Sequence[CubeRead]) -> None:
        """Count one read, which may have returned several cubes."""
        self.reads += 1
        self.read_seconds += results[0].seconds
        self.retries += results[0].tries - 1
        cubes = [result.value for result in results if result.value is not None]
        self.read_bytes += sum(cube.nbytes for cube in cubes)
        self.scenes += len({scene for cube in cubes for scene in cube.scenes})

    def add_product(self, read: ProductRead) -> None:
        """Count one read of a product."""
        self.reads += 1
        self.read_seconds += read.seconds
        self.retries += read.tries - 1
        self.read_bytes += read.nbytes
        self.scenes += len(read.outcome.scenes)

    def add_outcome(self, label: str, outcome: Outcome) -> None:
        """Count one item of one model."""
        self._add_model(label, outcome.share, outcome.seconds)

    def add(self, other: Self) -> None:
        """Add the totals of another."""
        self.reads += other.reads
        self.read_bytes += other.read_bytes
        self.read_seconds += other.read_seconds
        self.scenes += other.scenes
        self.retries += other.retries
        for label, batches in other.batches.items():
            self._add_model(label, batches, other.embed_seconds[label])

    def _add_model(self, label: str, batches: float, seconds: float) -> None:
        self.batches[label] = self.batches.get(label, 0.0) + batches
        self.embed_seconds[label] = self.embed_seconds.get(label, 0.0) + seconds


@dataclass
class ChunkReceipt:
    """What a task reports to the driver about the chunk it wrote."""

    chunk: int
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    failed: list[ItemFailed] = field(default_factory=list)
    retried: list[Retried] = field(default_factory=list)
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    totals: RunCounts = field(default_factory=RunCounts)

    def add_outcome(self, unit: Unit, label: str, outcome: Outcome) -> None:
        """Count one item of one model."""
        self.counts.setdefault(label, Counter())[outcome.status] += 1
        self.totals.add_outcome(label, outcome)
        if outcome.status in {Status.READ_FAILED, Status.MODEL_FAILED, Status.INVALID}:
            item = unit.item
            self.failed.append(ItemFailed(item.index, item.id, label, outcome.status, outcome.reason))


_MOST_NAMED: Final = 100


@dataclass
class SearchesMade:
    """What the catalogues of a run were asked.

    Attributes
    ----------
    searches, pages, items : int
        How many, how many pages they had, and how much they listed.
    named : list of SearchMade
        The first hundred of them.
    """

    searches: int = 0
    pages: int = 0
    items: int = 0
    named: list[SearchMade] = field(default_factory=list)

    def add(self, made: Sequence[SearchMade]) -> None:
        """Count some."""
        self.searches += len(made)
        self.pages += sum(one.pages for one in made)
        self.items += sum(one.items for one in made)
        self.named += made[: _MOST_NAMED - len(self.named)]

    def after(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Write as JSON, behind what other runs of the store have kept."""
        totals = {name: kept.get(name, 0) + getattr(self, name) for name in ("searches", "pages", "items")}
        named = [*kept.get("named", ()), *(one._asdict() for one in self.named)]
        return totals | {"named": named[:_MOST_NAMED]}


_EMBEDDED: Final = (Status.OK, Status.PARTIAL)
_MOST_FAILURES: Final = 20
_SHOWN: Final = 3


@dataclass
class RunReport:
    """What happened in a run.

    Attributes
    ----------
    figures : Figures
        The estimate of what was left to do.
    store : str
        Path or URL of the store.
    counts : dict of str to Counter of Status
        Number of items by status, for each model.
    failures : list of ItemFailed
        The first twenty failures.
    failed : int
        Number of all failures.
    weights : dict
        Path, digest and licence of the weights by model, for the store's receipt.
    totals : RunCounts
        Reads, bytes, batches, times.
    searches : SearchesMade
        What catalogues were asked, for the store's receipt.
    chunks : int
        Chunks that were written, each at once or in parts.
    lost : int
        Chunks that were computed again because a worker was lost.
    workers_lost : int
        Workers that were lost.
    seconds : float
        Wall time.
    is_over : bool
        Whether the run reached its end.
    positions : dict of str to str
        What was done about positions in windows, by model; empty where they are kept.
    load_seconds : dict of str to float
        Time in which the models were loaded that the workers did not hold yet.
    ended : str
        When the run ended, in UTC.
    """

    figures: Figures
    store: str = ""
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    failures: list[ItemFailed] = field(default_factory=list)
    failed: int = 0
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    totals: RunCounts = field(default_factory=RunCounts)
    searches: SearchesMade = field(default_factory=SearchesMade)
    _written: set[int] = field(default_factory=set, repr=False)
    lost: int = 0
    workers_lost: int = 0
    seconds: float = 0.0
    is_over: bool = True
    positions: dict[str, str] = field(default_factory=dict)
    load_seconds: dict[str, float] = field(default_factory=dict)
    ended: str = ""

    def add(self, receipt: ChunkReceipt) -> None:
        """Count a chunk that was written."""
        self._written.add(receipt.chunk)
        self.totals.add(receipt.totals)
        self.weights.update(receipt.weights)
        self.failed += len(receipt.failed)
        self.failures += receipt.failed[: _MOST_FAILURES - len(self.failures)]
        for label, counts in receipt.counts.items():
            self.counts.setdefault(label, Counter()).update(counts)

    def close(self, seconds: float, *, workers_lost: int, is_over: bool) -> None:
        """Record how the run ended."""
        self.seconds, self.workers_lost, self.is_over = seconds, workers_lost, is_over
        self.ended = now()

    @property
    def chunks(self) -> int:
        """Chunks that were written."""
        return len(self._written)

    @property
    def item_seconds(self) -> float:
        """Device time of an item, all models together, as far as this run or earlier ones tell; else 0."""
        done = max((counts.total() for counts in self.counts.values()), default=0)
        if done:
            return sum(self.totals.embed_seconds.values()) / done
        return (self.figures.times.embed_seconds or 0.0) / max(1, self.figures.items)

    @property
    def spent(self) -> Spent:
        """What the run took, as receipts keep it."""
        models = self.figures.work.models
        counts = {label: counts for label, counts in self.counts.items() if label in models}
        return Spent(
            self.totals.reads,
            self.totals.read_seconds,
            {label: self.totals.embed_seconds.get(label, 0.0) for label in models},
            decided={label: one.total() for label, one in counts.items()},
            embedded={label: sum(one[status] for status in _EMBEDDED) for label, one in counts.items()},
            wall_seconds=self.seconds,
            scenes=self.totals.scenes,
            load_seconds=self.load_seconds,
        )

    @property
    def against_plan(self) -> PlanReport:
        """Plan against actual, of what was left to do."""
        plan, real = self.figures, self.totals
        planned: dict[str, float | None] = {
            "items": plan.items,
            "chunks": plan.chunks,
            "reads": plan.reads,
            "scenes": plan.scenes,
            "decoded_bytes": plan.decoded_bytes,
            "batches": sum(plan.batches.values()),
            "retries": 0,
            **plan.times.to_dict(),
        }
        actual: dict[str, float | None] = {
            "items": max((counts.total() for counts in self.counts.values()), default=0),
            "chunks": self.chunks,
            "reads": real.reads,
            "scenes": real.scenes,
            "decoded_bytes": real.read_bytes,
            "batches": round(sum(real.batches.values())),
            "retries": real.retries,
            "read_seconds": real.read_seconds,
            "embed_seconds": sum(real.embed_seconds.values()),
            "setup_seconds": self.spent.setup_seconds,
            "wall_seconds": self.seconds,
        }
        return PlanReport(planned, actual, self.ended)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [(label, _counts_text(counts)) for label, counts in self.counts.items()]
        rows += [(label, statement) for label, statement in self.positions.items()]
        rows += [
            (f"item {one.id}", f"{one.label} {one.status.name.lower()}: {one.reason}") for one in self.failures[:_SHOWN]
        ]
        if self.failed > _SHOWN:
            rows.append(("", f"and {counted(self.failed - _SHOWN, 'more failure')}; the store has every reason"))
        if self.lost or self.workers_lost:
            workers = counted(self.workers_lost, "worker")
            rows.append(("recovered", f"{counted(self.lost, 'chunk')} computed again, {workers} lost"))
        return rows or [("", "nothing was left to do")]

    def _title(self) -> str:
        state = "done in" if self.is_over else "stopped before its end (resume it to continue) after"
        return f"Run {state} {seconds_text(self.seconds)} -> {self.store}"

    def __str__(self) -> str:
        return table_text(self._title(), ("", ""), self._rows()) + "\n" + str(self.against_plan)

    def _repr_html_(self) -> str:
        return table_html(self._title(), ("", ""), self._rows()) + self.against_plan._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, without the individual failures."""
        counts = {label: {status.name: n for status, n in one.items()} for label, one in self.counts.items()}
        plain = ("store", "failed", "chunks", "lost", "workers_lost", "seconds", "is_over", "positions")
        nested = {"totals": dict(vars(self.totals)), "plan": self.figures.to_dict(), "counts": counts}
        return {name: getattr(self, name) for name in plain} | nested


def _counts_text(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{count:,} {status.name.lower()}" for status, count in sorted(counts.items()))
