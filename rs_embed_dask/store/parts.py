"""Parts: a request that n runs compute into one store at once, each its own share of the chunks.

What all parts depend on, items and models, is fixed before they start: whichever part comes first makes the store (or
adds to it) under the lease of the whole, records how many parts there are, and then keeps the lease of its own chunks
only. The others wait for that, and lease theirs. Until nothing is pending the store neither grows nor is parted anew.
"""

from __future__ import annotations

import numbers
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from rs_embed_dask.errors import SpecError, StoreMismatchError
from rs_embed_dask.show.tables import counted
from rs_embed_dask.store.document import Document, Location
from rs_embed_dask.store.layout import Status
from rs_embed_dask.store.lease import ALL_CHUNKS, TERM_S, leased
from rs_embed_dask.store.view import StoreView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.lease import ChunkRange, Lease
    from rs_embed_dask.store.store import Store

__all__ = ["Part", "begin_part", "check_fixed", "held", "parts_done", "parts_record"]

_PARTS: Final = "parts"
"""The entry of the receipt."""

PATIENCE_S: Final = 2 * TERM_S
"""How long a part waits at least: while the first makes the store, or until it may take over from one that died."""

_PAIR: Final = 2


@dataclass(frozen=True)
class Part:
    """One of the parts of a run, counted from 1."""

    number: int
    count: int

    @classmethod
    def of(cls, value: object, out: Target | None, **others: object) -> Self | None:
        """Understand what a caller gives for a store: (k, n), or None for the whole. Raises SpecError.

        `others` are options that cannot be given with it.
        """
        if value is None:
            return None
        for name, other in others.items():
            if other:
                fix = f"give one of the two: {name}= is of other chunks than those of a part"
                raise SpecError("part", value=value, reason=f"{name}={other!r} was given too", fix=fix)
        _check_shared(out, value)
        pair: list[Any] = [*value] if isinstance(value, tuple | list) else []
        is_whole = all(isinstance(one, numbers.Integral) and not isinstance(one, bool) for one in pair)
        if len(pair) != _PAIR or not is_whole or not 1 <= pair[0] <= pair[1]:
            reason = "it is not the number of a part, counted from 1, and how many there are"
            raise SpecError("part", value=value, reason=reason, fix="give two whole numbers, such as part=(1, 4)")
        return cls(int(pair[0]), int(pair[1]))

    def chunks(self, n_chunks: int) -> ChunkRange:
        """Return its chunks, of so many. Raises SpecError if a part would have none."""
        if self.count > n_chunks:
            reason = f"the items make only {counted(n_chunks, 'chunk')}, and each part needs one"
            fix = f"give at most part=(k, {n_chunks}), or make the store with a smaller chunk_items"
            raise SpecError("part", value=(self.number, self.count), reason=reason, fix=fix)
        return (self.number - 1) * n_chunks // self.count, self.number * n_chunks // self.count

    def of_store(self, store: StoreView) -> ChunkRange:
        """Return its chunks of a store. Raises StoreMismatchError if that is being computed in other parts."""
        count = _count(store)
        if count not in {0, self.count} and _is_pending(store):
            reason = f"the store at {store.target} is being computed in {count} parts, and items are pending"
            fix = f"give part=(k, {count}), or repeat the call without part, which computes all that is left"
            raise StoreMismatchError("part", value=(self.number, self.count), reason=reason, fix=fix)
        return self.chunks(store.n_chunks)

    def wanted(self, location: Location, grows: Callable[[StoreView], bool]) -> ChunkRange:
        """Return the chunks to hold: its own, or all where the store is to be made, to grow, or to be parted."""
        document = Document.find(location)
        if document is None or not document.is_ready:
            return ALL_CHUNKS
        store = StoreView(location, document)
        if grows(store):
            check_fixed(store)
            return ALL_CHUNKS
        own = self.of_store(store)
        return own if _count(store) == self.count else ALL_CHUNKS


def held(
    location: Location,
    part: Part | None,
    *,
    wait: float,
    chunks: ChunkRange = ALL_CHUNKS,
    guard: Callable[[], None] = lambda: None,
    grows: Callable[[StoreView], bool] = lambda _: False,
) -> AbstractContextManager[Lease]:
    """Hold some chunks of a store, or what a part needs; `grows` says whether a store is to be added to.

    Raises as `leased`, and StoreMismatchError where a store is being computed in other parts, or must not grow.
    """
    if part is None:
        return leased(location, chunks=chunks, wait=wait, guard=guard)
    wanted = partial(part.wanted, location, grows)
    return leased(location, chunks=wanted, wait=max(wait, PATIENCE_S), guard=guard)


def begin_part(part: Part | None, store: Store, lease: Lease) -> None:
    """Record that a store is computed in parts, if that is not done, and let go of the chunks of the others."""
    if part is None or lease.chunks != ALL_CHUNKS:
        return
    if _count(store) != part.count:
        store.update_receipt(**parts_record(part, store.n_items, store.labels))
    lease.narrow(part.chunks(store.n_chunks))


def parts_record(part: Part | None, n_items: int, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the receipt says of the parts of a store that holds these items and models; nothing without any."""
    # With what it holds, so that the entry means nothing any more once an ordinary run has added to the store.
    return {} if part is None else {_PARTS: {"count": part.count, "items": n_items, "models": list(labels)}}


def _count(store: StoreView) -> int:
    """Return how many parts a store, as it is now, was parted into; 0 if it was not."""
    record: dict[str, Any] = store.receipt.get(_PARTS, {})
    is_of_this = record.get("items") == store.n_items and record.get("models") == list(store.labels)
    return int(record["count"]) if is_of_this else 0


def parts_done(store: StoreView) -> tuple[bool, ...]:
    """Say of each part of a store, as it is now, whether nothing of it is pending; nothing where it has none."""
    if not (count := _count(store)):
        return ()
    is_open = np.any([store.values(label, "status") == Status.PENDING for label in store.labels], axis=0)
    firsts = [Part(number, count).chunks(store.n_chunks)[0] * store.chunk_items for number in range(1, count + 1)]
    return tuple(not part.any() for part in np.split(is_open, firsts[1:]))


def _is_pending(store: StoreView) -> bool:
    return any(len(store.open_rows(label, only={Status.PENDING})) for label in store.labels)


def check_fixed(store: StoreView) -> None:
    """Refuse to add to a store that is being computed in parts: their shares of it would change."""
    count = _count(store)
    if count and _is_pending(store):
        reason = f"it is being computed in {count} parts, for which items and models are fixed, and items are pending"
        fix = "let all parts end, or resume the store, before anything is added"
        raise StoreMismatchError("store", value=str(store.target), reason=reason, fix=fix)


def _check_shared(out: Target | None, part: object) -> None:
    """Refuse a place that other processes do not reach, or whose locks they do not see, and none at all."""
    if out is None:
        reason, fix = "without out= each part would have a store of its own", "give out=, the same for all parts"
        raise SpecError("part", value=part, reason=reason, fix=fix)
    location = Location.of(out)
    if not location.is_portable or location.is_locked_in_process:
        what = "its locks hold inside one process" if location.is_portable else "it is in the memory of one process"
        fix = "give a folder that all of them see, or the URL of an object store"
        raise SpecError("out", value=location.name, reason=f"parts are processes of their own, and {what}", fix=fix)
