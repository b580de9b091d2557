"""What a map's store keeps besides blocks: region, spans, tables of positions with what was decided, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from rs_embed_dask.engine.position_plan import facts_of
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.scores import DISTANCES
from rs_embed_dask.maps.scoring import ScoreBook
from rs_embed_dask.specs import TemporalSpec
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.engine.positions import Decision
    from rs_embed_dask.maps.graph import BlockReceipt
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store.map_store import MapStore, MapView

__all__ = [
    "ScoreKeeper",
    "book_of",
    "keep_decisions",
    "region_of",
    "scores_frame",
    "temporals_of",
    "was_decided",
]

_KEEP_EVERY: Final = 256


def region_of(store: MapView) -> Region:
    """Return all that was ever asked for."""
    return Region.from_dict(store.request["region"])


def temporals_of(store: MapView) -> tuple[TemporalSpec, ...]:
    """Return what was asked for along ``time``, in its order."""
    return tuple(TemporalSpec.from_dict(one) for one in store.request["temporals"])


def was_decided(store: MapView, label: str) -> bool:
    """Return whether some vectors of a model were written without a table: all others must then be like them."""
    if label not in store.receipt.get("positions", {}):
        return False
    counts = store.counts()[label]
    return any(counts.get(code) for code in (Status.OK, Status.PARTIAL))


def keep_decisions(store: MapStore, tables: Mapping[str, PositionTable], decisions: Mapping[str, Decision]) -> None:
    """Write the tables, and what was decided, before the first block: scattered windows cannot be found again."""
    facts = dict(store.receipt.get("positions", {}))
    for label, decision in decisions.items():
        table = tables.get(label)
        if table is not None and store.table(label) is None:
            store.keep_positions(label, table.mean)
        facts[label] = facts_of(table, decision)
    if facts != store.receipt.get("positions"):
        store.update_receipt(positions=facts)


def book_of(store: MapView, label: str) -> ScoreBook:
    """Return the sums of a model's scores so far."""
    return _book(store, label, store.scores(label))


def _book(store: MapView, label: str, content: bytes | None) -> ScoreBook:
    return ScoreBook() if content is None else ScoreBook.from_bytes(content, f"{store.location.name}/{label}")


def scores_frame(store: MapView) -> pd.DataFrame:
    """Return the scores of a map as a table, one row per model."""
    rows = {}
    for label in store.labels:
        facts = book_of(store, label).scores.to_dict()
        decay = facts.pop("decay")
        rows[label] = facts | {f"decay_{far}": cosine for far, cosine in zip(DISTANCES, decay, strict=True)}
    frame = pd.DataFrame.from_dict(rows, orient="index", dtype="float64").rename_axis("model")
    counts = ["blocks", "tokens", "zone_tokens"]
    return frame.astype(dict.fromkeys(counts, "int64"))[[*counts, *(name for name in frame if name not in counts)]]


class ScoreKeeper:
    """Adds up the scores of a run, and keeps them in the store every few hundred blocks."""

    def __init__(self, store: MapStore) -> None:
        self._store = store
        self._books: dict[str, ScoreBook] = {}
        self._stored: dict[str, bytes | None] = {}
        self._new = 0

    def add(self, receipt: BlockReceipt, group: str, time: int) -> None:
        """Take the score of a block of a group and span in."""
        if receipt.score is None:
            return
        if receipt.label not in self._books:
            self._open(receipt.label)
        self._books[receipt.label].add(receipt.score, f"{group}/{time}", receipt.block)
        self._new += 1
        if self._new >= _KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        """Write all sums to the store."""
        for label, book in self._books.items():
            content = book.to_bytes()
            self._store.keep_scores(label, content, over=self._stored[label])
            self._stored[label] = content
        self._new = 0

    def _open(self, label: str) -> None:
        """Read the sums so far; what is written later takes the place of these alone."""
        self._stored[label] = self._store.scores(label)
        self._books[label] = _book(self._store, label, self._stored[label])

    @property
    def facts(self) -> dict[str, Any]:
        """The scores by label, as JSON."""
        return {label: book.scores.to_dict() for label, book in self._books.items()}
