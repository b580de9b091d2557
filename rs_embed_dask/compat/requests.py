"""From rs-embed's arguments to plans of the engine, and their results in the order of the places."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask import specs as ours
from rs_embed_dask.compat.names import card_of, modality_of, options_of, variant_of
from rs_embed_dask.compat.settings import current, differs
from rs_embed_dask.compat.specs import FetchSpec, InputPrepSpec, OutputSpec, SensorSpec
from rs_embed_dask.compat.unlisted import is_listed, sensor_for
from rs_embed_dask.engine.local import embed_items
from rs_embed_dask.engine.plan import Plan, Sizes, make_plan
from rs_embed_dask.engine.recipe import READ_RETRY, choose, square_of
from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.preprocess.geometry import fit_image
from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs.places import place_column
from rs_embed_dask.specs.when import spans
from rs_embed_dask.store import ItemColumns
from rs_embed_dask.store.export.payload import sanitised

if TYPE_CHECKING:
    from rs_embed_dask.cards.card import Card
    from rs_embed_dask.engine.local import ItemResult
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.retry import RetryPolicy

__all__ = [
    "Asked",
    "How",
    "ask",
    "items_of",
    "output_of",
    "plans_of",
    "prep_of",
    "provider_of",
    "radar_options",
    "results_of",
]

_FREE: Final = frozenset({"auto", "gee", "earth_engine", "provider", "tensor", ""})
_MEAN: Final = frozenset({"anysat"})
"""Models whose vector is the mean of tokens in rs-embed, although their authors use another."""
_FRAMES: Final = ("n_frames", "max_frames", "temporal_mode")
_PASSED: Final = ("weights", "accept_licence", "dtype")
_RADAR: Final = {True: "linear", False: "db"}


@dataclass(frozen=True)
class Asked:
    """One model with all that a call says of it."""

    name: str
    card: Card
    spec: ours.ModelSpec
    sensor: SensorSpec | ours.SensorSpec | None = None
    fetch: ours.FetchSpec = field(default_factory=ours.FetchSpec)
    fewest_frames: int = 1
    most_frames: int | None = None
    pooling: str | None = None

    @property
    def sensors(self) -> tuple[ours.SensorSpec, ...]:
        """The sensor as the engine takes it."""
        one = self.sensor
        if one is None or self.card.kind == "product":
            return ()
        if isinstance(one, ours.SensorSpec):
            return (one,)
        bands = None if self.card.any_bands else one.bands  # else they are an option of the model
        return (ours.SensorSpec(one.collection, bands, one.scale_m, modality_of(self.card, one.modality)),)

    @property
    def is_unlisted(self) -> bool:
        """Whether it reads a collection that no table here has."""
        return self.sensor is not None and self.card.kind == "encoder" and not is_listed(self.sensor)

    def at(self, provider: Provider) -> Asked:
        """Return the same with an unlisted collection as the provider describes it."""
        if not self.is_unlisted:
            return self
        sensor, bands = sensor_for(provider, self.sensor, self.card, spec=self.spec)
        options = {**self.spec.choices, "bands": bands} if self.card.any_bands else self.spec.choices
        spec = replace(self.spec, options=tuple(options.items()))
        return replace(self, sensor=sensor, spec=spec, fetch=replace(self.fetch, mask="none"))

    @property
    def earth(self) -> dict[str, Any]:
        """What the sensor says of radar, as options of the provider."""
        return radar_options(self.sensor)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What models must have in common to be read together."""
        own = self.name if self.is_unlisted else None  # such a collection is read as each model takes it
        shared = (self.sensors, self.fetch, tuple(self.earth.items()), self.fewest_frames, self.most_frames)
        return *shared, self.pooling, own

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        told = {"spec": replace(self.spec, name=None).to_dict(), "fetch": self.fetch.to_dict(), "pooling": self.pooling}
        told |= {"sensor": None if self.sensor is None else self.sensor.to_dict()}
        return told | {"name": self.name, "frames": [self.fewest_frames, self.most_frames]}


