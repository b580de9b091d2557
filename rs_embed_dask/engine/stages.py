"""The three stages of an item, without Dask: read it, embed it, report its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from distributed import get_worker

from rs_embed_dask.engine.embedder import Embedded, EmbedInput, is_resident, resident
from rs_embed_dask.engine.reading import FATAL, CubeRead, error_line, read_pixels, refused, with_retries
from rs_embed_dask.engine.recipe import Recipe
from rs_embed_dask.errors import ModelError, NoImageryError, ProviderError, RsEmbedError, SpecError
from rs_embed_dask.imagery.checks import issues_text, reports_of
from rs_embed_dask.imagery.coverage import coverage_of, footprint
from rs_embed_dask.imagery.cube import Cube, Read
from rs_embed_dask.imagery.revisit import expected_passes
from rs_embed_dask.specs import Polygon
from rs_embed_dask.store import ChunkResult, Status

if TYPE_CHECKING:
    from shapely import Geometry

    from rs_embed_dask.engine.reading import ReadResult
    from rs_embed_dask.engine.recipe import ProductEntry
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.preprocess.geometry import Fit
    from rs_embed_dask.products import ProductField
    from rs_embed_dask.specs import TemporalSpec
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store import Item

__all__ = [
    "ItemPixels",
    "Outcome",
    "ProductRead",
    "Unit",
    "Visit",
    "by_group",
    "chunk_result",
    "embed_units",
    "load_meanwhile",
    "product_parts",
    "read_products",
    "read_unit",
    "weights_of",
]

_WHOLE: Final = 0.9


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of one item for one model."""

    status: Status
    data: np.ndarray[Any, Any] | None = None
    grid: Grid | None = None
    error: RsEmbedError | None = None
    note: str = ""
    valid_fraction: tuple[float, ...] = ()
    frames: tuple[Span, ...] = ()
    n_obs: int = 0
    n_days: int = -1
    n_expected: int = -1
    first: date | None = None
    last: date | None = None
    scenes: tuple[str, ...] = ()
    share: float = 0.0
    seconds: float = 0.0
    coverage: np.ndarray[Any, Any] | None = None
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fit: Fit | None = None
    windows: np.ndarray[Any, Any] | None = None

    def without(self, table: PositionTable | None) -> Outcome:
        """Take from a grid what positions add to it; say so where its windows have another shape than the table."""
        if table is None or self.data is None or self.fit is None:
            return self
        (rows, columns), side = self.fit.window, table.window
        if (rows, columns) != (side, side):
            kept = f"positions kept: its windows are {rows} x {columns} tokens, and those of the table {side} x {side}"
            return replace(self, note="; ".join(filter(None, (self.note, kept))))
        return replace(self, data=table.without(self.data, self.fit.places))

    @property
    def shares(self) -> np.ndarray[Any, Any] | None:
        """Of a grid, the share of each cell that lies inside the place."""
        if self.grid is None:
            return None
        return np.ones(self.grid.shape, "float32") if self.coverage is None else self.coverage

    @property
    def reason(self) -> str:
        """Why the status is not OK, as the store keeps it."""
        return self.note if self.error is None else str(self.error)


def completeness(valid_fraction: Sequence[float]) -> tuple[Status, str]:
    """Return whether an embedded item is OK or PARTIAL, and what is missing."""
    shares = np.asarray(valid_fraction, dtype="float64")
    if not len(shares):
        return Status.OK, ""
    empty, mean = int((shares <= 0).sum()), float(shares.mean())
    parts = [f"{empty} of {len(shares)} frames without data"] if empty else []
    if mean < _WHOLE:
        parts.append(f"{100 * (1 - mean):.0f} % of the pixels missing")
    return (Status.PARTIAL, "; ".join(parts)) if parts else (Status.OK, "")


def coverage_note(coverage: np.ndarray[Any, Any] | None) -> str:
    """Say so where a place is smaller than one token."""
    total = 1.0 if coverage is None else float(coverage.sum())
    return "" if total >= 1 else f"the place covers {100 * total:.2g} % of one token"


