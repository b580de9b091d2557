"""The plan of a run: frozen, printable, priced, and made without reading a pixel."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from rs_embed_dask.engine.clusters import local_crew
from rs_embed_dask.engine.estimate import Figures, chunk_items_for, figures_for, layouts_for, price_of, work_of
from rs_embed_dask.engine.extent import LARGEST_SIDE_PX, check_extents, largest_read
from rs_embed_dask.engine.outlook import Outlook
from rs_embed_dask.engine.position_plan import PositionPlan, SettledPositions, position_plans
from rs_embed_dask.engine.recipe import READ_RETRY, Recipe, choose, recipe_for
from rs_embed_dask.engine.request import Request
from rs_embed_dask.engine.scale import TokenScale, sampled_rows, token_scales, warn_of_resizes
from rs_embed_dask.errors import PlanError, UnknownNameError
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.show.tables import bytes_text, counted, seconds_text, table_html, table_text
from rs_embed_dask.specs.base import flag
from rs_embed_dask.store import Item, ItemColumns, ModelLayout

if TYPE_CHECKING:
    from rs_embed_dask.engine.receipts import Crew, Times
    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.specs import TemporalSpec
    from rs_embed_dask.store import Store

__all__ = ["Plan", "Sizes", "StoredItems", "make_plan", "probed", "time_text"]


@dataclass(frozen=True)
class Sizes:
    """Settings of a run that change no vector: its sizes, the largest place, retries, whether inputs are checked."""

    chunk_items: int | None = None
    batch_items: int = 32
    retry: RetryPolicy = READ_RETRY
    max_side_px: int = LARGEST_SIDE_PX
    check_input: bool = False

    def on(self, recipe: Recipe) -> Recipe:
        """Return a recipe that is carried out so."""
        return replace(recipe, retry=self.retry, batch_items=self.batch_items, check_input=self.check_input)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Take those of a verb's options that are given."""
        given = {name: options[name] for name in cls.__dataclass_fields__ if options.get(name) is not None}
        if isinstance(policy := given.get("retry"), Mapping):
            for name in policy:
                if name not in RetryPolicy.__dataclass_fields__:
                    raise UnknownNameError.among("retry", name, RetryPolicy.__dataclass_fields__)
            given["retry"] = replace(READ_RETRY, **policy)
        return cls(**given)

    def __post_init__(self) -> None:
        flag("check_input", self.check_input, fix="give True or False")
        for name in ("chunk_items", "batch_items", "max_side_px"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise PlanError(
                    name, value=value, reason="an integer of at least 1 is needed", fix="leave it out, or give 32"
                )


@dataclass(frozen=True, repr=False)
class Plan:
    """What a run will do.

    Attributes
    ----------
    request : Request
        The validated arguments; the store keeps `Request.to_dict`.
    recipe : Recipe
        What is done to every item.
    items : sequence of Item
        The places and spans; read one at a time, so it may be lazy.
    layouts : tuple of ModelLayout
        The arrays of each model in the store.
    chunk_items : int
        Items of a chunk of the store.
    figures : Figures
        The estimated cost.
    scales : mapping of str to TokenScale
        What a token covers on the ground, by model.
    outlook : Outlook
        The extent of the places, the frames of each model, spans that no provider has, and known faults.
    positions : dict of str to PositionPlan
        What is done about positions in windows, by model; empty where they are kept.
    """

    request: Request
    recipe: Recipe
    items: Sequence[Item] = field(repr=False)
    layouts: tuple[ModelLayout, ...] = field(repr=False)
    chunk_items: int
    figures: Figures
    scales: Mapping[str, TokenScale] = field(default_factory=dict)
    outlook: Outlook = field(default_factory=Outlook)
    positions: Mapping[str, PositionPlan] = field(default_factory=dict)

    def _rows(self) -> list[tuple[str, str]]:
        figures = self.figures
        rows = [
            ("items", f"{self._items_text()} in {counted(figures.chunks, 'chunk')} of {self.chunk_items}"),
            *([("provider", self.request.provider.name)] if self.recipe.groups else []),
        ]
        rows += [("read", self.recipe.read_text(group)) for group in self.recipe.groups]
        rows += [("read", f"{entry.label} from {entry.reader.place}") for entry in self.recipe.products]
        for layout in self.layouts:
            shape = (layout.dim, *(layout.grid_shape or ()))
            size = " x ".join(str(side) for side in shape)
            batches = figures.batches.get(layout.label)
            how = "as read" if batches is None else counted(batches, "batch", "batches")
            rows.append(("model", f"{layout.label}: {size} per item, {how}"))
        rows += [("token", f"{label}: {scale} of ground") for label, scale in self.scales.items()]
        rows += self.outlook.rows()
        rows += [("positions", f"{label}: {_without_noun(one.statement)}") for label, one in self.positions.items()]
        scenes, requests = counted(round(figures.scenes), "scene"), counted(round(figures.requests), "request")
        return [
            *rows,
            ("reads", f"{figures.reads:,}: {scenes}, {requests}"),
            ("bytes", f"{bytes_text(figures.download_bytes)} to download, {bytes_text(figures.decoded_bytes)} decoded"),
            ("store", f"{bytes_text(figures.store_bytes)} of vectors before compression"),
            ("time", time_text(figures.times, figures.crew)),
            ("estimate", self._origin()),
        ]

    def _origin(self) -> str:
        """Say what the estimate is made of."""
        places = counted(self.figures.sampled, "place")
        if self.figures.search_seconds is None:
            return f"from {places}, without asking the provider"
        return f"from a probe of {places}, {seconds_text(self.figures.search_seconds)} a search"

    def _items_text(self) -> str:
        each = getattr(self.items, "spans_each", 1)
        count = f"{self.figures.items:,}"
        return count if each == 1 else f"{count} ({counted(self.figures.items // each, 'place')} x {each} spans)"

    def __repr__(self) -> str:
        labels = ", ".join(layout.label for layout in self.layouts)
        wall = self.figures.times.wall_seconds
        how_long = "time unknown" if wall is None else f"about {seconds_text(wall)}"
        return f"Plan({counted(self.figures.items, 'item')}, {labels}, {how_long}; print it for its cost)"

    def __str__(self) -> str:
        return table_text("Plan", ("", ""), self._rows())

    def _repr_html_(self) -> str:
        return table_html("Plan", ("", ""), self._rows())

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON: the request, the reads, the layouts and the figures; not the items."""
        return {
            "request": self.request.to_dict(),
            "chunk_items": self.chunk_items,
            "batch_items": self.recipe.batch_items,
            "reads": [
                {
                    "sensor": group.sensor,
                    "resolution_m": group.resolution_m,
                    "bands": list(group.bands),
                    "fetch": group.fetch.to_dict(),
                }
                for group in self.recipe.groups
            ],
            "products": [{"label": entry.label, "from": entry.reader.place} for entry in self.recipe.products],
            "models": [
                {"label": one.label, "dim": one.dim, "grid_shape": one.grid_shape, "frames": one.frames}
                for one in self.layouts
            ],
            "tokens_m": {label: [one.own_m, one.least_m, one.most_m] for label, one in self.scales.items()},
            "outlook": self.outlook.to_dict(),
            "positions": {label: one.statement for label, one in self.positions.items()},
            "figures": self.figures.to_dict(),
        }


def _without_noun(statement: str) -> str:
    return statement.removeprefix("positions ")


def time_text(times: Times, crew: Crew) -> str:
    """Say how long a run takes on its workers, or what makes it known."""
    if times.wall_seconds is None:
        lacking = "; ".join(times.unknown)
        makes = "any run in which it happens does, one of a few places too"
        return f"unknown: no run on this machine has measured {lacking} yet; {makes}"
    parts = [
        f"reading {seconds_text(times.read_seconds or 0.0)} in all",
        f"embedding {seconds_text(times.embed_seconds or 0.0)} in all",
        f"loading models {seconds_text(times.setup_seconds or 0.0)}",
    ]
    where = f"{crew.fetch_slots} reads at once and {counted(crew.embedders, 'embedder')} ({crew.device})"
    return f"about {seconds_text(times.wall_seconds)} with {where}: {', '.join(parts)}"


def make_plan(
    items: Iterable[Item],
    request: Request,
    *,
    sizes: Sizes | None = None,
    stored: Sequence[ModelLayout] = (),
    added: Sequence[Item] = (),
    settled: Mapping[str, SettledPositions] | None = None,
) -> Plan:
    """Plan a run without reading: validate, resolve cards and sensors, merge reads, size chunks, estimate the cost.

    The sizes of models that are stored are those of the store, or larger where an added item needs more; `settled` is
    what it says of positions.
    """
    listed = items if isinstance(items, Sequence) else list(items)
    if not len(listed):
        raise PlanError("items", value=0, reason="there is no place to embed", fix="give at least one place and span")
    chosen_sizes = sizes or Sizes()
    chosen = choose(request)
    recipe = chosen_sizes.on(recipe_for(request, chosen))
    layouts = layouts_for(request, chosen, listed, stored=stored, added=added)
    # those of a store were judged when they were added
    judged = listed.added if isinstance(listed, StoredItems) else listed
    largest = largest_read(judged, recipe)
    check_extents(judged, chosen, max_side_px=chosen_sizes.max_side_px)
    scales = token_scales(chosen, [listed[row].spatial for row in sampled_rows(len(listed))])
    outlook = _outlook(request, chosen, ItemColumns.of(judged), listed[0].temporal)
    if len(judged):
        outlook.warn()
    if not isinstance(listed, StoredItems):
        warn_of_resizes(scales)
        _warn_of_boxes(recipe, ItemColumns.of(listed))
    positions = position_plans(request, chosen, listed, settled=settled or {})
    given = {label: one.table for label, one in positions.items() if label not in (settled or {})}
    layouts = tuple(replace(layout, table=given.get(layout.label)) for layout in layouts)
    price = price_of(recipe, chosen, listed, largest=largest)
    chunk_items = chosen_sizes.chunk_items or chunk_items_for(len(listed), price, layouts)
    work = work_of(len(listed), recipe, price, chosen=chosen)
    figures = figures_for(len(listed), recipe, price, layouts=layouts, chunk_items=chunk_items, work=work)
    figures = figures.on(local_crew())
    return Plan(request, recipe, listed, layouts, chunk_items, figures, scales, outlook, positions)


def probed(plan: Plan) -> Plan:
    """Price a plan again by the scenes of a few places, which the provider's catalogue is asked for."""
    figures, chosen, count = plan.figures, choose(plan.request), len(plan.items)
    price = price_of(plan.recipe, chosen, plan.items, largest=figures.item_bytes, probe=True)
    work = work_of(count, plan.recipe, price, chosen=chosen)
    sizes: Any = {"layouts": plan.layouts, "chunk_items": plan.chunk_items}
    return replace(plan, figures=figures_for(count, plan.recipe, price, work=work, **sizes).on(figures.crew))


def _outlook(request: Request, chosen: Sequence[Chosen], items: ItemColumns, first: TemporalSpec) -> Outlook:
    """Look at the items that are new, if any, else at the span of the first that is stored."""
    spans = dict.fromkeys({id(span): span for span in items.spans}.values())
    extent = items.places.extent() if len(items) else None
    return Outlook.of(request, chosen, list(spans) or [first], extent=extent)


def _warn_of_boxes(recipe: Recipe, items: ItemColumns) -> None:
    """Warn once where polygons are asked for and models cannot be confined to them."""
    boxed = [entry.label for entry in recipe.models if entry.note]
    if not boxed or not items.places.has_polygons:
        return
    names = ", ".join(boxed)
    message = (
        f"{names}: a vector of a whole image cannot be confined to a polygon, so it is that of the box around it; "
        "pass output=OutputSpec.pooled(within='box') to say so, or OutputSpec.pooled('mean') where the model has that"
    )
    warnings.warn(message, UserWarning, stacklevel=4)


class StoredItems(Sequence[Item]):
    """The items of a store and those to be added to it: a lazy sequence, whose iteration holds one chunk at a time."""

    def __init__(self, store: Store, added: Sequence[Item] = ()) -> None:
        self._store = store
        self._stored = store.n_items
        self.added = added

    def __len__(self) -> int:
        return self._stored + len(self.added)

    def __getitem__(self, index: Any) -> Any:
        """One item; slices are not needed."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self)
        if row >= self._stored:
            return self.added[row - self._stored]
        return self._store.item(row)

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._store.n_chunks):
            yield from self._store.items(number)
        yield from self.added