def radar_options(sensor: object) -> dict[str, Any]:
    """Return what a sensor says of radar, as options of Earth Engine; what it takes by default is left out."""
    if not isinstance(sensor, SensorSpec):
        return {}
    told: dict[str, Any] = {"orbit": sensor.orbit and sensor.orbit.lower(), "radar": _RADAR[sensor.use_float_linear]}
    told |= {"any_mode": not sensor.s1_require_iw}
    return {name: value for name, value in told.items() if value not in {None, False, "linear"}}


@dataclass(frozen=True)
class How:
    """What a call says of all models: shape, fit, source, and how much is done at once."""

    output: OutputSpec | ours.OutputSpec = field(default_factory=partial(OutputSpec, "pooled"))
    prep: InputPrepSpec | ours.InputPrep | str | None = None
    backend: Any = "auto"
    batch_items: int = 32
    retry: RetryPolicy = READ_RETRY


def ask(
    model: object,
    config: Mapping[str, Any] | None = None,
    *,
    sensor: SensorSpec | ours.SensorSpec | None = None,
    fetch: FetchSpec | ours.FetchSpec | None = None,
    modality: str | None = None,
    device: str = "auto",
) -> Asked:
    """Translate a model and what is said of it."""
    if sensor is not None and fetch is not None:
        fix = "give the sensor's own scale_m, cloudy_pct and composite"
        raise SpecError("fetch", value=fetch, reason="sensor= was given too, which states all of it", fix=fix)
    if isinstance(model, ours.ModelSpec):
        return Asked(model.label, card_of(model.id), model, sensor, _fetch(sensor, fetch))
    name, given = str(model), dict(config or {})
    of = card_of(name)
    passed = {word: given.pop(word) for word in _PASSED if word in given}
    frames = _frames(of, {word: given.pop(word) for word in _FRAMES if word in given})
    chosen = modality or given.get("modality") or getattr(sensor, "modality", None)
    settings = current()
    if of.variant(None).weights is not None and settings.weights != "auto":
        passed.setdefault("weights", settings.weights)
    if settings.accept_licence:
        passed.setdefault("accept_licence", True)
    spec = ours.ModelSpec(
        of.id,
        variant=variant_of(of, given),
        modality=modality_of(of, chosen),
        options=tuple(options_of(of, given).items()),
        device=device or "auto",
        **passed,
    )
    if of.any_bands and isinstance(sensor, SensorSpec) and is_listed(sensor):
        names = sensor_named(sensor.collection).common(sensor.bands)
        spec = replace(spec, options=tuple({**spec.choices, "bands": names}.items()))
    pooling = {"tile": "cls", "patch": "mean"}.get(str(given.get("pooled_source")))
    return Asked(name, of, spec, sensor, _fetch(sensor, fetch), *frames, pooling)


def _fetch(sensor: object, fetch: FetchSpec | ours.FetchSpec | None) -> ours.FetchSpec:
    crs = current().crs
    if isinstance(fetch, ours.FetchSpec):
        return fetch if fetch.crs or crs is None else replace(fetch, crs=crs)
    if isinstance(fetch, FetchSpec):
        return ours.FetchSpec(fetch.scale_m, fetch.cloudy_pct, None, fetch.composite, fetch.fill_value, crs)
    if isinstance(sensor, SensorSpec):
        fill = sensor.fill_value or None  # 0 is rs-embed's default, and no observation
        return ours.FetchSpec(None, sensor.cloudy_pct, None, sensor.composite, fill, crs)
    return ours.FetchSpec(crs=crs)