def chunk_result(units: Sequence[Unit], outcomes: Sequence[Outcome], frames: int) -> ChunkResult:
    """Convert the outcomes of one model to what the store writes."""
    count = len(units)
    valid = np.full((count, frames), np.nan, dtype="float32")
    starts = np.full((count, frames), np.datetime64("NaT"), dtype="datetime64[D]")
    ends = starts.copy()
    for i, outcome in enumerate(outcomes):
        shares, spans = outcome.valid_fraction[:frames], outcome.frames[:frames]
        valid[i, : len(shares)] = shares
        starts[i, : len(spans)] = [np.datetime64(span.start, "D") for span in spans]
        ends[i, : len(spans)] = [np.datetime64(span.end, "D") for span in spans]
    is_grid = any(outcome.grid is not None for outcome in outcomes)
    return ChunkResult(
        rows=np.asarray([unit.row for unit in units], dtype="int64"),
        keys=np.asarray([unit.item.key for unit in units], dtype="uint64"),
        status=np.asarray([outcome.status for outcome in outcomes], dtype="uint8"),
        embedding=[outcome.data for outcome in outcomes],
        reason=[outcome.reason for outcome in outcomes],
        valid_fraction=valid,
        n_obs=np.asarray([outcome.n_obs for outcome in outcomes], dtype="int64"),
        n_days=np.asarray([outcome.n_days for outcome in outcomes], dtype="int64"),
        n_expected=np.asarray([outcome.n_expected for outcome in outcomes], dtype="int64"),
        first_date=_days([outcome.first for outcome in outcomes]),
        last_date=_days([outcome.last for outcome in outcomes]),
        frame_start=starts,
        frame_end=ends,
        transform=_transforms(outcomes) if is_grid else None,
        crs=[outcome.grid.crs if outcome.grid else "" for outcome in outcomes] if is_grid else None,
        scenes=["\n".join(outcome.scenes) for outcome in outcomes],
        coverage=[outcome.shares for outcome in outcomes] if is_grid else None,
    )


def _days(days: Sequence[date | None]) -> np.ndarray[Any, Any]:
    return np.asarray(
        [np.datetime64("NaT") if day is None else np.datetime64(day, "D") for day in days], "datetime64[D]"
    )


def _transforms(outcomes: Sequence[Outcome]) -> np.ndarray[Any, Any]:
    nowhere = (np.nan,) * 6
    return np.asarray([outcome.grid.transform if outcome.grid else nowhere for outcome in outcomes], dtype="float64")


_STATUS_OF_ERROR: Final = ((NoImageryError, Status.NO_DATA), (SpecError, Status.INVALID))


@dataclass(frozen=True, eq=False)
class ProductRead:
    """The outcome of one item for one product, and the cost of its read."""

    outcome: Outcome
    tries: int = 1
    fault: str = ""
    seconds: float = 0.0
    nbytes: int = 0


def product_parts(recipe: Recipe, units: Sequence[Unit]) -> Iterator[tuple[str, list[Unit]]]:
    """Return by label, for each product, the units of one span that are best read together."""
    for label, entry in recipe.product.items():
        spans: dict[TemporalSpec, list[Unit]] = {}
        for unit in units:
            if label in unit.labels:
                spans.setdefault(unit.item.temporal, []).append(unit.only((label,)))
        for some in spans.values():
            for start in range(0, len(some), entry.places_at_once):
                yield label, some[start : start + entry.places_at_once]


def read_products(
    recipe: Recipe, items: Sequence[Item], label: str, *, sleep: Callable[[float], None] = time.sleep
) -> list[ProductRead]:
    """Read one product for items of one span. Faults of data, network and reader become outcomes."""
    entry = recipe.product[label]
    grids: dict[int, Grid] = {}
    done: dict[int, ProductRead] = {}
    for number, item in enumerate(items):
        try:
            grids[number] = entry.grid(item.spatial)
        except SpecError as error:
            done[number] = ProductRead(Outcome(Status.INVALID, error=error))
    if grids:
        asked, span, seed = [*grids.values()], items[0].temporal, f"{items[0].index}/{label}"
        result = with_retries(lambda: entry.read(asked, span), label, recipe.retry, seed=seed, sleep=sleep)
        if result.value is None and len(grids) > 1 and not result.may_succeed_later:
            # one of them is at fault, and the others have their vectors
            return [read for item in items for read in read_products(recipe, [item], label, sleep=sleep)]
        for (number, grid), one in zip(grids.items(), result.split(len(grids)), strict=True):
            outline = footprint(items[number].spatial, grid.crs) if entry.within == "shape" else None
            done[number] = _product_read(entry, one, outline)
    return [done[number] for number in range(len(items))]


