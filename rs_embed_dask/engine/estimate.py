"""The cost of a run: a few places are priced and the result is scaled to all. No pixel is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from rs_embed_dask.engine.confine import within
from rs_embed_dask.engine.extent import BYTES_PER_VALUE
from rs_embed_dask.engine.framing import room
from rs_embed_dask.engine.inputs import input_facts
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.specs import OutputSpec
from rs_embed_dask.specs.columns import PlaceList
from rs_embed_dask.store import ItemColumns, ModelLayout

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen, ProductEntry, Recipe
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.providers.registry import Estimate
    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.store import Item

__all__ = [
    "Figures",
    "Price",
    "bytes_text",
    "chunk_items_for",
    "figures_for",
    "layouts_for",
    "merged_read",
    "price_of",
    "seconds_text",
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


_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000
_FEW_S: Final = 10.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0


@dataclass(frozen=True)
class Figures:
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
    read_seconds: float
    embed_seconds: float
    store_bytes: int
    sampled: int

    @classmethod
    def nothing(cls) -> Self:
        """Return the figures of a run with nothing to do."""
        return cls(0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, {}, 0.0, 0.0, 0, 0)

    def wall_seconds(self, fetch_slots: int, embedders: int) -> float:
        """Return how long a run takes on a cluster: reads and inference overlap, so the slower of both counts."""
        return max(self.read_seconds / max(1, fetch_slots), self.embed_seconds / max(1, embedders))

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return asdict(self)


def bytes_text(count: float) -> str:
    """Write a number of bytes with its unit, in powers of 1000.

    Examples
    --------
    >>> bytes_text(1_532_000)
    '1.53 MB'
    """
    unit = 0
    while count >= _STEP and unit < len(_UNITS) - 1:
        count /= _STEP
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.3g} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """Write a duration with its unit.

    Examples
    --------
    >>> seconds_text(5400)
    '1.5 h'
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.2g} s" if seconds < _FEW_S else f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < _DAY_S else f"{seconds / _DAY_S:.1f} days"


_SAMPLES: Final = 16
_OPERATIONS_PER_S: Final = 5e10
_LEAST_S: Final = 0.002
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
    read_seconds: float = 0.0
    decoded_bytes: float = 0.0
    largest_bytes: int = 0
    embed_seconds: float = 0.0

    def add(self, estimate: Estimate) -> None:
        """Add what one read costs."""
        self.scenes += estimate.scenes
        self.requests += estimate.requests
        self.download_bytes += estimate.bytes
        self.read_seconds += estimate.seconds

    @property
    def averaged(self) -> Self:
        """The cost of one of those that were sampled."""
        names = ("scenes", "requests", "download_bytes", "read_seconds", "decoded_bytes", "embed_seconds")
        return replace(self, **{name: getattr(self, name) / max(1, self.sampled) for name in names})


def price_of(recipe: Recipe, chosen: Sequence[Chosen], items: Sequence[Item], *, largest: int = 0) -> Price:
    """Price a few items spread evenly over all of them, of which the largest has so many bytes."""
    count = min(_SAMPLES, len(items))
    total = Price(largest_bytes=largest)
    for number in range(count):
        _add_item(total, recipe, chosen, items[number * len(items) // count])
    return total.averaged


def _add_item(total: Price, recipe: Recipe, chosen: Sequence[Chosen], item: Item) -> None:
    nbytes = 0
    try:
        reads = [group.read(item.spatial, item.temporal) for group in recipe.groups]
    except SpecError:
        return  # it will be INVALID, at no cost
    for visit in recipe.visits(one.spec.label for one in chosen):
        total.add(recipe.provider.estimate(merged_read([reads[number] for number in visit])))
    for entry in recipe.products:
        nbytes += _add_product(total, entry, item)
    for read in reads:
        rows, columns = read.grid.shape
        nbytes += rows * columns * len(read.frames) * len(read.bands) * BYTES_PER_VALUE
    encoders = [one for one in chosen if one.product is None]
    total.embed_seconds += sum(_embed_seconds(one, item, reads[0].grid.shape) for one in encoders)
    total.decoded_bytes += nbytes
    total.largest_bytes = max(total.largest_bytes, nbytes)
    total.sampled += 1


def _add_product(total: Price, entry: ProductEntry, item: Item) -> int:
    """Price one product for one place; return the bytes of its vectors, 0 where no grid fits the place."""
    try:
        grid = entry.grid(item.spatial)
    except SpecError:
        return 0
    total.add(entry.reader.estimate(grid))
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


def _embed_seconds(one: Chosen, item: Item, shape: tuple[int, int]) -> float:
    """Estimate two operations per parameter and token at 50 billion operations per second: a rough figure."""
    rows, columns = one.card.grid_shape(one.spec, shape, one.asked_prep)
    frames = len(one.inputs[0][0].frames.spans(item.temporal))
    parameters = one.card.variant_for(one.spec).params * 1e6
    return max(_LEAST_S, 2 * parameters * rows * columns * frames / _OPERATIONS_PER_S)


def chunk_items_for(items: int, price: Price, layouts: Sequence[ModelLayout]) -> int:
    """Choose how many items are written at once."""
    stored = max(item_bytes(layout) for layout in layouts)
    most = min(_LARGEST_CHUNK, _CHUNK_DECODED // max(1, price.largest_bytes), _CHUNK_STORED // stored)
    return max(8, min(most, -(-items // _FEWEST_CHUNKS)))


def item_bytes(layout: ModelLayout) -> int:
    """Bytes of one item's vector or grid."""
    rows, columns = layout.grid_shape or (1, 1)
    return layout.dim * rows * columns * 4


def figures_for(
    items: int, recipe: Recipe, price: Price, *, layouts: Sequence[ModelLayout], chunk_items: int
) -> Figures:
    """Scale the price of one item to all."""
    batches = -(-items // recipe.batch_items)
    return Figures(
        items=items,
        chunks=-(-items // chunk_items),
        reads=items * (len(recipe.visits(recipe.labels)) + len(recipe.products)),
        scenes=items * price.scenes,
        requests=items * price.requests,
        download_bytes=items * price.download_bytes,
        decoded_bytes=items * price.decoded_bytes,
        item_bytes=price.largest_bytes,
        batches={entry.label: batches for entry in recipe.models},
        read_seconds=items * price.read_seconds,
        embed_seconds=items * price.embed_seconds,
        store_bytes=items * sum(item_bytes(layout) for layout in layouts),
        sampled=price.sampled,
    )
