"""How the models of a map share its work: those with blocks of one size on the ground share every read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from rs_embed_dask.engine.areas import RunAreas
from rs_embed_dask.errors import PlanError
from rs_embed_dask.maps.lattice import LONLAT, Lattice, Rect
from rs_embed_dask.maps.pieces import ReadArea
from rs_embed_dask.maps.tiles import TileArea
from rs_embed_dask.maps.windows import BlockIndex, Tiles, Tiling, tile_number
from rs_embed_dask.providers.handed import Before
from rs_embed_dask.specs import BBox, OutputSpec
from rs_embed_dask.specs.ground import DEGREE_M, WGS84, side_text

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen, ProductEntry
    from rs_embed_dask.preprocess.inputs import Inputs
    from rs_embed_dask.specs import InputPrep

__all__ = ["BLOCK_TOKENS", "MapModel", "MapPass", "models_of", "shared"]

BLOCK_TOKENS: Final = 64
"""Tokens per side of a block; pixel by pixel, four times as many."""

_PIXEL_BLOCKS: Final = 4
_DEGREE_BLOCK: Final = 60
"""Cells per side of a block of degrees. At 0.25 degree it divides the turn, so that no block crosses the antimeridian,
and only the row of the south pole begins a row of blocks of its own."""

_NULL_ISLAND: Final = BBox(-1e-6, -1e-6, 1e-6, 1e-6)
_CELLS: Final = 32  # tokens per side of what a model without windows is given at once


@dataclass(frozen=True)
class MapModel:
    """One model of a map: how its windows lie, the size of its pixels and of its vectors."""

    label: str
    tiling: Tiling
    pixel_m: float
    dim: int
    is_product: bool = False
    division: str = ""
    """What divides the globe into the groups of a product that is not published in metres."""

    @property
    def token_m(self) -> float:
        """Side of a token in metres; of one in degrees, along the equator."""
        return self.pixel_m * self.tiling.patch_px

    @property
    def token_text(self) -> str:
        """Side of a token, in words."""
        return side_text(self.token_m, WGS84) if self.division == LONLAT else f"{self.token_m:g} m"

    @property
    def block_px(self) -> int:
        """Side of a block in pixels."""
        return self.tiling.block * self.tiling.patch_px


def models_of(chosen: Iterable[Chosen], overlap: float, *, dims: int | None = None) -> tuple[MapModel, ...]:
    """Return how each model of a request covers a map. Raises PlanError for one that cannot."""
    return tuple(_product(one, dims) if one.product is not None else _model(one, overlap, dims) for one in chosen)


def _model(one: Chosen, overlap: float, dims: int | None) -> MapModel:
    label, card, spec = one.spec.label, one.card, one.spec
    inputs, patch = card.resolved_inputs(spec), card.patch(spec)
    sizes = {resolution for _, resolution in one.inputs}
    if len(sizes) > 1:
        reason = "its modalities are read at different pixel sizes"
        fix = "give resolution_m=, or take one modality"
        raise PlanError(f"map of {label}", value=sorted(sizes), reason=reason, fix=fix)
    first = inputs[0]
    if first.native:
        rim = -(-card.context_px(spec) // patch)
        block = BLOCK_TOKENS * (_PIXEL_BLOCKS if patch == 1 else 1)
        tiling = Tiling(_CELLS + 2 * rim, _CELLS, block, patch, rim)
    else:
        window = _window(label, first, patch, prep=one.asked_prep)
        tiling = Tiling.of(window, overlap, block=BLOCK_TOKENS, patch_px=patch)
    return MapModel(label, tiling, sizes.pop(), _dim(one, dims))


def _dim(one: Chosen, dims: int | None) -> int:
    """Return how many numbers of each vector are kept."""
    own, prefixes = one.card.dim(one.spec, OutputSpec.grid()), one.card.variant_for(one.spec).prefix_dims
    if dims in {None, own}:
        return own
    if dims not in prefixes:
        lengths = ", ".join(map(str, prefixes))
        reason = "the first numbers of its vectors are not vectors of their own: it was not trained for that"
        if lengths:
            reason = f"it was trained so that the first {lengths} numbers of a vector are one, and no other prefix"
        fix = f"give dims={prefixes[0]}" if lengths else 'leave dims out; dtype="int8" makes a map smaller'
        raise PlanError(f"dims of {one.spec.label}", value=dims, reason=reason, fix=fix)
    return int(dims or own)


def _product(one: Chosen, dims: int | None) -> MapModel:
    """Return how published vectors cover a map: pixel by pixel, as they were published."""
    label, product = one.spec.label, one.product
    assert product is not None
    own = product.reader.native_m
    if own is None:
        block, division, side_m, pixels = _DEGREE_BLOCK, LONLAT, _cell_m(one, product), "cells"
    else:
        block, division, side_m, pixels = BLOCK_TOKENS * _PIXEL_BLOCKS, "", own, "pixels"
    model = MapModel(label, Tiling(1, 1, block), side_m, _dim(one, dims), is_product=True, division=division)
    if product.resolution_m not in {None, own}:
        reason = f"its vectors were published for {pixels} of {model.token_text}, and vectors must not be resampled"
        raise PlanError(f"resolution_m of {label}", value=product.resolution_m, reason=reason, fix="leave it out")
    return model


def _cell_m(one: Chosen, product: ProductEntry) -> float:
    """Return the side along the equator of cells of degrees, which must be those of the lattice of degrees."""
    cells = product.reader.grid(_NULL_ISLAND, None, crs=None)
    step = cells.transform[0]
    if (cells.crs, cells.transform) != (WGS84, (step, 0.0, -step / 2, 0.0, -step, step / 2)):
        reason = "its cells are not squares in degrees that are centred on multiples of their side"
        fix = "take it for places, with output='grid', or read its own files"
        raise PlanError(f"map of {one.spec.label}", value=one.card.id, reason=reason, fix=fix)
    return step * DEGREE_M


def _window(label: str, inputs: Inputs, patch: int, *, prep: InputPrep) -> int:
    """Return the tokens per side of what the network sees."""
    side = prep.tile_px or inputs.size_px or inputs.max_px
    if not side or side % patch:
        reason, fix = "the side of its windows is not a whole number of tokens", f"give tile_px, a multiple of {patch}"
        raise PlanError(f"map of {label}", value=side, reason=reason, fix=fix)
    return int(side) // patch


def shared(models: Sequence[MapModel]) -> list[tuple[MapModel, ...]]:
    """Group the models that can share their reads, with margins that agree."""
    groups: dict[tuple[float, int, int, bool, str], list[MapModel]] = defaultdict(list)
    for one in models:
        groups[one.pixel_m, one.block_px, one.tiling.patch_px, one.is_product, one.division].append(one)
    passes = []
    for members in groups.values():
        margin = max(one.tiling.margin for one in members)
        passes.append(tuple(replace(one, tiling=replace(one.tiling, least_margin=margin)) for one in members))
    return passes


@dataclass(frozen=True)
class MapPass:
    """Models of a map that share their reads, in one group, and the blocks that each still needs.

    Parameters
    ----------
    lattice : Lattice
        Of pixels, whose blocks are those of the models.
    models : tuple of MapModel
        With equal blocks and margins.
    wanted : mapping of str to frozenset of BlockIndex
        By label; the blocks to be computed.
    areas : RunAreas
        Where one search of a catalogue serves many tiles, of all passes of a map.
    number : int
        Of this pass among them.
    """

    lattice: Lattice
    models: tuple[MapModel, ...]
    wanted: Mapping[str, frozenset[BlockIndex]]
    areas: RunAreas = field(default_factory=RunAreas, repr=False)
    number: int = 0

    @cached_property
    def tiles(self) -> dict[str, Tiles]:
        """The tiles of each model that has something to do."""
        return {one.label: Tiles(one.tiling, self.wanted[one.label]) for one in self.models if self.wanted[one.label]}

    @cached_property
    def model(self) -> dict[str, MapModel]:
        """The models by label."""
        return {one.label: one for one in self.models}

    @cached_property
    def order(self) -> tuple[BlockIndex, ...]:
        """Every tile of any model, row by row."""
        return tuple(sorted({tile for tiles in self.tiles.values() for tile in tiles.order}))

    @cached_property
    def every_tile(self) -> frozenset[BlockIndex]:
        """The tiles of any model, as a set."""
        return frozenset(self.order)

    def labels(self, tile: BlockIndex) -> tuple[str, ...]:
        """Return the models that a tile is computed for."""
        return tuple(label for label, tiles in self.tiles.items() if tiles.has(tile))

    def source(self, tile: BlockIndex) -> Rect:
        """Return the pixels that a tile reads: all that any of its models needs of it."""
        rects = [tiles.source(tile).scaled(tiles.tiling.patch_px) for tiles in self.tiles.values() if tiles.has(tile)]
        tops, lefts, bottoms, rights = zip(*rects, strict=True)
        return Rect(min(tops), min(lefts), max(bottoms), max(rights))

    def read_area(self, tile: BlockIndex) -> ReadArea:
        """Return the pixels that a tile reads, which neighbours read before it, and in which area it lies."""
        left, above = BlockIndex(tile.row, tile.col - 1), BlockIndex(tile.row - 1, tile.col)
        before = Before(left in self.every_tile, above in self.every_tile)
        return ReadArea(self.source(tile), before, self.areas.at(tile_number(self.number, *tile)))

    def area(self, label: str, tile: BlockIndex) -> TileArea:
        """Return what a tile computes for one model."""
        tiles = self.tiles[label]
        own = tiles.tiling.rect(tile) if tile in tiles.wanted else None
        field = tiles.field(tile)
        grid = self.lattice.grid(field.scaled(tiles.tiling.patch_px))
        return TileArea(tiles.tiling, own, field, tiles.starts(tile), grid, self.model[label].dim)
