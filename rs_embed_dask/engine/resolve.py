"""From a request to a recipe: which sensor feeds each model, and which reads can be one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

from dask.tokenize import tokenize

from rs_embed_dask import cards, models, products
from rs_embed_dask.engine.recipe import ModelEntry, Need, ProductEntry, ReadGroup, Recipe, square_of
from rs_embed_dask.engine.retry import Retry
from rs_embed_dask.errors import PlanError, SpecError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.models import Card, ModelInput
from rs_embed_dask.specs import FetchSpec, ModelSpec, SensorSpec, resolution_of

if TYPE_CHECKING:
    from rs_embed_dask.engine.embedder import EmbedModel
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.specs import Spatial

__all__ = ["Chosen", "choose", "recipe_for"]

_Plugin: TypeAlias = "tuple[Card, Any] | None"


@dataclass(frozen=True)
class Chosen:
    """One model with its card and what it wants read.

    Attributes
    ----------
    spec : ModelSpec
        As it was asked for.
    card : Card
        What it declares.
    inputs : tuple of (ModelInput, float)
        Each modality, and the resolution in metres to read it at.
    product : ProductEntry or None
        How it is read, where it is a product.
    """

    spec: ModelSpec
    card: Card
    inputs: tuple[tuple[ModelInput, float], ...]
    product: ProductEntry | None = None

    @property
    def gsd_m(self) -> float | None:
        """Metres a pixel that is read."""
        if self.product is None:
            return self.inputs[0][1]
        return self.product.resolution_m or self.product.reader.native_m

    @property
    def frames(self) -> Frames:
        """How a span becomes frames."""
        return Frames() if self.product is not None else self.inputs[0][0].frames

    def grid_shape(self, spatial: Spatial, request: Request) -> tuple[int, int]:
        """Rows and columns of a place's grid. Raises SpecError where no grid fits it."""
        if self.product is not None:
            return self.product.grid(spatial).shape
        grid, crop = square_of(spatial, self.inputs[0][1], request.fetch.crs)
        return self.card.grid_shape(self.spec, grid.shape, request.prep, crop=crop)


def choose(request: Request) -> tuple[Chosen, ...]:
    """Find the card, sensors, bands and resolution of every model of a request.

    Parameters
    ----------
    request : Request
        What was asked for.

    Returns
    -------
    tuple of Chosen

    Raises
    ------
    PlanError
        Where a model has no sensor at the provider, a sensor override fits no model, or bands do not fit.
    UnknownNameError
        Where a model, variant, modality, option, sensor or band is not known.
    SpecError
        Where an option or the pooling cannot be used.
    """
    used: set[SensorSpec] = set()
    found = []
    for spec in request.models:
        card = models.card(spec.id)
        card.dim(spec, request.output)
        if card.kind == "product":
            found.append(Chosen(spec, card, (), _product(request, spec, card)))
        else:
            found.append(Chosen(spec, card, tuple(_inputs(request, spec, card, used))))
    for override in request.sensors:
        if override not in used:
            reason = "no model of the request takes it"
            fix = "name an input with modality=, or leave it out"
            raise PlanError("sensors", value=override.collection, reason=reason, fix=fix)
    return tuple(found)


def _product(request: Request, spec: ModelSpec, card: Card) -> ProductEntry:
    reader = products.reader_for(card, spec, request.provider)
    pooling = "" if request.output.mode == "grid" else card.pooling(request.output)
    asked, dim = resolution_of(request.fetch, request.output), card.dim(spec, request.output)
    return ProductEntry(spec.label, reader, dim, asked, request.fetch.crs, pooling)


def _inputs(request: Request, spec: ModelSpec, card: Card, used: set[SensorSpec]) -> Iterable[tuple[ModelInput, float]]:
    available = request.provider.sensors()
    asked = resolution_of(request.fetch, request.output)
    for inputs in card.resolved_inputs(spec):
        override = _override(request.sensors, inputs.modality, inputs.sensors)
        if override is None:
            wanted = _preferred(card, replace(spec, modality=inputs.modality), available, request.provider.name)
            yield wanted, asked or wanted.resolution_m
            continue
        used.add(override)
        chosen = sensor(override.collection)
        if chosen.id not in available:
            reason = f"the provider {request.provider.name} does not have it"
            raise PlanError("sensors", value=chosen.id, reason=reason, fix=f"use one of {', '.join(sorted(available))}")
        wanted = ModelInput.of(inputs, chosen.id)
        if override.bands is not None:
            wanted = replace(wanted, bands=_bands(card, wanted, override.bands))
        yield wanted, asked or override.resolution_m or wanted.resolution_m


