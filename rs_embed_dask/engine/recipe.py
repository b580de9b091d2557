"""From a request to a recipe: which sensor feeds each model, and which reads are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dask.tokenize import tokenize

from rs_embed_dask import cards, models, products
from rs_embed_dask.engine.confine import box_note, within
from rs_embed_dask.engine.framing import SINGLE, check_acquisitions, framed
from rs_embed_dask.engine.request import AVAILABLE, Request
from rs_embed_dask.errors import PlanError, SpecError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.grid import Grid, Window, grid_for
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.models import Card, ModelInput
from rs_embed_dask.preprocess.geometry import Fit, fit_image, view_px
from rs_embed_dask.providers.reach import services_of
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.specs import (
    FetchSpec,
    InputPrep,
    ModelSpec,
    OutputSpec,
    SensorSpec,
    Spatial,
    TemporalSpec,
    resolution_of,
)
from rs_embed_dask.specs.positions import KEPT

if TYPE_CHECKING:
    from rs_embed_dask.engine.embedder import EmbedModel
    from rs_embed_dask.imagery.dates import Frames, Span
    from rs_embed_dask.preprocess.inputs import Inputs
    from rs_embed_dask.products import ProductField, Reader
    from rs_embed_dask.providers import Provider

__all__ = ["READ_RETRY", "Chosen", "ProductEntry", "Recipe", "choose", "recipe_for", "square_of"]

# for whole reads; a wait that the service requests is honoured up to a quarter of an hour
READ_RETRY: Final = RetryPolicy(
    attempts=5, first_wait_s=1.0, longest_wait_s=60.0, longest_asked_s=900.0, deadline_s=3600.0
)


@dataclass(frozen=True)
class Need:
    """The bands that one modality of one model takes from a read."""

    label: str
    modality: str
    bands: tuple[str, ...]


@dataclass(frozen=True)
class ReadGroup:
    """One cube per place: a collection in some frames, and the needs of every model that takes from it."""

    sensor: str
    resolution_m: float
    fetch: FetchSpec
    frames: Frames
    needs: tuple[Need, ...]
    views: tuple[View, ...] = ()
    acquired: tuple[Span, ...] = ()

    def only(self, labels: Iterable[str]) -> ReadGroup:
        """Keep the needs of some models."""
        chosen = frozenset(labels)
        return replace(self, needs=tuple(need for need in self.needs if need.label in chosen))

    @property
    def bands(self) -> tuple[str, ...]:
        """The union of the bands, in order of first mention."""
        return tuple(dict.fromkeys(band for need in self.needs for band in need.bands))

    def square(self, spatial: Spatial) -> tuple[Grid, Window]:
        """Return the square that is read around a place, and the window of it that the place covers."""
        return square_of(spatial, self.resolution_m, self.fetch.crs, views=self.views)

    def spans(self, temporal: TemporalSpec) -> tuple[Span, ...]:
        """Return the frames of a span: those that were found for it, or as the policy cuts it."""
        return self.acquired or self.frames.spans(temporal)

    @property
    def is_open(self) -> bool:
        """Whether only a search tells the frames: the days of acquisitions."""
        return self.frames.policy == AVAILABLE and not self.acquired

    def read(self, spatial: Spatial, temporal: TemporalSpec) -> Read:
        """Return the read of one item."""
        grid, _ = self.square(spatial)
        return Read(grid, self.sensor, self.bands, self.spans(temporal), self.fetch)


@dataclass(frozen=True)
class ModelEntry:
    """One model of a run."""

    label: str
    key: str
    load: Callable[[], EmbedModel] = field(compare=False)
    nbytes: int = 0
    within: str = "box"
    note: str = ""
    prep: InputPrep = field(default_factory=InputPrep.auto)
    by_pixel: bool = False
    """Whether it takes the dates that each pixel has, so that a cloud on one of them leaves no gap."""


@dataclass(frozen=True)
class ProductEntry:
    """One precomputed product of a run, whose read is the embedding."""

    label: str
    reader: Reader
    dim: int
    resolution_m: float | None = None
    crs: str | None = None
    pooling: str = ""
    within: str = "box"

    def grid(self, spatial: Spatial) -> Grid:
        """Return the pixels of a place. Raises SpecError where no grid fits it."""
        return self.reader.grid(spatial, self.resolution_m, crs=self.crs)

    @property
    def places_at_once(self) -> int:
        """Most places that are read together."""
        return self.reader.places_at_once if isinstance(self.reader, products.ReadsManyPlaces) else 1

    def read(self, grids: Sequence[Grid], temporal: TemporalSpec) -> list[ProductField]:
        """Read the vectors of some grids."""
        if isinstance(self.reader, products.ReadsManyPlaces):
            return self.reader.read_many(grids, temporal)
        return [self.reader.read(grid, temporal) for grid in grids]


@dataclass(frozen=True)
class Recipe:
    """How every item is read and embedded."""

    provider: Provider
    groups: tuple[ReadGroup, ...]
    models: tuple[ModelEntry, ...]
    output: OutputSpec
    retry: RetryPolicy = READ_RETRY
    batch_items: int = 32
    products: tuple[ProductEntry, ...] = ()
    check_input: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all models in the store, the products last."""
        return (*(entry.label for entry in self.models), *(entry.label for entry in self.products))

    @cached_property
    def product(self) -> dict[str, ProductEntry]:
        """The products by label."""
        return {entry.label: entry for entry in self.products}

    @cached_property
    def entry(self) -> dict[str, ModelEntry]:
        """The models by label."""
        return {entry.label: entry for entry in self.models}

    def read_text(self, group: ReadGroup) -> str:
        """Say what a group reads, for which models, and from which collection where the provider has its own."""
        named = dict(getattr(self.provider, "collections", ())).get(group.sensor)
        orbit = f", {group.fetch.orbit}" if group.fetch.orbit else ""
        where = f"{group.sensor}{f' ({named})' if named else ''}{orbit} at {group.resolution_m:g} m"
        return f"{where}: {', '.join(group.bands)} for {', '.join(dict.fromkeys(need.label for need in group.needs))}"

    def services(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the hosts that every read for some models asks."""
        needed = frozenset(labels)
        sources: list[object] = [entry.reader for entry in self.products if entry.label in needed]
        if any(need.label in needed for group in self.groups for need in group.needs):
            sources.append(self.provider)
        return tuple(dict.fromkeys(host for source in sources for host in services_of(source)))

    def visits(self, labels: Iterable[str]) -> tuple[tuple[int, ...], ...]:
        """Group the reads that some models need, by number: those of one source are made together, in one visit."""
        needed = frozenset(labels)
        by_source: dict[tuple[str, str | None], list[int]] = {}
        for number, group in enumerate(self.groups):
            if any(need.label in needed for need in group.needs):
                by_source.setdefault((group.sensor, group.fetch.crs), []).append(number)
        # The finest first: the bytes fetched for it serve the coarser grids of the visit.
        finest_first = (sorted(numbers, key=lambda n: self.groups[n].resolution_m) for numbers in by_source.values())
        return tuple(tuple(numbers) for numbers in finest_first)

    def needs(self, label: str) -> tuple[tuple[int, Need], ...]:
        """Return what a model takes, each with the number of its read."""
        return tuple(
            (number, need) for number, group in enumerate(self.groups) for need in group.needs if need.label == label
        )


View: TypeAlias = "tuple[Inputs, int, InputPrep]"
"""What a model sees at its own scale: its inputs, its token's side in pixels, and how it is fitted."""


def square_of(
    spatial: Spatial, resolution_m: float, crs: str | None, *, views: Sequence[View] = ()
) -> tuple[Grid, Window]:
    """Find the square of real imagery around a place, wide enough for what models see, and the place's window."""
    grid, window = grid_for(spatial, resolution_m, crs=crs).square()
    side = grid.shape[0]
    wide = max((view_px(inputs, patch, side, prep=prep) for inputs, patch, prep in views), default=side)
    if wide <= side:
        return grid, window
    wide += max(patch for _, patch, _ in views)  # so that a token of each model can begin where the place does
    margin = (wide - side) // 2
    moved = replace(window, row=window.row + margin, col=window.col + margin)
    return grid.crop(Window(-margin, -margin, wide, wide)), moved


_Plugin: TypeAlias = "tuple[Card, Any] | None"


@dataclass(frozen=True)
class Chosen:
    """One model with its card and the inputs to read."""

    spec: ModelSpec
    card: Card
    inputs: tuple[tuple[ModelInput, float], ...]
    product: ProductEntry | None = None
    fetch: FetchSpec = field(default_factory=FetchSpec)
    asked_prep: InputPrep = field(default_factory=InputPrep.auto)

    @property
    def gsd_m(self) -> float | None:
        """Metres per pixel that is read."""
        if self.product is None:
            return self.inputs[0][1]
        return self.product.resolution_m or self.product.reader.native_m

    @property
    def first_choices(self) -> dict[str, str]:
        """Of each sensor that is read in place of the card's first choice, that choice."""
        listed = [inputs.sensors for inputs in self.card.resolved_inputs(self.spec)] if self.product is None else []
        pairs = zip((one.sensor for one, _ in self.inputs), listed, strict=True)
        return {sensor: sensors[0] for sensor, sensors in pairs if sensors and sensor != sensors[0]}

    @property
    def masked(self) -> dict[str, tuple[str, ...]]:
        """Of each modality, the bands that the network does not see."""
        seen = self.card.resolved_inputs(self.spec) if self.product is None else ()
        return {one.modality: one.masked for one in seen if one.masked}

    @property
    def reach_m(self) -> float | None:
        """Side on the ground of what the model sees at once; None where it takes an image of any size."""
        if self.product is not None:
            return None
        first = self.card.resolved_inputs(self.spec)[0]
        size_px = first.size_px or first.max_px
        return None if size_px is None or first.native else size_px * self.inputs[0][1]

    @property
    def takes_all_dates(self) -> bool:
        """Whether the model takes every acquisition whatever is asked for, each modality with days of its own."""
        return bool(self.card.inputs) and all(one.frames.policy == AVAILABLE for one in self.card.inputs)

    @property
    def frames(self) -> Frames:
        """How a span becomes frames."""
        return SINGLE if self.product is not None else self.inputs[0][0].frames

    @property
    def prep(self) -> InputPrep:
        """How images are fitted: those of modalities with pixels of different sizes are always resized."""
        is_mixed = len({metres for _, metres in self.inputs}) > 1
        return InputPrep.resize() if is_mixed and self.asked_prep.mode == "auto" else self.asked_prep

    @property
    def views(self) -> tuple[View, ...]:
        """What the model sees of each modality at its own scale; nothing where images are resized."""
        prep = self.prep
        if self.product is not None or prep.mode != "auto":
            return ()
        seen = self.card.resolved_inputs(self.spec)
        first = seen[0].patch_px or 1
        patches = [self.card.patch(self.spec) * (one.patch_px or 1) // first for one in seen]
        return tuple((one, patch, prep) for one, patch in zip(seen, patches, strict=True) if not one.native)

    def grid_shape(self, spatial: Spatial) -> tuple[int, int]:
        """Rows and columns of a place's grid. Raises SpecError where no grid fits it."""
        if self.product is not None:
            return self.product.grid(spatial).shape
        return self.fit(spatial).shape

    def fit(self, spatial: Spatial) -> Fit:
        """Plan how the image of a place passes through the network. Raises SpecError where no grid fits it."""
        grid, crop = square_of(spatial, self.inputs[0][1], self.fetch.crs, views=self.views[:1])
        first = self.card.resolved_inputs(self.spec)[0]
        return fit_image(first, self.card.patch(self.spec), grid.shape, prep=self.prep, crop=crop)

    @property
    def own_token_m(self) -> float:
        """Side of a token on the ground at the resolution that is read, without a resize."""
        return self.card.patch(self.spec) * self.inputs[0][1]


def fetch_of(spec: ModelSpec, request: Request) -> FetchSpec:
    """Return how a model's pixels are read: what its own spec states, and the request's where it states nothing."""
    return request.fetch if spec.fetch is None else FetchSpec(**vars(request.fetch) | spec.fetch.to_dict())


def choose(request: Request) -> tuple[Chosen, ...]:
    """Find the card, sensors, bands and resolution of every model of a request."""
    used: set[SensorSpec] = set()
    chosen = []
    for spec in request.models:
        card = models.card(spec.id)
        card.dim(spec, request.output)
        within(card, request.output)
        fetch, prep = fetch_of(spec, request), spec.prep or request.prep
        if card.kind == "product":
            chosen.append(Chosen(spec, card, (), _product(request, spec, card, fetch), fetch, prep))
        else:
            inputs = tuple(_inputs(request, spec, card, fetch=fetch, used=used))
            chosen.append(Chosen(spec, card, inputs, fetch=fetch, asked_prep=prep))
    asked = [each.inputs[:1] if each.takes_all_dates else each.inputs for each in chosen]
    check_acquisitions(request, [[one for one, _ in inputs] for inputs in asked])
    own = (one for spec in request.models for one in spec.sensor or ())
    for override in (*own, *request.sensors):
        if override not in used:
            reason = "no model of the request reads it"
            fix = "name an input by modality=, or leave it out"
            raise PlanError("sensors", value=override.collection, reason=reason, fix=fix)
    return tuple(chosen)


def _product(request: Request, spec: ModelSpec, card: Card, fetch: FetchSpec) -> ProductEntry:
    reader = products.reader_for(card, spec, request.provider)
    pooling = "" if request.output.mode == "grid" else card.pooling(request.output)
    resolution_m, dim = resolution_of(fetch, request.output), card.dim(spec, request.output)
    bounds = within(card, request.output)
    return ProductEntry(spec.label, reader, dim, resolution_m, fetch.crs, pooling, bounds)


def _inputs(
    request: Request, spec: ModelSpec, card: Card, *, fetch: FetchSpec, used: set[SensorSpec]
) -> Iterable[tuple[ModelInput, float]]:
    available = request.provider.sensors()
    resolution_m = resolution_of(fetch, request.output)
    overrides = (*(spec.sensor or ()), *request.sensors)
    for inputs in (framed(card, one, request) for one in card.resolved_inputs(spec)):
        override = _override(overrides, inputs.modality, inputs.sensors)
        if override is None:
            own = _preferred(card, replace(spec, modality=inputs.modality), available, request.provider.name)
            yield replace(own, frames=inputs.frames), resolution_m or own.resolution_m
            continue
        used.add(override)
        chosen = sensor(override.collection)
        if chosen.id not in available:
            reason = f"the provider {request.provider.name} does not have it"
            raise PlanError("sensors", value=chosen.id, reason=reason, fix=f"use one of {', '.join(sorted(available))}")
        replaced = ModelInput.of(inputs, chosen.id)
        if override.bands is not None:
            replaced = replace(replaced, bands=_bands(card, replaced, override.bands))
        yield replaced, resolution_m or override.resolution_m or replaced.resolution_m


def _preferred(card: Card, spec: ModelSpec, available: frozenset[str], provider: str) -> ModelInput:
    try:
        (preferred,) = card.inputs_for(spec, available)
    except SpecError as error:
        raise PlanError(f"{error.what} at {provider}", value=error.value, reason=error.reason, fix=error.fix) from error
    return preferred


def _override(sensors: Iterable[SensorSpec], modality: str, takes: tuple[str, ...]) -> SensorSpec | None:
    """Find the user's sensor for a modality, by the modality's name or because the card takes that sensor."""
    for one in sensors:
        if one.modality == modality or (one.modality is None and sensor(one.collection).id in takes):
            return one
    return None


def _bands(card: Card, one: ModelInput, names: tuple[str, ...]) -> tuple[str, ...]:
    bands = tuple(sensor(one.sensor).band(name).common for name in names)
    if bands != one.bands:
        fix = f"give {', '.join(one.bands)}, or leave bands out"
        if card.any_bands or card.masks:
            fix = f"choose bands by the model's option: ModelSpec({card.id!r}, options={{'bands': {bands!r}}})"
        raise PlanError(f"bands of {card.id}", value=names, reason="the model takes other bands", fix=fix)
    return bands


def recipe_for(request: Request, chosen: Iterable[Chosen]) -> Recipe:
    """Merge the reads of all models and name the models."""
    # Images that are resized have reads of their own: for a model at its own scale, a read is wider than the place.
    groups: dict[tuple[tuple[str, float, FetchSpec, Frames], str], list[Need]] = {}
    seen: dict[str, tuple[View, ...]] = {}
    entries = []
    listed = tuple(chosen)
    for one in listed:
        if one.product is not None:
            continue
        for source, resolution_m in one.inputs:
            fetch = _fetch(one.fetch, source, resolution_m)
            key = (source.sensor, resolution_m, fetch, source.frames), one.prep.mode
            groups.setdefault(key, []).append(Need(one.spec.label, source.modality, source.bands))
        seen[one.spec.label] = one.views
        plugin = _plugin(one.card)
        spec = _named_once(one.spec)
        nbytes = int(one.card.variant_for(one.spec).params * 4e6)
        entry = ModelEntry(one.spec.label, tokenize(spec, plugin), partial(_load, spec, plugin), nbytes)
        bounds, note = within(one.card, request.output), box_note(one.card, request.output)
        entries.append(replace(entry, within=bounds, note=note, prep=one.asked_prep, by_pixel=one.takes_all_dates))
    merged = _with_views([ReadGroup(*key, needs=tuple(needs)) for (key, _), needs in groups.items()], seen)
    read = tuple(one.product for one in listed if one.product is not None)
    output = replace(request.output, positions=KEPT)  # positions are taken from results: see graph.gather_task
    return Recipe(request.provider, merged, tuple(entries), output, products=read)


def _with_views(groups: list[ReadGroup], seen: Mapping[str, tuple[View, ...]]) -> tuple[ReadGroup, ...]:
    """Let each read cover what its models see; the reads of one model's modalities cover the same square."""
    views = [dict.fromkeys(view for need in group.needs for view in seen[need.label]) for group in groups]
    labels = [{need.label for need in group.needs} for group in groups]
    for _ in groups:  # what is shared spreads from read to read
        for own, others in product(range(len(groups)), repeat=2):
            if labels[own] & labels[others] and groups[own].resolution_m == groups[others].resolution_m:
                views[own].update(views[others])
    return tuple(replace(group, views=tuple(own)) for group, own in zip(groups, views, strict=True))


def _fetch(fetch: FetchSpec, source: ModelInput, resolution_m: float) -> FetchSpec:
    """Fill in what the request leaves to the card. Raises UnknownNameError if the sensor has no such mask."""
    if fetch.mask not in {None, "none"}:
        sensor(source.sensor).mask(str(fetch.mask))
    return replace(
        fetch,
        resolution_m=resolution_m,
        max_cloud_pct=source.max_cloud_pct if fetch.max_cloud_pct is None else fetch.max_cloud_pct,
        mask=fetch.mask or source.mask,
        composite=fetch.composite or source.composite,
        orbit=(source.orbit or fetch.orbit) if sensor(source.sensor).kind == "radar" else None,
    )


def _named_once(spec: ModelSpec) -> ModelSpec:
    """Drop the name that a model has in the store, and how its images are read: the network is the same."""
    return replace(spec, name=None, fetch=None, sensor=None, prep=None)


def _plugin(card: Card) -> _Plugin:
    """Return card and factory of a model that was registered in this session: workers lack it."""
    own = f"{cards.__name__}.{card.id}"
    if find_spec(own) is not None and card == import_module(own).CARD:
        return None
    return card, models.factory(card.id)


def _load(spec: ModelSpec, plugin: _Plugin) -> EmbedModel:
    if plugin is not None:
        models.register_model(*plugin)
    from rs_embed_dask.inference.loading import load_model

    loaded: EmbedModel = load_model(spec)
    return loaded