def read_published(
    recipe: Recipe,
    label: str,
    grid: Grid,
    *,
    temporal: TemporalSpec,
    seed: str,
    sleep: Callable[[float], None] = time.sleep,
) -> ProductRead:
    """Read one product's vectors over a grid."""
    entry = recipe.product[label]
    result = with_retries(lambda: entry.reader.read(grid, temporal), label, recipe.retry, seed=seed, sleep=sleep)
    return _product_read(entry, result, None)


def _product_read(entry: ProductEntry, result: ReadResult[ProductField], outline: Geometry | None) -> ProductRead:
    """Return what was read and its cost; a shape may be all of it that counts."""
    outcome, nbytes = _product_outcome(entry, result, outline)
    return ProductRead(outcome, result.tries, result.fault, result.seconds, nbytes)


def _product_outcome(
    entry: ProductEntry, result: ReadResult[ProductField], outline: Geometry | None
) -> tuple[Outcome, int]:
    field = result.value
    if field is None:
        status = next((status for kind, status in _STATUS_OF_ERROR if isinstance(result.error, kind)), result.status)
        return Outcome(status, error=result.error, valid_fraction=(0.0,)), 0
    frames = () if field.span is None else (field.span,)
    coverage = None if outline is None else coverage_of(outline, field.grid)
    share = float(np.average(field.valid, weights=coverage))
    facts: dict[str, Any] = {
        "frames": frames,
        "valid_fraction": (share,),
        "n_obs": len(field.tiles),
        "scenes": field.tiles,
    }
    if share <= 0:
        reason, fix = "the product has no vector at any of its pixels", "choose a place that the product covers"
        error = NoImageryError(f"{entry.label}: place", value=field.grid.center_lonlat, reason=reason, fix=fix)
        return Outcome(Status.NO_DATA, error=error, **facts), field.values.nbytes
    status, note = completeness((share,))
    is_grid = not entry.pooling
    values = field.values if coverage is None else np.where(coverage > 0, field.values, np.nan)
    data = np.asarray(values if is_grid else field.pooled(entry.pooling, coverage), np.float32)
    grid = field.grid if is_grid else None
    note = "; ".join(filter(None, (note, coverage_note(coverage))))
    facts["coverage"] = coverage
    return Outcome(status, data=data, grid=grid, note=note, **facts), field.values.nbytes


_BRIEFLY_S: Final = 0.01
_NAMED: Final = 3
_WORST: Final = (Status.INVALID, Status.READ_FAILED, Status.NO_DATA)

ItemPixels: TypeAlias = Mapping[int, CubeRead]
"""The reads of one item, by the number of their group in the recipe."""

Visit: TypeAlias = tuple[int, ...]
"""Numbers of the recipe's groups that are read together."""


@dataclass(frozen=True)
class Unit:
    """One item, and the models that still have to embed it."""

    row: int
    item: Item
    labels: tuple[str, ...]

    def only(self, labels: Container[str]) -> Unit:
        """Keep some of the models."""
        return replace(self, labels=tuple(label for label in self.labels if label in labels))


def read_unit(recipe: Recipe, unit: Unit, visit: Visit) -> list[CubeRead]:
    """Read one collection for one item, for all models at once."""
    groups = [recipe.groups[number].only(unit.labels) for number in visit]
    try:
        reads = [group.read(unit.item.spatial, unit.item.temporal) for group in groups]
    except SpecError as error:
        return [refused(error)] * len(visit)
    frames = [group.frames for group in groups]
    seed = f"{unit.item.index}/{groups[0].sensor}"
    return read_pixels(recipe.provider, reads, recipe.retry, seed=seed, frames=frames)


