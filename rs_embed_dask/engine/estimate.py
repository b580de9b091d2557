"""The cost of a run: a few places are priced and the result is scaled to all. No pixel is read.

Sizes are computed; times come from what earlier runs on this machine have measured (`engine.receipts`).
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from rs_embed_dask.engine.confine import within
from rs_embed_dask.engine.extent import BYTES_PER_VALUE
from rs_embed_dask.engine.framing import room
from rs_embed_dask.engine.inputs import input_facts
from rs_embed_dask.engine.receipts import Timed, Work, model_key, source_key
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.still import is_still
from rs_embed_dask.specs import OutputSpec
from rs_embed_dask.specs.columns import PlaceList
from rs_embed_dask.store import ItemColumns, ModelLayout

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen, ProductEntry, Recipe
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.registry import Estimate
    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.store import Item

__all__ = [
    "Figures",
    "Price",
    "chunk_items_for",
    "figures_for",
    "layouts_for",
    "merged_read",
    "price_of",
    "work_of",
]


@dataclass
class _Survey:
    """The largest sizes of one model over the items so far."""

    chosen: Chosen
    request: Request
    frames: int = 1
    rows: int = 1
    columns: int = 1

    @classmethod
    def from_store(cls, chosen: Chosen, request: Request, stored: ModelLayout) -> Self:
        """Begin with the sizes that a store has room for."""
        rows, columns = stored.grid_shape or (1, 1)
        return cls(chosen, request, stored.frames, rows, columns)

    def see(self, items: Sequence[Item]) -> Self:
        """Enlarge the sizes to those of some items."""
        for temporal in _distinct_spans(items):
            self.frames = max(self.frames, room(self.chosen.frames, temporal))
        if self.request.output.mode == "grid":
            for spatial in _distinct_places(items, is_same_size=self.chosen.gsd_m is not None):
                self._see_place(spatial)
        return self

    def _see_place(self, spatial: Spatial) -> None:
        try:
            rows, columns = self.chosen.grid_shape(spatial)
        except SpecError:
            return  # the item becomes INVALID, with this reason, when it is read
        self.rows, self.columns = max(self.rows, rows), max(self.columns, columns)

    def layout(self) -> ModelLayout:
        spec, card = self.chosen.spec, self.chosen.card
        output: OutputSpec = self.request.output
        return ModelLayout(
            label=spec.label,
            dim=card.dim(spec, output),
            grid_shape=(self.rows, self.columns) if output.mode == "grid" else None,
            frames=self.frames,
            attrs=_attrs(self.chosen, output),
        )


def layouts_for(
    request: Request,
    chosen: Sequence[Chosen],
    items: Sequence[Item],
    *,
    stored: Sequence[ModelLayout] = (),
    added: Sequence[Item] = (),
) -> tuple[ModelLayout, ...]:
    """Determine the shape of every model's results; where a store has one, from what is added to it alone."""
    layouts = {layout.label: layout for layout in stored}
    surveys = []
    for one in chosen:
        layout = layouts.get(one.spec.label)
        if layout is None:
            surveys.append(_Survey(one, request).see(items))
        else:
            surveys.append(_Survey.from_store(one, request, layout).see(added))
    return tuple(survey.layout() for survey in surveys)


def _distinct_spans(items: Sequence[Item]) -> set[TemporalSpec]:
    if isinstance(items, ItemColumns):
        return set(dict(zip(map(id, items.spans), items.spans, strict=True)).values())
    return {item.temporal for item in items}


def _distinct_places(items: Sequence[Item], *, is_same_size: bool) -> Iterable[Spatial]:
    """Return all places, or fewer where all points with one buffer have grids of one shape."""
    places = items.places if isinstance(items, ItemColumns) else PlaceList([item.spatial for item in items])
    return places.sizes() if is_same_size else places


def _attrs(chosen: Chosen, output: OutputSpec) -> dict[str, Any]:
    """Write the attributes of a model in the store, as JSON."""
    return {
        "card": chosen.card.describe(),
        "spec": chosen.spec.to_dict(),
        "output": chosen.card.named(output).to_dict(),
        "within": within(chosen.card, output),
        "gsd_m": chosen.gsd_m,
        "source_data": [f"urn:rs-embed-dask:sensor:{one.sensor}" for one, _ in chosen.inputs]
        or [f"urn:rs-embed-dask:product:{chosen.card.id}"],
        **input_facts(chosen),
    }


