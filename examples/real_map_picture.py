"""The picture of `real_map`: the scene and its maps as colours, what is nearest to one place, and the scores."""

from __future__ import annotations

import numpy as np
import rasterio
from matplotlib.figure import Figure

from examples.real_map_scores import field_of
from rs_embed_dask.plot import fit_pca
from tests.services import real_imagery

KM = 1000
STAR = (0.5, 0.78)
"""The place whose nearest tokens are shown, as shares of the rows and columns."""
SHOWN = 150
DOTS = {"kept": "tab:red", "removed": "tab:blue"}
SCORES = {
    "lattice": "share of the variance that the\nposition in the window explains",
    "seam_median": "distance of neighbours across a border of\nwindows over that inside one, median",
    "same_place": "share of nearest neighbours at the\nsame place of their window",
}
ABOUT = (
    "Sentinel-2 granule 29RKH at 100 m, Galileo nano with its real weights: 128 dimensions per token of 800 m, in "
    "windows of 12 x 12 tokens. Colours are the three directions in which the vectors of a panel differ most.\n"
    "Contains modified Copernicus Sentinel data 2020."
)


def scene(data):
    """True colour of the granule, and its extent."""
    bands = []
    for name in ("B04", "B03", "B02"):
        with rasterio.open(data / real_imagery.GRANULE / f"{name}.tif") as band:
            bands.append(band.read(1).astype("float32"))
            box = band.bounds
    image = np.stack(bands, axis=-1)
    low, high = np.percentile(image, [2, 98], axis=(0, 1))
    extent = [edge / KM for edge in (box.left, box.right, box.bottom, box.top)]
    return np.clip((image - low) / (high - low), 0, 1), extent


def extent_of(field):
    half = (field.x[1] - field.x[0]) / 2
    return [e / KM for e in (field.x[0] - half, field.x[-1] + half, field.y[-1] - half, field.y[0] + half)]


def draw_colours(panel, field, title):
    panel.imshow(fit_pca(field.raw).colours(field.raw), extent=extent_of(field), interpolation="nearest")
    panel.set_title(title, fontsize=10, loc="left")


def draw_nearest(panel, field, title):
    """The likeness of every token to the starred one, and the nearest of them."""
    row, col = (int(share * size) for share, size in zip(STAR, field.shape, strict=True))
    centred = field.raw - field.raw.mean(axis=(0, 1))
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    alike = unit @ unit[row, col]
    panel.imshow(alike, extent=extent_of(field), cmap="Greys", vmin=-0.6, vmax=1, interpolation="nearest")
    nearest = np.argsort(alike, axis=None)[-SHOWN:]
    rows, cols = np.unravel_index(nearest, field.shape)
    same = field.places.ravel()[nearest] == field.places[row, col]
    for chosen, colour in ((~same, "tab:blue"), (same, "tab:red")):
        panel.scatter(field.x[cols[chosen]] / KM, field.y[rows[chosen]] / KM, s=9, color=colour)
    panel.plot(field.x[col] / KM, field.y[row] / KM, "*", color="gold", markersize=14, markeredgecolor="black")
    panel.set_title(f"{title}: {same.mean():.0%} at its place", fontsize=10, loc="left")


def draw_scores(panels, table):
    names = list(dict.fromkeys(table.overlap))
    for panel, (score, title) in zip(panels, SCORES.items(), strict=True):
        for positions, colour in DOTS.items():
            rows = table[table.positions == positions].set_index("overlap").loc[names]
            panel.plot(range(len(names)), rows[score], "o-", color=colour, label=f"positions {positions}")
        if score == "seam_median":
            panel.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
            panel.set_ylim(bottom=0)
        else:
            panel.set_yscale("log")
        costs = table.drop_duplicates("overlap").inference
        panel.set_xticks(
            range(len(names)), [f"{name}\n{cost:.2g} x" for name, cost in zip(names, costs, strict=True)], fontsize=8
        )
        panel.set_title(title, fontsize=9, loc="left")
        panel.set_xlabel("overlap of the windows, and inference over the least", fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)


def save(path, table, *, data, path_of):
    """Draw the maps without overlap and with the second overlap of the table, and all scores."""
    names = list(dict.fromkeys(table.overlap))
    plain, blended = names[0], names[min(1, len(names) - 1)]
    shown = [
        (field_of(path_of(plain, "kept")), f"overlap {plain}, positions kept"),
        (field_of(path_of(blended, "kept")), f"overlap {blended}, positions kept"),
        (field_of(path_of(blended, "removed")), f"overlap {blended}, positions removed"),
    ]
    figure = Figure(figsize=(17, 13.5), layout="constrained")
    grid = figure.add_gridspec(3, 12, height_ratios=(4, 4, 2.6))
    upper = [figure.add_subplot(grid[0, 3 * i : 3 * i + 3]) for i in range(4)]
    middle = [figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(4)]
    lower = [figure.add_subplot(grid[2, 4 * i : 4 * i + 4]) for i in range(3)]
    image, extent = scene(data)
    upper[0].imshow(image, extent=extent)
    upper[0].set_title("the scene: rock, sand, cloud; km of UTM zone 29", fontsize=10, loc="left")
    for panel, (field, title) in zip(upper[1:], shown, strict=True):
        draw_colours(panel, field, title)
    middle[0].set_axis_off()
    middle[0].text(
        0,
        0.5,
        f"On the right: the {SHOWN} tokens nearest to\nthe star, of all tokens of each map.\n\n"
        "Red: at the star's own place in its window.\nBlue: anywhere else.\n\n"
        "The darker, the more alike.",
        va="center",
        fontsize=11,
        linespacing=1.5,
    )
    for panel, (field, title) in zip(middle[1:], shown, strict=True):
        draw_nearest(panel, field, title)
    box = extent_of(shown[0][0])
    for panel in (*upper, *middle[1:]):
        panel.set(xlim=box[:2], ylim=box[2:])
        panel.tick_params(labelsize=8)
    draw_scores(lower, table)
    figure.suptitle(ABOUT, fontsize=10, x=0.01, ha="left")
    figure.savefig(path, dpi=75)