def by_group(visits: Sequence[Visit], results: Sequence[Sequence[CubeRead]]) -> dict[int, CubeRead]:
    """Arrange the results of an item's visits by the number of their group."""
    return {
        number: result
        for visit, row in zip(visits, results, strict=True)
        for number, result in zip(visit, row, strict=True)
    }


@dataclass(frozen=True, eq=False)
class _Submitted:
    """One item in the queue of one model."""

    cubes: Mapping[str, Cube]
    frames: tuple[Any, ...]
    done: Future[Embedded]
    note: str = ""
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load_meanwhile(recipe: Recipe, labels: Iterable[str], embed: Iterable[str]) -> None:
    """Begin to load models on a worker that reads, if it has the resources to embed too. For tasks."""
    # A load that fails raises for the first item that is embedded there.
    if not all(get_worker().state.total_resources.get(name) for name in embed):
        return
    for label in labels:
        entry = recipe.entry.get(label)
        if entry is not None and not is_resident(entry.key):
            resident(entry.key, entry.load, recipe.batch_items)


def embed_units(
    recipe: Recipe,
    units: Sequence[Unit],
    pixels: Sequence[ItemPixels],
    *,
    leave: Callable[[], None] = lambda: None,
) -> list[dict[str, Outcome]]:
    """Embed items by every model that they need."""
    submitted = [
        {label: _submit(recipe, unit, reads, label) for label in unit.labels}
        for unit, reads in zip(units, pixels, strict=True)
    ]
    waiting = [one.done for row in submitted for one in row.values() if isinstance(one, _Submitted)]
    if wait(waiting, timeout=_BRIEFLY_S).not_done:
        leave()
    return [{label: _model_outcome(label, one) for label, one in row.items()} for row in submitted]


def _submit(recipe: Recipe, unit: Unit, pixels: ItemPixels, label: str) -> _Submitted | Outcome:
    """Queue an item for a model, or return the outcome that rules it out."""
    needs = recipe.needs(label)
    group = recipe.groups[needs[0][0]]
    failed = _failed([pixels[number] for number, _ in needs])
    if failed is not None:
        frames = () if group.is_open else group.spans(unit.item.temporal)
        facts: dict[str, Any] = {"frames": frames, "valid_fraction": (0.0,) * len(frames)}
        if failed.status == Status.NO_DATA:
            found = {number: getattr(pixels[number].error, "n_days", None) for number, _ in needs}
            place = unit.item.spatial, unit.item.temporal
            facts |= _census((recipe.groups[number].read(*place), days) for number, days in found.items())
        return Outcome(failed.status, error=failed.error, **facts)
    cubes = {}
    for number, need in needs:
        result = pixels[number]
        cube = result.value or _blank(recipe.groups[number].read(unit.item.spatial, unit.item.temporal), result.error)
        cubes[need.modality] = cube.select(bands=need.bands)
    frames = next(iter(cubes.values())).read.frames
    grid, crop = group.square(unit.item.spatial)
    entry = recipe.entry[label]
    embedder = resident(entry.key, entry.load, recipe.batch_items)
    is_polygon = isinstance(unit.item.spatial, Polygon)
    outline = footprint(unit.item.spatial, grid.crs) if entry.within == "shape" else None
    done = embedder.submit(EmbedInput(cubes, recipe.output, entry.prep, crop, outline))
    checks = reports_of(cubes) if recipe.check_input else {}
    return _Submitted(cubes, frames, done, entry.note if is_polygon else "", checks)


def _failed(reads: Sequence[CubeRead]) -> CubeRead | None:
    """Find the read that keeps an item from being embedded: the worst of those without a cube."""
    # A modality without imagery does not, as long as another has some: the model decides whether that is enough.
    without = [read for read in reads if read.value is None]
    if len(without) < len(reads):
        without = [read for read in without if read.status != Status.NO_DATA]
    return min(without, key=lambda read: _WORST.index(read.status), default=None)


def _blank(read: Read, nothing: object) -> Cube:
    """Make the cube of a read without imagery."""
    shape = (len(read.frames), len(read.bands), *read.grid.shape)
    return Cube(
        np.full(shape, np.nan, "float32"),
        np.zeros((shape[0], *shape[2:]), "uint16"),
        read,
        n_days=getattr(nothing, "n_days", None),
    )