def _frames(of: Card, given: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return how many frames there must be at least and at most."""
    mode, count = given.get("temporal_mode") or "auto", given.get("n_frames")
    if mode not in {"auto", "single", "multi"}:
        raise SpecError("temporal_mode", value=mode, reason="there is no such mode", fix="use auto, single or multi")
    taken = max((one.frames.cap or one.frames.n or 1 for one in of.inputs), default=1)
    most = count or (1 if mode == "single" else given.get("max_frames"))
    fewest = count or (2 if mode == "multi" else 1)
    if not 1 <= int(fewest) <= taken or (most is not None and int(most) < 1):
        reason = f"{of.id} takes at most {taken}" if taken > 1 else f"{of.id} takes one image"
        raise SpecError("n_frames", value=fewest, reason=reason, fix=f"use 1 to {taken}, or leave it out")
    return int(fewest), None if most is None else min(int(most), taken)


def items_of(spatials: object, temporal: object, asked: Sequence[Asked]) -> ItemColumns:
    """Pair places with their spans; without one, with the last full year, and a warning."""
    column = place_column(spatials, None)
    if temporal is None:
        year = dt.datetime.now(dt.UTC).year - 1
        last = [one.card.years[1] for one in asked if one.card.years != (0, 0)]
        temporal = ours.TemporalSpec.of_year(min([year, *last]))
        warnings.warn(f"temporal was not given: {temporal.year} is used", UserWarning, stacklevel=4)
    return ItemColumns(column, spans(temporal, len(column)))


def plans_of(asked: Sequence[Asked], items: ItemColumns, how: How) -> list[tuple[list[int], Plan]]:
    """Plan models that are read alike: the rows of the items, and their plan; several where images are fitted apart."""
    provider = provider_of(how.backend, asked[0].earth)
    listed = []
    for one in asked:
        listed.append(one.at(provider))  # noqa: PERF401 - a warning states the line of the caller, some calls above
    asked, first = listed, listed[0]
    output = output_of(how.output, first)
    request = Request(
        tuple(replace(one.spec, name=sanitised(one.name)) for one in asked),
        provider,
        output,
        fetch=first.fetch,
        sensors=first.sensors,
    )
    for one in asked:
        _tell(one)
    sizes = Sizes(batch_items=how.batch_items, retry=how.retry)
    plans = []
    for prep, rows in _prepared(request, items, how.prep):
        taken = items if len(rows) == len(items) else _some(items, rows)
        plan = make_plan(taken, replace(request, prep=prep), sizes=sizes)
        plans.append((rows, _framed(plan, first)))
    return plans


def _some(items: ItemColumns, rows: Sequence[int]) -> ItemColumns:
    import numpy as np

    return items.take(np.asarray(rows))


def output_of(output: OutputSpec | ours.OutputSpec, one: Asked) -> ours.OutputSpec:
    """Return the output as the engine takes it; ``mean``, rs-embed's default, is the vector of the model's authors."""
    if isinstance(output, ours.OutputSpec):
        return output
    if output.mode == "grid":
        if output.grid_orientation == "native" and one.card.kind == "product":
            reason, fix = "grids of products are north up here, with coordinates", "leave it out"
            raise SpecError("OutputSpec.grid_orientation", value="native", reason=reason, fix=fix)
        return ours.OutputSpec.grid()
    usual = "mean" if one.card.id in _MEAN else None
    pooling = one.pooling or (usual if output.pooling == "mean" else output.pooling)
    return ours.OutputSpec.pooled(pooling)  # type: ignore[arg-type]  # checked there


def provider_of(backend: Any, options: Mapping[str, Any]) -> Provider:
    """Open the provider that a backend stands for, with options of the sensor."""
    source = backend
    if isinstance(backend, str) and backend.strip().lower() in _FREE:
        source = current().provider or "earth_engine"
    provider = open_provider(source)
    if not options:
        return provider
    lacking = sorted(options.keys() - {one.name for one in fields(provider)})  # type: ignore[arg-type]
    if lacking:
        reason = f"the provider {provider.name} has no such choice"
        raise SpecError(f"SensorSpec: {', '.join(lacking)}", reason=reason, fix="leave it out, or use Earth Engine")
    return replace(provider, **options)  # type: ignore[type-var]


def _tell(one: Asked) -> None:
    """Say once what differs from rs-embed on purpose."""
    if one.card.kind == "encoder" and one.fetch.crs is None:
        differs("migrating.md#pixels", "pixels are true metres in UTM here, and Mercator metres in rs-embed")
    own = [text for text in one.card.deviations if not text.startswith("rs-embed has no ")]
    if own:
        differs(f"correctness.md#{one.card.id}", f"{one.card.id} differs from rs-embed on purpose. {' '.join(own)}")


def _prep(prep: object) -> InputPrepSpec | ours.InputPrep:
    if prep is None:
        return InputPrepSpec()
    if isinstance(prep, InputPrepSpec | ours.InputPrep):
        return prep
    return InputPrepSpec(str(prep))  # type: ignore[arg-type]


def _prepared(request: Request, items: ItemColumns, prep: object) -> list[tuple[ours.InputPrep, list[int]]]:
    """Decide for each item whether it is tiled or resized, by rs-embed's rule."""
    rows, given = list(range(len(items))), _prep(prep)
    if isinstance(given, ours.InputPrep):
        return [(given, rows)]
    if given.mode == "resize":
        return [(ours.InputPrep.resize(), rows)]
    tiled = ours.InputPrep.tile(given.tile_size, given.tile_stride)
    counts = _tile_counts(request, items, tiled)
    if given.mode == "auto":
        large = [row for row in rows if counts[row] > given.max_tiles]
        small = [row for row in rows if counts[row] <= given.max_tiles]
        return [pair for pair in ((tiled, small), (ours.InputPrep.resize(), large)) if pair[1]]
    worst = max(counts, default=0)
    hard = max(given.max_tiles, given.max_tiles_hard)
    if worst > hard:
        fix = "use a smaller place, a coarser scale_m, or input_prep='resize'"
        raise SpecError("max_tiles_hard", value=hard, reason=f"a place needs {worst} tiles", fix=fix)
    if worst > given.max_tiles:
        warnings.warn(f"a place needs {worst} tiles, more than max_tiles={given.max_tiles}", UserWarning, stacklevel=5)
    return [(tiled, rows)]


def prep_of(prep: object, asked: Asked, shape: tuple[int, int]) -> ours.InputPrep:
    """Decide for one image of (H, W) pixels whether it is tiled or resized, by rs-embed's rule."""
    given = _prep(prep)
    if isinstance(given, ours.InputPrep):
        return given
    tiled = ours.InputPrep.tile(given.tile_size, given.tile_stride)
    inputs, patch = asked.card.resolved_inputs(asked.spec)[0], asked.card.patch(asked.spec)
    is_tiled = given.mode == "tile" or fit_image(inputs, patch, shape, prep=tiled).tile_count <= given.max_tiles
    return tiled if given.mode != "resize" and is_tiled else ours.InputPrep.resize()


def _tile_counts(request: Request, items: ItemColumns, prep: ours.InputPrep) -> list[int]:
    """Count the tiles of each item, for the model that needs the most."""
    counts = [0] * len(items)
    for chosen in choose(request):
        if chosen.product is not None:
            continue
        inputs, resolution_m = chosen.card.resolved_inputs(chosen.spec)[0], chosen.inputs[0][1]
        patch = chosen.card.patch(chosen.spec)
        for row, item in enumerate(items):
            grid, crop = square_of(item.spatial, resolution_m, request.fetch.crs)
            counts[row] = max(counts[row], fit_image(inputs, patch, grid.shape, prep=prep, crop=crop).tile_count)
    return counts


def _framed(plan: Plan, one: Asked) -> Plan:
    """Read as many frames as were asked for."""
    groups = []
    for group in plan.recipe.groups:
        own = max(len(group.spans(item.temporal)) for item in plan.items)
        count = min(max(own, one.fewest_frames), one.most_frames or own + one.fewest_frames)
        groups.append(group if count == own else replace(group, frames=Frames("fixed", n=count)))
    return replace(plan, recipe=replace(plan.recipe, groups=tuple(groups)))


def results_of(plans: Sequence[tuple[list[int], Plan]]) -> Iterator[tuple[int, Plan, ItemResult]]:
    """Compute plans in this process, item by item in the order of the places."""
    streams = [(plan, embed_items(plan)) for _, plan in plans]
    owner = {row: number for number, (rows, _) in enumerate(plans) for row in rows}
    for row in sorted(owner):
        plan, stream = streams[owner[row]]
        yield row, plan, next(stream)