@dataclass(frozen=True)
class Figures(Timed):
    """The estimated cost of a run."""

    items: int
    chunks: int
    reads: int
    scenes: float
    requests: float
    download_bytes: float
    decoded_bytes: float
    item_bytes: int
    batches: dict[str, int]
    store_bytes: int
    sampled: int
    search_seconds: float | None = None

    @classmethod
    def nothing(cls) -> Self:
        """Return the figures of a run with nothing to do."""
        return cls(0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, {}, 0, 0)

    def part(self, shares: Mapping[str, float], chunks: int) -> Self:
        """Return the figures of what is left to do: a share of each model's items, in some chunks."""
        share = max(shares.values(), default=0.0)
        names = ("scenes", "requests", "download_bytes", "decoded_bytes")
        return replace(
            self,
            items=round(self.items * share),
            chunks=chunks,
            reads=round(self.reads * share),
            batches={label: _whole(count * shares.get(label, 0.0)) for label, count in self.batches.items()},
            work=self.work.part(shares),
            **{name: getattr(self, name) * share for name in names},
        )

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return self.timed_dict(vars(self))


def _whole(batches: float) -> int:
    """Round up, since a batch that is not full is one too; a product of fractions may be off in its last digit."""
    return math.ceil(round(batches, 6))


_SAMPLES: Final = 16
_LAYER_PX: Final = 256 * 256  # a layer of so many pixels costs as much again as asking for it
_CHUNK_DECODED: Final = 256 * 2**20
_CHUNK_STORED: Final = 32 * 2**20
_LARGEST_CHUNK: Final = 256
_FEWEST_CHUNKS: Final = 8


@dataclass
class Price:
    """The average cost of one item."""

    sampled: int = 0
    scenes: float = 0.0
    requests: float = 0.0
    download_bytes: float = 0.0
    layers: float = 0.0
    decoded_bytes: float = 0.0
    largest_bytes: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    search_seconds: float | None = None

    def add(self, estimate: Estimate, layers: int, pixels: int) -> None:
        """Add what one read costs, of so many layers of a scene."""
        self.scenes += estimate.scenes
        self.requests += estimate.requests
        self.download_bytes += estimate.bytes
        self.layers += estimate.scenes * layers * (1 + pixels / _LAYER_PX)

    @property
    def averaged(self) -> Self:
        """The cost of one of those that were sampled."""
        names = ("scenes", "requests", "download_bytes", "layers", "decoded_bytes")
        count = max(1, self.sampled)
        tokens = Counter({label: number / count for label, number in self.tokens.items()})
        return replace(self, tokens=tokens, **{name: getattr(self, name) / count for name in names})