def _preferred(card: Card, spec: ModelSpec, available: frozenset[str], provider: str) -> ModelInput:
    try:
        (found,) = card.inputs_for(spec, available)
    except SpecError as error:
        raise PlanError(f"{error.what} at {provider}", value=error.value, reason=error.reason, fix=error.fix) from error
    return found


def _override(sensors: Iterable[SensorSpec], modality: str, takes: tuple[str, ...]) -> SensorSpec | None:
    """Find the sensor that the user wants for a modality, by its name or because the card has it."""
    for one in sensors:
        if one.modality == modality or (one.modality is None and sensor(one.collection).id in takes):
            return one
    return None


def _bands(card: Card, wanted: ModelInput, names: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(sensor(wanted.sensor).band(name).common for name in names)
    if found != wanted.bands:
        fix = f"give {', '.join(wanted.bands)}, or leave bands out"
        if card.any_bands:
            fix = f"pick bands by the model's option: ModelSpec({card.id!r}, options={{'bands': {found!r}}})"
        raise PlanError(f"bands of {card.id}", value=names, reason="the model takes others", fix=fix)
    return found


def recipe_for(request: Request, chosen: Iterable[Chosen], *, retry: Retry, batch_items: int) -> Recipe:
    """Merge the reads of all models and name the models.

    Parameters
    ----------
    request : Request
        What was asked for.
    chosen : iterable of Chosen
        Its models.
    retry : Retry
        How often reads are tried.
    batch_items : int
        Most items in a batch.

    Returns
    -------
    Recipe
    """
    groups: dict[tuple[str, float, FetchSpec, Frames], list[Need]] = {}
    entries = []
    listed = tuple(chosen)
    for one in listed:
        if one.product is not None:
            continue
        for wanted, resolution_m in one.inputs:
            key = (wanted.sensor, resolution_m, _fetch(request.fetch, wanted, resolution_m), wanted.frames)
            groups.setdefault(key, []).append(Need(one.spec.label, wanted.modality, wanted.bands))
        plugin = _plugin(one.card)
        spec = _named_once(one.spec)
        nbytes = int(one.card.variant_for(one.spec).params * 4e6)
        entries.append(ModelEntry(one.spec.label, tokenize(spec, plugin), partial(_load, spec, plugin), nbytes))
    merged = tuple(ReadGroup(*key, needs=tuple(needs)) for key, needs in groups.items())
    read = tuple(one.product for one in listed if one.product is not None)
    return Recipe(request.provider, merged, tuple(entries), request.output, request.prep, retry, batch_items, read)


def _fetch(fetch: FetchSpec, wanted: ModelInput, resolution_m: float) -> FetchSpec:
    """Fill in what the request leaves to the card. Raises UnknownNameError for a mask that the sensor has not."""
    if fetch.mask not in {None, "none"}:
        sensor(wanted.sensor).mask(str(fetch.mask))
    return replace(
        fetch,
        resolution_m=resolution_m,
        max_cloud_pct=wanted.max_cloud_pct if fetch.max_cloud_pct is None else fetch.max_cloud_pct,
        mask=fetch.mask or wanted.mask,
        composite=fetch.composite or wanted.composite,
    )


def _named_once(spec: ModelSpec) -> ModelSpec:
    """Drop the name that a model has in the store: it is the same model under another one."""
    return replace(spec, name=None)


def _plugin(card: Card) -> _Plugin:
    """Card and factory of a model that was registered in this session, which workers do not know."""
    own = f"{cards.__name__}.{card.id}"
    if find_spec(own) is not None and card == import_module(own).CARD:
        return None
    return card, models.factory(card.id)


def _load(spec: ModelSpec, plugin: _Plugin) -> EmbedModel:
    if plugin is not None:
        models.register_model(*plugin)
    from rs_embed_dask.inference.loading import load_model  # torch: workers alone load it

    loaded: EmbedModel = load_model(spec)
    return loaded
