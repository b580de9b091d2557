"""Figure 9 of the paper: a place larger than a model's input, scaled down to it, and cut into tiles that are joined.

``python -m examples.maize.figure_9`` reads Planetary Computer; ``--made`` draws a made landscape with drawn weights.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from matplotlib.patches import Rectangle

import rs_embed_dask as rs
from examples.maize import sixteen
from rs_embed_dask.errors import ModelError
from rs_embed_dask.plot import fit_pca
from rs_embed_dask.plot.canvas import draw_cells, draw_scene, ground_ticks, new_figure, opaque
from rs_embed_dask.plot.region import RANDOM
from rs_embed_dask.preprocess.geometry import owned, tile_starts

MODEL = "terramind:small"
APART_M = 20.0  # so much smaller is each outline in the scene, for tiles overlap
EDGES = ("#e41a1c", "#ff9f1c", "#2ec4ff", "#c77dff")  # of tiles, in turn


def figure_9(asked, _):
    (label,), (spec,) = zip(*runnable(asked), strict=True)
    grids = {}
    for prep in ("resize", "tile"):
        options = {"provider": asked.source, "output": "grid", "prep": prep}
        with sixteen.resizing():
            grids[prep] = rs.get_embedding(spec, sixteen.PLACE, sixteen.SPAN, **options)
    return drawn(label, grids, asked.scene())


def runnable(asked):
    """The only model that is asked for. Raises why it cannot run."""
    able, absent = asked.judged
    for error in absent.values():
        raise error
    if len(able) != 1:
        reason = f"the figure shows one model, and {len(able)} were named"
        raise ModelError("models", value=list(able), reason=reason, fix="name one by --models")
    return able.items()


def layout(cells, tile):
    """Where tiles of `tile` cells start along a side of `cells`, and from which cell to which each is kept."""
    starts = tile_starts(cells, tile, tile)
    kept = owned(starts, 1, tile, total=cells)  # where two overlap, each up to the middle
    return starts, [(starts[one] + part.start, starts[one] + part.stop) for one, part in kept]


def drawn(label, grids, scene):
    """The scene with its tiles; the grid of the whole, scaled; and the joined grid. Both grids share their colours."""
    fields = {prep: grid.data.transpose("y", "x", "dim") for prep, grid in grids.items()}
    pca = fit_pca(np.concatenate([field.values.reshape(-1, field.sizes["dim"]) for field in fields.values()]))
    tile = fields["resize"].sizes["x"]  # of a scaled image the network sees one tile
    (starts, kept), transform = layout(fields["tile"].sizes["x"], tile), fields["tile"].attrs["transform"]
    figure = new_figure(10.2, 4.6)
    panels = figure.subplots(1, 3)
    draw_scene(panels[0], scene)
    outline(panels[0], [(start, start + tile) for start in starts], transform, inset_m=APART_M)
    for axes, field in zip(panels[1:], fields.values(), strict=True):
        colours = opaque(pca.colours(field.values))
        draw_cells(axes, colours, field.attrs["transform"], source=field.rio.crs.to_string(), crs=scene.crs)
    outline(panels[2], kept, transform)
    words = ("the scene, and the tiles that the model sees", "scaled to the model's input", "tiles, cut and joined")
    for axes, title, field in zip(panels, words, (None, *fields.values()), strict=True):
        cells = (
            ""
            if field is None
            else f"\n{field.sizes['y']} × {field.sizes['x']} cells of {field.attrs['transform'][0]:.0f} m"
        )
        axes.set_title(title + (cells or "\n"), loc="left", fontsize=10)
        left, right, bottom, top = scene.extent
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        ground_ticks(axes, scene.crs, across=True, up=axes is panels[0])
    random = any(grid.meta["weights"].get("random") for grid in grids.values())
    figure.suptitle(
        f"{label}; both grids by the same three main directions" + (f"\n{RANDOM}" if random else ""), fontsize=11
    )
    return figure


def outline(axes, spans, transform, inset_m=0.0):
    """Draw squares, from which cell to which along each side; each a little smaller than the one before."""
    cell, _, x, _, _, y = transform[:6]
    for number, ((top, bottom), (left, right)) in enumerate(product(spans, spans)):
        x0, x1 = (x + cell * at for at in (left, right))
        y0, y1 = (y - cell * at for at in (top, bottom))
        inset, edge = inset_m * (number + 1), EDGES[number % len(EDGES)]
        corner, width, height = (x0 + inset, y1 + inset), x1 - x0 - 2 * inset, y0 - y1 - 2 * inset
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=edge, linewidth=2))


if __name__ == "__main__":
    sixteen.draw("figure_9", figure_9, __doc__, models=(MODEL,))