def price_of(
    recipe: Recipe, chosen: Sequence[Chosen], items: Sequence[Item], *, largest: int = 0, probe: bool = False
) -> Price:
    """Price a few items, one of each part of them, of which the largest has so many bytes.

    A probe asks the provider's catalogue for their scenes.
    """
    count = min(_SAMPLES, len(items))
    total, chance = Price(largest_bytes=largest), random.Random(0)  # noqa: S311 - the same places each time
    estimate: Callable[[Read], Estimate] = _Probe(recipe.provider) if probe else recipe.provider.estimate
    for number in range(count):
        first, last = (at * len(items) // count for at in (number, number + 1))
        _add_item(total, recipe, chosen, items[chance.randrange(first, last)], estimate)
    if isinstance(estimate, _Probe):
        total.search_seconds = estimate.seconds / max(1, estimate.searches)
    return total.averaged


@dataclass
class _Probe:
    """Estimates whose scenes are counted in the provider's catalogue."""

    provider: Provider
    searches: int = 0
    seconds: float = 0.0

    def __call__(self, read: Read) -> Estimate:
        """Count the scenes of a read; requests and bytes are those of as many."""
        if is_still(read.sensor):
            return self.provider.estimate(read)
        started = time.perf_counter()
        scenes = self.provider.search(read.sensor, read.grid, read.span, fetch=read.fetch)
        self.seconds += time.perf_counter() - started
        self.searches += 1
        count = sum(any(scene.datetime.date() in frame for frame in read.frames) for scene in scenes)
        guess = self.provider.estimate(read)
        share = count / max(1, guess.scenes)
        return replace(guess, scenes=count, requests=round(guess.requests * share), bytes=round(guess.bytes * share))


def _add_item(
    total: Price, recipe: Recipe, chosen: Sequence[Chosen], item: Item, estimate: Callable[[Read], Estimate]
) -> None:
    nbytes = 0
    try:
        reads = [group.read(item.spatial, item.temporal) for group in recipe.groups]
    except SpecError:
        return  # it will be INVALID, at no cost
    for visit in recipe.visits(one.spec.label for one in chosen):
        merged = merged_read([reads[number] for number in visit])
        total.add(estimate(merged), len(merged.bands), math.prod(merged.grid.shape))
    for entry in recipe.products:
        nbytes += _add_product(total, entry, item)
    for read in reads:
        rows, columns = read.grid.shape
        nbytes += rows * columns * len(read.frames) * len(read.bands) * BYTES_PER_VALUE
    encoders = [one for one in chosen if one.product is None]
    total.tokens.update({one.spec.label: _tokens(one, item, reads[0].grid.shape) for one in encoders})
    total.decoded_bytes += nbytes
    total.largest_bytes = max(total.largest_bytes, nbytes)
    total.sampled += 1


def _add_product(total: Price, entry: ProductEntry, item: Item) -> int:
    """Price one product for one place; return the bytes of its vectors, 0 where no grid fits the place."""
    try:
        grid = entry.grid(item.spatial)
    except SpecError:
        return 0
    total.add(entry.reader.estimate(grid), entry.dim, math.prod(grid.shape))
    return entry.dim * grid.shape[0] * grid.shape[1] * 4


def merged_read(reads: Sequence[Read]) -> Read:
    """Merge reads of the same pixels into one that covers all of them."""
    limits = [read.fetch.max_cloud_pct for read in reads if read.fetch.max_cloud_pct is not None]
    fetch = replace(reads[0].fetch, max_cloud_pct=max(limits) if len(limits) == len(reads) else None)
    bands = tuple(dict.fromkeys(band for read in reads for band in read.bands))
    spans = [read.span for read in reads]
    widest = Span(min(span.start for span in spans), max(span.end for span in spans))
    frames = reads[0].frames if len(reads) == 1 else (widest,)
    return replace(reads[0], bands=bands, frames=frames, fetch=fetch)


def _tokens(one: Chosen, item: Item, shape: tuple[int, int]) -> int:
    rows, columns = one.card.grid_shape(one.spec, shape, one.asked_prep)
    return rows * columns * len(one.inputs[0][0].frames.spans(item.temporal))


def chunk_items_for(items: int, price: Price, layouts: Sequence[ModelLayout]) -> int:
    """Choose how many items are written at once."""
    stored = max(item_bytes(layout) for layout in layouts)
    most = min(_LARGEST_CHUNK, _CHUNK_DECODED // max(1, price.largest_bytes), _CHUNK_STORED // stored)
    return max(8, min(most, -(-items // _FEWEST_CHUNKS)))


def item_bytes(layout: ModelLayout) -> int:
    """Bytes of one item's vector or grid."""
    rows, columns = layout.grid_shape or (1, 1)
    return layout.dim * rows * columns * 4


def work_of(items: int, recipe: Recipe, price: Price, *, chosen: Sequence[Chosen]) -> Work:
    """Return the work of some items, each of which has this price."""
    each = len(recipe.visits(recipe.labels)) + len(recipe.products)
    return Work(
        source_key(recipe),
        items * each,
        price.layers / max(1, each),
        price.scenes / max(1, each),
        dict.fromkeys(recipe.entry, items),
        dict(price.tokens),
        {one.spec.label: model_key(one) for one in chosen if one.product is None},
        is_counted=price.search_seconds is not None,
    )


def figures_for(
    items: int, recipe: Recipe, price: Price, *, layouts: Sequence[ModelLayout], chunk_items: int, work: Work
) -> Figures:
    """Scale the price of one item to all."""
    batches = -(-items // recipe.batch_items)
    return Figures(
        items=items,
        chunks=-(-items // chunk_items),
        reads=round(work.reads),
        scenes=items * price.scenes,
        requests=items * price.requests,
        download_bytes=items * price.download_bytes,
        decoded_bytes=items * price.decoded_bytes,
        item_bytes=price.largest_bytes,
        batches={entry.label: batches for entry in recipe.models},
        store_bytes=items * sum(item_bytes(layout) for layout in layouts),
        sampled=price.sampled,
        search_seconds=price.search_seconds,
        work=work,
    )
