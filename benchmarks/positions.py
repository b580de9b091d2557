"""What positions do to a map of a real granule: share, seam and lattice, with positions kept and removed.

DIR holds `galileo/nano/encoder.pt` and the decimated Sentinel-2 granule `s2-29RKH-s1-grd`, whose pixels are 100 m
wide. The table of positions is measured from windows side by side, whatever the overlap of the map.

    python -m benchmarks.positions --data DIR [--overlap 0,1/12,1/6,1/3]
"""

from __future__ import annotations

import argparse
import datetime as dt
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling

import rs_embed_dask as rs
from rs_embed_dask.engine.positions import PositionSums, decide
from rs_embed_dask.maps.blend import divided, summed, weights_of
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.scores import ScoreSums
from rs_embed_dask.maps.windows import Tiling

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
WINDOW, PATCH, SIDE = 12, 8, 137
BATCH = 64


def pixels_of(folder):
    """All bands at 100 m, (bands, pixels, pixels); the coarser ones are repeated."""
    bands = []
    for band in BANDS:
        with rasterio.open(folder / f"{band}.tif") as source:
            values = source.read(1, out_shape=(1098, 1098), resampling=Resampling.nearest)
        bands.append(values[: SIDE * PATCH, : SIDE * PATCH].astype(np.float32))
    return np.stack(bands)


def vectors_of(model, pixels, starts):
    """The vectors of all windows, row by row; (windows, dim, WINDOW, WINDOW)."""
    corners = [(row * PATCH, col * PATCH) for row in starts[0] for col in starts[1]]
    size = WINDOW * PATCH
    parts = []
    for first in range(0, len(corners), BATCH):
        batch = [pixels[None, :, row : row + size, col : col + size] for row, col in corners[first : first + BATCH]]
        dates = [[dt.date(2020, 2, 19)]] * len(batch)
        parts.append(np.asarray(model.embed(np.stack(batch), output=rs.OutputSpec.grid(), dates=dates).data))
    return np.concatenate(parts)


def line(name, field, tiling, rect):
    scores = ScoreSums.of(tiling, rect, field).scores()
    shown = ("seam_median", "seam_p99", "lattice", "lattice_chance", "neighbours")
    values = {word: getattr(scores, word) for word in shown}
    decay = " ".join("-" if value is None else f"{value:.3f}" for value in scores.decay)
    print(f"  {name:8}", *(f"{word} {value:.4f}" for word, value in values.items()), f"decay {decay}", flush=True)


def measure(data, overlaps):
    weights = data / "galileo" / "nano" / "encoder.pt"
    model = rs.load_model("galileo", variant="nano", weights=str(weights), device="cpu")
    pixels = pixels_of(data / "s2-29RKH-s1-grd" / "S2A_29RKH_20200219_0_L2A")

    def starts_of(stride):
        return (range(0, SIDE - WINDOW + 1, stride),) * 2

    @cache
    def windows(stride):
        return vectors_of(model, pixels, starts_of(stride))

    sums = PositionSums.of(windows(WINDOW))
    table = sums.table(model="galileo", variant="nano", patch_px=PATCH)
    print(f"share {sums.explained.share:.4f}, of which chance {sums.explained.chance:.4f}")
    print(decide(table).statement)
    for overlap in overlaps:
        tiling = Tiling.of(WINDOW, float(overlap), block=SIDE + WINDOW, patch_px=PATCH)
        starts = starts_of(tiling.stride)
        rect = Rect(0, 0, *(part[-1] + WINDOW for part in starts))
        cost = len(starts[0]) * len(starts[1]) * WINDOW**2 / (rect.shape[0] * rect.shape[1])
        print(f"overlap {overlap}, inference {cost:.2f} x")
        # Taken away before blending: at the edge of this map, windows that would cover a token are missing.
        for name, taken in (("kept", np.float32(0)), ("removed", table.mean)):
            total = summed(windows(tiling.stride) - taken, starts, over=rect, weights=weights_of(tiling))
            line(name, divided(total), tiling, rect)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--overlap", default="0,1/12,1/6,1/3")
    options = parser.parse_args()
    measure(options.data, [Fraction(text) for text in options.overlap.split(",")])


if __name__ == "__main__":
    main()
