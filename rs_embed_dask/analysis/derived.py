"""Maps made of maps: bands computed from each block's vectors, in a store of the same lattice, blocks and spans."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from rs_embed_dask.analysis.blocks import Portion, computed
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import text
from rs_embed_dask.store import Asked, BlockKey, BlockResult, BlockSet, Location, MapLayout, MapStore, Status, leased
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.receipt import build_receipt, check_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr
    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.sources import MapSource
    from rs_embed_dask.store import Target
    from rs_embed_dask.store.export.fields import MapField

__all__ = ["BandsOf", "Derivation", "digest_of"]

BandsOf: TypeAlias = Callable[..., Any]
"""``(*vectors) -> (bands, rows, columns)`` of each span; or of all at once ``-> (spans, bands, rows, columns)``."""

_KEPT: Final = ("coverage", "valid_fraction", "n_obs")


def digest_of(*values: Any) -> str:
    """Identify arrays and texts, the same in every process."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Derivation:
    """What is computed of each block.

    Parameters
    ----------
    label : str
        What the bands are called in the new map.
    facts : mapping
        What the map says of them: ``by``, ``bands``, a ``digest`` of what decides their values, and for a map of
        classes ``classes`` and ``colours``.
    bands : callable
        See `BandsOf`.
    together : bool
        Whether it takes all spans at once.
    """

    label: str
    facts: Mapping[str, Any]
    bands: BandsOf
    together: bool = False

    def write(self, source: MapSource, out: Target, client: Client | None = None) -> xr.DataTree:
        """Write the map, or what is missing of it, and open it."""
        if isinstance(out, str):
            text("out", out, fix="give a path")
        location = Location.of(out)
        with leased(location):
            store = self._store(source, location)
            task = partial(_written, bands=self.bands, view=source.view, store=store)
            for _ in computed(task, self._portions(source, store), client):
                pass
        return open_map(out)

    def _store(self, source: MapSource, location: Location) -> MapStore:
        request = {
            "models": [{"label": self.label, "dtype": "float32"}],
            "derived": dict(self.facts),
            "map": source.view.location.name,
        }
        if MapStore.exists(location):
            store = MapStore.open(location, "r+")
            check_request(store.request, request, place=location.name)
            return store
        return MapStore.create(location, self._asked(source), request=request, receipt=build_receipt(request))

    def _asked(self, source: MapSource) -> list[Asked]:
        own = source.view.layout(source.fields[0].label)
        attrs = {"derived": dict(self.facts), "source_data": [f"urn:rs-embed-dask:map:{own.label}"]}
        layout = MapLayout(self.label, len(self.facts["bands"]), own.token_m, own.block, "float32", attrs)
        blocks: dict[Any, dict[Any, BlockSet]] = defaultdict(dict)
        for field in source.fields:
            group = source.view.document.group(own.label, field.group)
            found = BlockSet.of((row, col) for row, col, _ in field.blocks())
            if len(found):
                blocks[field.start, field.end][group] = found
        if not blocks:
            fix = "see rs.status of the map"
            raise SpecError("map", value=own.label, reason="none of its blocks has a vector", fix=fix)
        return [Asked(layout, (span,), groups) for span, groups in blocks.items()]

    def _portions(self, source: MapSource, store: MapStore) -> Iterator[Portion]:
        """Go through the blocks that are not done, each with its key here and in the map that it is made of."""
        fields = {(one.group, (one.start, one.end)): one for one in source.fields}
        left: dict[Any, list[int]] = defaultdict(list)
        for group, time, blocks in store.pending(self.label):
            for row, col in blocks:
                left[(group.group, row, col) if self.together else (group.group, row, col, time)].append(time)
        for (group, row, col, *_), times in left.items():
            chosen = self._chosen(fields, group, [store.spans[time] for time in times])
            window = _window(chosen[0], row, col)
            places = {(one.start, one.end): (at, one) for at, one in enumerate(chosen)}
            keys = [
                (at, BlockKey(self.label, group, time, row, col), BlockKey(one.label, group, one.time, row, col))
                for time in times
                for at, one in [places[store.spans[time]]]
            ]
            vectors = tuple(one.vectors[:, window[0], window[1]].data for one in chosen)
            yield Portion(vectors, 0, window, {"keys": keys})

    def _chosen(self, fields: Mapping[Any, MapField], group: str, spans: Sequence[Any]) -> list[MapField]:
        if self.together:
            return [one for (name, _), one in fields.items() if name == group]
        return [fields[group, span] for span in spans]


def _window(field: MapField, row: int, col: int) -> tuple[slice, slice]:
    """Return where a block of the zone lies in a field, which is cropped to some blocks."""
    assert field.status is not None
    first = int(field.status["block_row"][0]), int(field.status["block_column"][0])
    side = field.shape[0] // field.status.sizes["block_row"]
    top, left = (row - first[0]) * side, (col - first[1]) * side
    return slice(top, top + side), slice(left, left + side)


def _written(
    *vectors: NDArray[Any],
    keys: Sequence[tuple[int, BlockKey, BlockKey]],
    bands: BandsOf,
    view: MapStore,
    store: MapStore,
    **_: Any,
) -> None:
    """Compute the bands of a block, of one span or of several, and write them with the layers of the block."""
    made = np.asarray(bands(*vectors), np.float32)
    spans = made if made.ndim > vectors[0].ndim else made[None]
    for at, key, source in keys:
        block = view.block(source)
        layers = {one.name: block.read(one) for one in block.layout.data_fields if one.name in _KEPT}
        there = np.isfinite(spans[at]).any()
        status = block.status if there else Status.NO_DATA
        reason = "" if there else "there is nothing to compute the bands from"
        store.write_block(key, BlockResult(status, spans[at], reason=reason, **layers))