def _model_outcome(label: str, submitted: _Submitted | Outcome) -> Outcome:
    """Wait for the model and return the item's outcome."""
    if isinstance(submitted, Outcome):
        return submitted
    embedded = submitted.done.result()
    facts = _cube_facts(submitted) | {"share": embedded.share, "seconds": embedded.seconds}
    result = embedded.result
    lost = _lost(submitted)
    if isinstance(result, NoImageryError):
        if lost:  # what is missing may be there: it was not read
            error = ProviderError(label, reason=f"{result.reason}; {lost}", fix="resume the store later; " + result.fix)
            return Outcome(Status.READ_FAILED, error=error, **facts)
        return Outcome(Status.NO_DATA, error=result, **facts)
    if isinstance(result, BaseException):
        return Outcome(Status.MODEL_FAILED, error=_model_error(label, result), **facts)
    shares = tuple(float(share) for share in result.valid_fraction)
    status, note = completeness(shares)
    issues = issues_text(submitted.checks)
    return Outcome(
        status,
        data=np.asarray(result.values, dtype="float32"),
        grid=result.grid,
        note="; ".join(filter(None, (note, lost, submitted.note, coverage_note(result.coverage), issues))),
        checks=submitted.checks,
        fit=result.fit,
        windows=result.windows,
        **facts | {"valid_fraction": shares, "coverage": result.coverage},
    )


def _lost(submitted: _Submitted) -> str:
    """Name the scenes that could not be read, and why, and those about which the catalogue contradicts itself."""
    cubes = submitted.cubes.values()
    lost = tuple(dict.fromkeys(one for cube in cubes for one in cube.lost))
    notes = tuple(dict.fromkeys(one for cube in cubes for one in cube.notes))
    told = (f"without {len(lost)} of the scenes: {_first(lost)}" if lost else "", _first(notes))
    return "; ".join(filter(None, told))


def _first(lines: tuple[str, ...]) -> str:
    more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return f"{'; '.join(lines[:_NAMED])}{more}"


def _model_error(label: str, error: BaseException) -> RsEmbedError:
    if isinstance(error, RsEmbedError) and not isinstance(error, FATAL):
        return error
    return ModelError(label, reason=f"it raised {error_line(error)}", fix="check the item's pixels, or report it")


def _cube_facts(submitted: _Submitted) -> dict[str, Any]:
    """Return what an item's cubes record, whether or not the model could embed it."""
    cubes = list(submitted.cubes.values())
    days: list[date] = [day for cube in cubes for pair in cube.dates if pair is not None for day in pair]
    shares = np.mean([cube.valid_fraction for cube in cubes], axis=0)
    return {
        "frames": submitted.frames,
        "valid_fraction": tuple(float(share) for share in shares),
        "n_obs": sum(int(cube.n_obs.max(axis=(1, 2)).sum()) for cube in cubes),
        **_census((cube.read, cube.n_days) for cube in cubes),
        "first": min(days, default=None),
        "last": max(days, default=None),
        "scenes": tuple(dict.fromkeys(scene for cube in cubes for scene in cube.scenes)),
    }


def _census(reads: Iterable[tuple[Read, int | None]]) -> dict[str, int]:
    """Return on how many days there are scenes and must have been passes, -1 where one read does not know."""
    today = datetime.now(UTC).date()
    pairs = []
    for read, days in reads:
        expected = expected_passes(read.sensor, read.grid.center_lonlat[1], read.frames, before=today)
        pairs.append((days, expected))
    totals = (-1 if None in each else sum(each) for each in zip(*pairs, strict=True))
    return dict(zip(("n_days", "n_expected"), totals, strict=True))


def weights_of(recipe: Recipe, outcomes: Sequence[Mapping[str, Outcome]]) -> dict[str, Mapping[str, Any]]:
    """Collect the weights of the models that ran, by label."""
    ran = {label for row in outcomes for label, outcome in row.items() if outcome.share > 0}
    weights: dict[str, Mapping[str, Any]] = {}
    for entry in recipe.models:
        if entry.label in ran:
            model = resident(entry.key, entry.load, recipe.batch_items).model
            weights[entry.label] = dict(model.result().weights_info)
    return weights
