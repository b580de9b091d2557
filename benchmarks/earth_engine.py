"""What a place costs from Earth Engine: requests, bytes and time, against plain xee and a bare pixel request.

The service is the emulator of the tests, in a process of its own, with a fixed latency. It remembers its answers, so
the later passes, which are timed, measure the clients, the wire and the latency. All must return the same numbers.
Times are the median, and the fastest tenth, which other work on the machine disturbs least.

*bare* is the bound: one `computePixels` for the twelve bands, its expression made beforehand. *plain xee* is one
`xarray.open_dataset` per place. *rs-embed-dask* is `load`, as the engine's read tasks call it, everything included; it
also brings a count of observations and their days, and counts overlapping tiles once.

    python -m benchmarks.earth_engine [--places 12] [--latency 0.1] [--size 224] [--frames 1] [--passes 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import ee
import numpy as np
import xarray as xr

from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import load
from rs_embed_dask.providers.earth_engine.read import pixel_grid
from rs_embed_dask.providers.earth_engine.session import open_session
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from tests.services.earth import world
from tests.services.earth.process import EarthProcess

DAYS = [f"2022-06-{day:02d}T10:30:00" for day in (1, 6, 11, 16, 21, 26)]
JUNE = TemporalSpec.range("2022-06-01", "2022-07-01")
NAMES = tuple(world.S2_BANDS)


@dataclass
class Ways:
    """The ways to read place number n; each returns (T, 12, H, W)."""

    provider: object
    size: int
    frames: int

    def __post_init__(self):
        self.spans = Frames("fixed", n=self.frames).spans(JUNE)

    def grid(self, n):
        return Grid("EPSG:32631", (10.0, 0.0, 605_000.0 + 2240 * n, 0.0, -10.0, 5_690_000.0), (self.size, self.size))

    def composite(self, n):
        """What a user of Earth Engine would write."""
        region = ee.Geometry.Rectangle(list(self.grid(n).bounds), proj="EPSG:32631", geodesic=False)
        scenes = ee.ImageCollection(world.S2).filterBounds(region).select(list(NAMES))
        return [scenes.filterDate(str(span.start), str(span.end)).median().toFloat() for span in self.spans]

    def prepared(self, n):
        image = self.composite(n)
        joined = image[0]
        for more in image[1:]:
            joined = joined.addBands(more)
        return {
            "expression": joined.unmask(-9999, False),
            "fileFormat": "NUMPY_NDARRAY",
            "grid": pixel_grid(self.grid(n)),
        }

    def bare(self, _, prepared):
        raw = ee.data.computePixels(prepared)
        stacked = np.stack([raw[name] for name in raw.dtype.names])
        return stacked.reshape(self.frames, len(NAMES), self.size, self.size)

    def plain_xee(self, n, _):
        frames = [image.set("system:time_start", k) for k, image in enumerate(self.composite(n))]
        grid = self.grid(n)
        opened = xr.open_dataset(
            ee.ImageCollection(frames), engine="ee", crs=grid.crs, crs_transform=grid.transform, shape_2d=grid.shape
        ).load()
        return np.stack([opened[name].values for name in NAMES], axis=1)

    def ours(self, n, _):
        read = Read(self.grid(n), "sentinel-2-l2a", NAMES, self.spans, FetchSpec(mask="none"))
        return load(self.provider, read).values


def measured(earth, ways, way, places):
    """Requests, bytes and seconds (by the clock, of this processor) of each place, and the pixels of the first."""
    prepared = [ways.prepared(n) for n in range(places)]
    earth.forget()
    seconds, first = [], None
    for n in range(places):
        started, worked = time.perf_counter(), time.process_time()
        pixels = way(n, prepared[n])
        seconds.append((time.perf_counter() - started, time.process_time() - worked))
        first = pixels if first is None else first
    report = earth.report()
    requests = {kind: report["counts"].get(kind, 0) / places for kind in ("pixels", "value")}
    moved = [sum(report[which].get(kind, 0) for kind in requests) / places for which in ("received", "sent")]
    return requests, moved, seconds, first


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--places", type=int, default=12)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    with EarthProcess() as earth:
        earth.serve(*[world.s2("brussels", day)[0] for day in DAYS])
        earth.set(latency_s=options.latency, remember=True)
        ways = Ways(earth.provider(), options.size, options.frames)
        open_session(ways.provider.access)
        chosen = {"bare": ways.bare, "rs-embed-dask": ways.ours, "plain xee": ways.plain_xee}
        times = {name: [] for name in chosen}
        rows, pixels = {}, {}
        for number in range(options.passes + 1):  # the first pass fills the emulator's memory
            for name, way in chosen.items():
                requests, moved, seconds, pixels[name] = measured(earth, ways, way, options.places)
                rows[name] = requests, moved
                if number:
                    times[name] += seconds
        for name, values in pixels.items():
            np.testing.assert_allclose(values, pixels["bare"], rtol=1e-6, err_msg=name)
    what = f"{options.size} px x {len(NAMES)} bands x {options.frames} frames"
    print(f"{options.places} places of {what}, {options.latency} s latency")
    heads = ("requests", 9), ("getInfo", 9), ("kB up", 8), ("MB down", 9), ("ms", 7), ("x bare", 8), ("fastest", 9)
    print("way".ljust(15) + "".join(name.rjust(width) for name, width in (*heads, ("x bare", 8), ("cpu ms", 8))))
    clock, cpu = ({name: statistics.median(each[k] for each in times[name]) for name in times} for k in (0, 1))
    fast = {name: statistics.quantiles([each[0] for each in times[name]], n=10)[0] for name in times}
    for name, (requests, (up, down)) in rows.items():
        print(
            f"{name:<15}{requests['pixels']:>9.2f}{requests['value']:>9.2f}{up / 1e3:>8.1f}{down / 1e6:>9.2f}"
            f"{clock[name] * 1e3:>7.0f}{clock[name] / clock['bare']:>8.2f}"
            f"{fast[name] * 1e3:>9.0f}{fast[name] / fast['bare']:>8.2f}{cpu[name] * 1e3:>8.1f}"
        )


if __name__ == "__main__":
    main()
