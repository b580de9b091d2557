"""The resident embedder: a model, the one thread that owns it, and a bounded queue that tasks hand their samples to.

There is at most one for each model in a process. The first task that needs it builds it; a restarted worker, a new
Slurm job and a new pod take the same path. A batch is whatever is queued when the device is free, in order of arrival
and across tasks, up to the batch size: the device never waits for a batch to fill. On a slow device a batch is smaller,
so that it lasts about two seconds: that much is computed in vain when a worker is killed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from rs_embed_dask.engine.reading import PLUGIN_FAULTS
from rs_embed_dask.errors import EngineError

if TYPE_CHECKING:
    from shapely import Geometry

    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.imagery.grid import Window
    from rs_embed_dask.specs import InputPrep, OutputSpec

__all__ = [
    "BATCH_S",
    "EmbedInput",
    "EmbedModel",
    "Embedded",
    "Embedder",
    "is_resident",
    "items_within",
    "release",
    "resident",
]

BATCH_S: Final = 2.0
"""How long a batch may last, as far as the one before it tells."""

_QUEUE_BATCHES: Final = 4
_IDLE_S: Final = 600.0


class EmbedModel(Protocol):
    """What the engine requires of a model."""

    @property
    def weights_info(self) -> Mapping[str, Any]:
        """Path, digest and licence of the weights."""

    def embed_cubes(
        self,
        samples: Sequence[Mapping[str, Cube]],
        output: OutputSpec,
        prep: InputPrep,
        *,
        crops: Sequence[Window | None] | None = None,
        outlines: Sequence[Geometry | None] | None = None,
    ) -> Sequence[Any]:
        """Embed samples; an item that fails gives its error in its place."""


@dataclass(frozen=True)
class Embedded:
    """What the model returned for one sample: a result or an error, and its share of the batch."""

    result: Any
    share: float
    seconds: float


@dataclass(frozen=True, eq=False)
class EmbedInput:
    """One item's pixels, queued for a model."""

    cubes: Mapping[str, Cube]
    output: OutputSpec
    prep: InputPrep
    crop: Window | None = None
    outline: Geometry | None = None
    done: Future[Embedded] = field(default_factory=Future)

    def alike(self, other: EmbedInput) -> bool:
        """Whether both can be in one batch."""
        return self.output == other.output and self.prep == other.prep


def items_within(seconds: float, item_s: float, *, at_most: int) -> int:
    """Return how many items, each of which takes so long, are computed within some time: at least one."""
    return at_most if item_s * at_most <= seconds else max(1, int(seconds / item_s))


class Embedder:
    """One model and the thread that owns it."""

    def __init__(self, load: Callable[[], EmbedModel], batch_items: int) -> None:
        self._batch_items = batch_items
        self._item_s = BATCH_S  # of the last batch; the first is of one item, and tells
        self._queue: deque[EmbedInput] = deque()
        self._room = threading.BoundedSemaphore(batch_items * _QUEUE_BATCHES)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rs-embedder")
        self.model: Future[EmbedModel] = self._thread.submit(load)
        self.used_at = time.monotonic()

    def submit(self, sample: EmbedInput) -> Future[Embedded]:
        """Queue a sample, waiting for room where the queue is full."""
        self._room.acquire()
        self.used_at = time.monotonic()
        self._queue.append(sample)
        self._thread.submit(self._drain)
        return sample.done

    def close(self) -> None:
        """End the thread once the queue is empty, and release the model."""
        self._thread.shutdown(wait=False)

    def _drain(self) -> None:
        """Run one batch from the queue; do nothing if an earlier call emptied it."""
        batch = self._take()
        try:
            if batch:
                self._run(batch)
        finally:
            self._settle_rest(batch)

    def _take(self) -> list[EmbedInput]:
        batch: list[EmbedInput] = []
        most = items_within(BATCH_S, self._item_s, at_most=self._batch_items)
        while self._queue and len(batch) < most:
            if batch and not self._queue[0].alike(batch[0]):
                break
            batch.append(self._queue.popleft())
            self._room.release()
        return batch

    def _run(self, batch: list[EmbedInput]) -> None:
        broken = self.model.exception()
        if broken is not None:
            for sample in batch:
                sample.done.set_exception(broken)
            return
        self._infer(self.model.result(), batch)

    def _infer(self, model: EmbedModel, batch: list[EmbedInput]) -> None:
        started = time.perf_counter()
        try:
            cubes, crops = [sample.cubes for sample in batch], [sample.crop for sample in batch]
            outlines = [sample.outline for sample in batch]
            results = list(model.embed_cubes(cubes, batch[0].output, batch[0].prep, crops=crops, outlines=outlines))
        except PLUGIN_FAULTS as fault:
            if len(batch) > 1:
                # one bad item must not fail the others, and half a batch may fit into memory where a whole one did not
                middle = len(batch) // 2
                self._infer(model, batch[:middle])
                self._infer(model, batch[middle:])
                return
            results = [fault]
        share = 1 / len(batch)
        self._item_s = (time.perf_counter() - started) * share
        for sample, result in zip(batch, results, strict=True):
            sample.done.set_result(Embedded(result, share, self._item_s))

    @staticmethod
    def _settle_rest(batch: list[EmbedInput]) -> None:
        """Fail the samples without a result, so that no task waits for ever."""
        for sample in batch:
            if not sample.done.done():
                reason = "the embedder's thread ended inside its batch"
                sample.done.set_exception(
                    EngineError("embedder", reason=reason, fix="see the worker's log, then resume")
                )


_RESIDENT: dict[str, Embedder] = {}
_LOCK = threading.Lock()


def resident(key: str, load: Callable[[], EmbedModel], batch_items: int) -> Embedder:
    """Return this process's embedder for a model, building it where there is none."""
    # Building one releases the embedders of other models that have been idle for ten minutes.
    with _LOCK:
        embedder = _RESIDENT.get(key)
        if embedder is not None and not _is_broken(embedder):
            return embedder
        now = time.monotonic()
        for name in [name for name, one in _RESIDENT.items() if name == key or now - one.used_at > _IDLE_S]:
            _RESIDENT.pop(name).close()
        _RESIDENT[key] = embedder = Embedder(load, batch_items)
        return embedder


def _is_broken(embedder: Embedder) -> bool:
    return embedder.model.done() and embedder.model.exception() is not None


def is_resident(key: str) -> bool:
    """Whether this process holds a model, or is loading it."""
    return key in _RESIDENT


def release() -> int:
    """Release every embedder of this process."""
    with _LOCK:
        count = len(_RESIDENT)
        for embedder in _RESIDENT.values():
            embedder.close()
        _RESIDENT.clear()
    return count
