"""Counting what a map takes: windows, blocks and reads exactly, bytes and time from a few reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.engine.clusters import local_crew
from rs_embed_dask.engine.estimate import Price, merged_read
from rs_embed_dask.engine.outlook import Outlook
from rs_embed_dask.engine.positions import LEAST, decide
from rs_embed_dask.engine.receipts import Work, model_key, source_key
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.maps.first import inside_area
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.passes import MapPass
from rs_embed_dask.maps.plan import MapPlan, ModelFigures, ReadFigures
from rs_embed_dask.maps.positions import first_blocks, stratified
from rs_embed_dask.maps.stream import bands
from rs_embed_dask.maps.windows import BlockIndex
from rs_embed_dask.providers.handed import HandsOn
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs.positions import OWN_SURROUNDINGS

if TYPE_CHECKING:
    from rs_embed_dask.maps.lattice import Lattice
    from rs_embed_dask.maps.passes import MapModel
    from rs_embed_dask.maps.request import MapRun
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.registry import Estimate
    from rs_embed_dask.store.map_blocks import BlockSet

__all__ = ["plan_of"]

_SAMPLES: Final = 16
_ESTIMATED: Final = 8  # blocks along the side of a square whose bytes are estimated together
_PIXEL_BYTES: Final = 4
_LAYER_BYTES: Final = 4 + 4 + 4 + 4 + 4
"""Valid fraction, observations, first and last day, and coverage, per token."""


@dataclass
class _Count:
    """Windows by model, and reads, of some tiles."""

    windows: dict[str, int]
    reads: int = 0
    pixels: int = 0
    blocks: int = 0


def plan_of(run: MapRun) -> MapPlan:
    """Plan a map."""
    models: dict[str, ModelFigures] = {}
    reads = []
    for sharing in run.passes:
        by_group = {group.group: (group, blocks) for group, blocks in run.blocks(sharing[0].label).items()}
        works = {name: _pass_of(run, sharing, group, blocks) for name, (group, blocks) in by_group.items()}
        counts = {name: _counted(work) for name, work in works.items()}
        models |= {one.label: _model_figures(run, one, works, counts) for one in sharing}
        reads.append(_read_figures(run, sharing, works, counts))
    planned = MapPlan(
        run.wanted.to_dict(),
        run.region.bounds,
        run.region.area_m2 / 1e6,
        len(run.wanted.temporals),
        tuple(models[label] for label in run.recipe.labels),
        tuple(reads),
        Outlook.of(run.wanted.request, list(run.chosen.values()), run.wanted.temporals),
        work=_work(run, models, reads),
    )
    return planned.on(local_crew())


def _work(run: MapRun, models: Mapping[str, ModelFigures], reads: Sequence[ReadFigures]) -> Work:
    """Return what a map takes in the units of receipts: its reads, and its windows by model."""
    encoders = {label: one for label, one in run.chosen.items() if one.product is None}
    spans = run.wanted.temporals
    frames = {label: sum(len(one.frames.spans(span)) for span in spans) / len(spans) for label, one in encoders.items()}
    count = sum(one.reads for one in reads)
    return Work(
        f"map of {source_key(run.recipe)}",
        count,
        sum(one.layers for one in reads) / max(1, count),
        sum(one.scenes for one in reads) / max(1, count),
        {label: models[label].windows for label in encoders},
        {label: models[label].window ** 2 * frames[label] for label in encoders},
        {label: model_key(one) for label, one in encoders.items()},
    )


def _pass_of(run: MapRun, models: tuple[MapModel, ...], group: Any, blocks: BlockSet) -> MapPass:
    wanted = frozenset(BlockIndex(*block) for block in blocks)
    return MapPass(run.lattice(group, models[0], pixels=True), models, {one.label: wanted for one in models})


def _counted(work: MapPass) -> _Count:
    """Count the windows and reads of a pass."""
    # A tile that is written reads as much as a block and runs the windows that start in it, so only those at the edges,
    # which serve others, are looked at one by one.
    total = _Count(dict.fromkeys(work.wanted, 0))
    for band in bands(work):
        for label, some in band.wanted.items():
            total.windows[label] += sum(_starting(band.model[label], some))
        written = band.wanted[band.models[0].label]
        total.blocks += len(written)
        total.reads += len(band.order)
        total.pixels += len(written) * work.lattice.block**2
        for tile in band.order:
            if tile in written:
                continue
            rows, cols = band.source(tile).shape
            total.pixels += rows * cols
            for label in band.labels(tile):
                starts = band.tiles[label].starts(tile)
                total.windows[label] += len(starts[0]) * len(starts[1])
    return total


def _starting(one: MapModel, blocks: frozenset[BlockIndex]) -> Iterator[int]:
    """Yield how many windows start in each block."""
    tiling = one.tiling
    along: dict[int, int] = {}
    for number in {side for block in blocks for side in block}:
        along[number] = len(tiling.starts(number * tiling.block, (number + 1) * tiling.block))
    return (along[row] * along[col] for row, col in blocks)


def _model_figures(
    run: MapRun, one: MapModel, works: Mapping[str, MapPass], counts: Mapping[str, _Count]
) -> ModelFigures:
    spans, tiling = len(run.wanted.temporals), one.tiling
    blocks = {name: count.blocks for name, count in counts.items()}
    windows = sum(count.windows[one.label] for count in counts.values())
    tokens = sum(blocks.values()) * tiling.block**2
    first = _first_windows(run, one, works)
    per_token = one.dim * np.dtype(run.wanted.dtype).itemsize + _LAYER_BYTES + (2 if run.wanted.dtype == "int8" else 0)
    return ModelFigures(
        one.label,
        one.dim,
        one.token_m,
        tiling.window,
        tiling.stride,
        tiling.block,
        blocks,
        windows * spans,
        windows * tiling.window**2 / tokens,
        first,
        _positions(run, one, first),
        tokens * spans * per_token,
        one.token_text,
    )


def _needs_first(run: MapRun, one: MapModel) -> bool:
    return run.has_windows(one) and run.wanted.mode != "kept" and one.label not in run.tables


def _first_windows(run: MapRun, one: MapModel, works: Mapping[str, MapPass]) -> int:
    """Count the windows of the first pass, of the first span."""
    if not _needs_first(run, one):
        return 0
    blocks = {name: work.wanted[one.label] for name, work in works.items()}
    total = 0
    for group, tile in stratified(blocks, first_blocks(one.tiling.window, one.tiling.block)):
        rows, cols = inside_area(works[group], one, works[group].source(tile)).starts
        total += len(rows) * len(cols)
    return total


def _positions(run: MapRun, one: MapModel, first: int) -> str:
    """Say what will happen to positions, in the words of `decide` where that is known."""
    if not run.has_windows(one):
        return f"kept: every token is {OWN_SURROUNDINGS}"
    if not _needs_first(run, one):
        return decide(run.tables.get(one.label), run.wanted.mode).statement.removeprefix("positions ")
    how = "removed, as asked" if run.wanted.mode == "removed" else "removed where they explain more than 1 %"
    scarce = "" if first >= LEAST or run.wanted.mode == "removed" else "; too few, so they will be kept"
    passed = "" if scarce else "; not comparable with other maps unless you pass its table"
    return f"measured over {counted(first, 'window')} of this region, {how}{scarce}{passed}"


def _read_figures(
    run: MapRun, models: tuple[MapModel, ...], works: Mapping[str, MapPass], counts: Mapping[str, _Count]
) -> ReadFigures:
    labels, spans = tuple(one.label for one in models), len(run.wanted.temporals)
    groups = [run.recipe.groups[number].only(labels) for visit in run.recipe.visits(labels) for number in visit]
    price = _price(run, labels, works)
    reads, pixels = (sum(getattr(count, name) for count in counts.values()) for name in ("reads", "pixels"))
    blocks = sum(count.blocks for count in counts.values())
    block_px = models[0].block_px ** 2
    scale = spans * pixels / block_px
    layers = sum(len(one.bands) * len(one.spans(run.wanted.temporals[0])) for one in groups)
    return ReadFigures(
        labels,
        _sources(run, labels),
        reads * spans,
        pixels * spans,
        pixels / (blocks * block_px),
        scale * price.scenes,
        scale * price.requests,
        scale * price.download_bytes,
        scale * price.layers,
        layers * block_px * _PIXEL_BYTES,
    )


def _sources(run: MapRun, labels: tuple[str, ...]) -> tuple[str, ...]:
    groups = [run.recipe.groups[number].only(labels) for visit in run.recipe.visits(labels) for number in visit]
    products = [entry for label, entry in run.recipe.product.items() if label in labels]
    return (
        *map(run.recipe.read_text, groups),
        *(f"{one.label} from {one.reader.place}" for one in products),
    )


def _shared(provider: Provider, read: Read, lattice: Lattice, *, tile: BlockIndex, blocks: int) -> Estimate:
    """Estimate a block whose files' tiles are fetched once for it and its neighbours, where the provider can."""
    alone, side = provider.estimate(read), min(_ESTIMATED, math.isqrt(blocks))
    if not isinstance(provider, HandsOn) or side < 2:  # noqa: PLR2004
        return alone
    top, left, _, _ = lattice.rect(*tile)
    around = lattice.grid(Rect(top, left, top + side * lattice.block, left + side * lattice.block))
    return replace(alone, bytes=round(provider.estimate(replace(read, grid=around)).bytes / side**2))


def _price(run: MapRun, labels: tuple[str, ...], works: Mapping[str, MapPass]) -> Price:
    """Return what reading one block of one span costs on average, from a few blocks."""
    total = Price()
    sample = stratified({name: work.wanted[labels[0]] for name, work in works.items()}, _SAMPLES)
    for number, (group, tile) in enumerate(sample):
        lattice = works[group].lattice
        grid = lattice.grid(lattice.rect(*tile))
        temporal = run.wanted.temporals[number % len(run.wanted.temporals)]
        for entry in (run.recipe.product[label] for label in labels if label in run.recipe.product):
            total.add(entry.reader.estimate(grid), entry.dim, math.prod(grid.shape))
        for visit in run.recipe.visits(labels):
            some = [run.recipe.groups[at].only(labels) for at in visit]
            reads = [Read(grid, one.sensor, one.bands, one.spans(temporal), one.fetch) for one in some]
            blocks = len(works[group].wanted[labels[0]])
            merged = merged_read(reads)
            shared = _shared(run.recipe.provider, merged, lattice, tile=tile, blocks=blocks)
            total.add(shared, len(merged.bands), math.prod(grid.shape))
        total.sampled += 1
    return total.averaged
