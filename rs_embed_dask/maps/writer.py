"""Finished blocks on their way into the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.maps.precision import Loss, decode, encode
from rs_embed_dask.maps.scoring import ZoneSample, zone_sample
from rs_embed_dask.store.map_layout import BlockKey, BlockResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Set as AbstractSet

    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Lattice
    from rs_embed_dask.maps.region import Region
    from rs_embed_dask.maps.tiles import BlockField
    from rs_embed_dask.maps.windows import BlockIndex
    from rs_embed_dask.store import Status
    from rs_embed_dask.store.map_store import MapStore

__all__ = ["MapWriter", "WrittenBlock"]


@dataclass(frozen=True, eq=False)
class WrittenBlock:
    """What was written of a block: the vectors that count, as they are read back, and what the scores need besides."""

    vectors: NDArray[np.float32]
    loss: Loss
    zones: ZoneSample


@dataclass(frozen=True)
class MapWriter:
    """Writes finished blocks of one group and span to the store.

    `region` is all that was ever asked for; blocks with other statuses than `only` stay as they are, and by default
    those that are done, for a worker that stood still may write long after its block was computed again.
    """

    store: MapStore
    region: Region
    lattices: Mapping[str, Lattice]
    time: int
    only: AbstractSet[Status] | None = None

    def write(self, label: str, block: BlockIndex, finished: BlockField) -> WrittenBlock | None:
        """Write a block: the tokens that its group owns, in the map's precision, with what was observed."""
        lattice = self.lattices[label]
        rect = lattice.rect(*block)
        result = BlockResult(finished.status, reason=finished.reason, coverage=self.region.coverage(lattice, rect))
        quality, written = finished.quality, None
        if quality is not None:
            result.valid_fraction, result.n_obs = quality.valid_fraction, quality.n_obs
            result.first_date, result.last_date = quality.first_date, quality.last_date
        if finished.vectors is not None:
            vectors = finished.vectors.copy()
            vectors[:, ~lattice.owned(rect)] = np.nan
            stored = encode(vectors, self.store.layout(label).dtype)
            result.embedding, result.scale = stored.values, stored.scale
            zones = zone_sample(lattice, rect, finished.vectors)
            written = WrittenBlock(decode(stored.values, stored.scale), stored.loss, zones)
        self.store.finish_block(self._key(label, block), result, only=self.only)
        return written

    def give_up(self, label: str, block: BlockIndex, result: BlockResult) -> None:
        """Write why a block has no vectors."""
        self.store.finish_block(self._key(label, block), result, only=self.only)

    def _key(self, label: str, block: Any) -> BlockKey:
        return BlockKey(label, self.lattices[label].group, self.time, *block)
