"""Counts of what was done: made in tasks, added up on the way to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rs_embed_dask.engine.events import ItemFailed, Retried
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.engine.outcome import Outcome
    from rs_embed_dask.engine.product import ProductRead
    from rs_embed_dask.engine.reading import Pixels
    from rs_embed_dask.engine.stages import Unit

__all__ = ["ChunkReceipt", "Tally"]


@dataclass
class Tally:
    """What was done.

    Attributes
    ----------
    reads : int
        Reads that were tried, whatever became of them.
    read_bytes : int
        Bytes of decoded pixels.
    read_seconds : float
        Time of all reads, added up.
    scenes : int
        Scenes that went into them.
    retries : int
        Tries beyond the first.
    batches, embed_seconds : dict of str to float
        By model.
    """

    reads: int = 0
    read_bytes: int = 0
    read_seconds: float = 0.0
    scenes: int = 0
    retries: int = 0
    batches: dict[str, float] = field(default_factory=dict)
    embed_seconds: dict[str, float] = field(default_factory=dict)

    def add_visit(self, pixels: Sequence[Pixels]) -> None:
        """Count one read, of which several cubes may have come."""
        self.reads += 1
        self.read_seconds += pixels[0].seconds
        self.retries += pixels[0].tries - 1
        cubes = [one.cube for one in pixels if one.cube is not None]
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
        """Add another tally."""
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
    """What the driver learns of a chunk that was written.

    Attributes
    ----------
    chunk : int
        Its number.
    counts : dict of str to Counter of Status
        How its items ended, by model.
    failed : list of ItemFailed
        Those without an embedding for another reason than missing imagery.
    retried : list of Retried
        Reads that met passing faults.
    weights : dict of str to dict
        What the models say of their weights.
    tally : Tally
        Counts.
    """

    chunk: int
    counts: dict[str, Counter[Status]] = field(default_factory=dict)
    failed: list[ItemFailed] = field(default_factory=list)
    retried: list[Retried] = field(default_factory=list)
    weights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def add_outcome(self, unit: Unit, label: str, outcome: Outcome) -> None:
        """Count one item of one model."""
        self.counts.setdefault(label, Counter())[outcome.status] += 1
        self.tally.add_outcome(label, outcome)
        if outcome.status in {Status.READ_FAILED, Status.MODEL_FAILED, Status.INVALID}:
            item = unit.item
            self.failed.append(ItemFailed(item.index, item.id, label, outcome.status, outcome.reason))
