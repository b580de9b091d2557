"""A pass of a map made in this process, tile after tile, by the functions that the engine's tasks call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rs_embed_dask.engine.recipe import choose, recipe_for
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.maps.passes import MapPass, models_of, shared
from rs_embed_dask.maps.pieces import read_piece
from rs_embed_dask.maps.tiles import block_field, tile_sums
from rs_embed_dask.maps.windows import BlockIndex


class InProcess:
    """One request in one zone; `blocks` by label after `run`."""

    def __init__(self, models, temporal, *, group="utm31", overlap=1 / 12, **options):
        request = request_of(models, options)
        chosen = choose(request)
        self.temporal, self.group = temporal, group
        self.recipe = replace(recipe_for(request, chosen), batch_items=8)
        (self.models,) = shared(models_of(chosen, overlap))
        self.lattice = lattice_for(group, self.models[0].pixel_m, self.models[0].block_px)
        self.reads, self.fields = {}, {}

    def run(self, blocks, *, removed=None):
        wanted = frozenset(BlockIndex(*block) for block in blocks)
        work = MapPass(self.lattice, self.models, {one.label: wanted for one in self.models})
        size = self.lattice.block
        pixel_strips, sum_strips = {}, {}
        for tile in work.order:
            source = work.source(tile)
            self.reads[tile] = source
            piece = read_piece(self.recipe, self.lattice, self.recipe.labels, rect=source, temporal=self.temporal)
            pieces = [*near(work.order, pixel_strips, tile), piece]
            for label in work.labels(tile):
                area = work.area(label, tile)
                table = (removed or {}).get(label)
                sums = tile_sums(self.recipe, label, area, pieces=pieces, removed=table)
                before = near([key[1] for key in sum_strips if key[0] == label], sum_strips, tile, label)
                if tile in wanted:
                    self.fields[label, tile] = block_field(area.own, [*before, sums])
                sum_strips[label, tile] = strips(sums, tile, area.tiling.block)
            pixel_strips[tile] = strips(piece, tile, size)
        return self


def strips(part, tile, size):
    """The parts that tiles on the right and below take."""
    right = part.rect & part.rect._replace(left=(tile.col + 1) * size)
    below = part.rect & part.rect._replace(top=(tile.row + 1) * size)
    return {name: part.cut(rect) for name, rect in (("right", right), ("below", below)) if 0 not in rect.shape}


def near(there, held, tile, label=None):
    """Strips of the corner, the top and the left neighbour."""
    found = []
    for row, col, name in ((-1, -1, "below"), (-1, 0, "below"), (0, -1, "right")):
        key = BlockIndex(tile.row + row, tile.col + col)
        parts = held.get(key if label is None else (label, key), {})
        if key in there and name in parts:
            found.append(parts[name])
    return found


def mosaic(fields, label, blocks):
    """The vectors of a rectangle of blocks as one array."""
    rows, cols = sorted({row for row, _ in blocks}), sorted({col for _, col in blocks})
    return np.concatenate(
        [np.concatenate([fields[label, BlockIndex(r, c)].vectors for c in cols], axis=2) for r in rows], axis=1
    )
