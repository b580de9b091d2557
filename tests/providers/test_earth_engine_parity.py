"""The parity mode reads what rs-embed reads: pixels of its Mercator lattice, every image and band by itself (R15)."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.providers import load
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.where import PointBuffer
from tests.providers.earth_truth import band, pixels_of, read, same
from tests.services.earth import world

PARITY = FetchSpec(crs="EPSG:3857", mask="none", composite="median", max_cloud_pct=30)
DAYS = (
    "2022-06-02T10:30:00",
    "2022-06-02T10:30:08",
    "2022-06-07T10:30:00",
    "2022-06-12T10:30:00",
    "2022-06-17T10:30:00",
)
PLACES = [(4.5, 51.4, "brussels"), (-70.95, -33.5, "santiago"), (19.8, 69.9, "tromso")]


def theirs(lon, lat, buffer_m, step):
    """The pixels that rs-embed gets: those of a lattice of whole steps that the buffered square touches."""
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(lon, lat)
    columns = np.arange(np.floor((x - buffer_m) / step), np.ceil((x + buffer_m) / step))
    rows = np.arange(np.ceil((y + buffer_m) / step), np.floor((y - buffer_m) / step), -1)
    return (columns + 0.5) * step, (rows - 0.5) * step


@pytest.mark.parametrize(("lon", "lat", "name"), PLACES)
@pytest.mark.parametrize(("step", "radar"), [(10.0, False), (30.0, False), (10.0, True)])
def test_r15_parity_mode_has_rs_embeds_pixels(earth, lon, lat, name, step, radar):
    zone = pyproj.CRS(world.PLACES[name][0]).to_epsg()
    x, y = pyproj.Transformer.from_crs(4326, zone, always_xy=True).transform(lon, lat)
    place = (f"EPSG:{zone}", x // 60 * 60 - 3000, y // 60 * 60 + 3000)
    clouds = (5, 10, 30, 31, 20)
    if radar:
        made = [world.s1(place, day) for day in DAYS]
    else:
        made = [world.s2(place, day, cloud=c, holes=5) for day, c in zip(DAYS, clouds, strict=True)]
    earth.serve(*made)
    grid = grid_for(PointBuffer(lon, lat, 320), step, crs="EPSG:3857")
    bands = ("vv", "vh") if radar else ("red", "nir")
    cube = load(earth.provider(), read(grid, bands, PARITY, sensor="sentinel-1-grd" if radar else "s2"))
    xs, ys = theirs(lon, lat, 320, step)
    for axis, mine in ((xs, grid.xs), (ys, grid.ys)):
        shared = np.intersect1d(axis, mine)
        assert len(shared) >= len(mine) - 1  # all of ours but one line where the square touches a pixel less
        assert np.allclose(np.diff(np.sort(axis)), step)
    scenes = pixels_of(made, world.S1_FLOAT if radar else world.S2)
    if not radar:
        scenes = [s for s in scenes if s.properties["CLOUDY_PIXEL_PERCENTAGE"] <= 30]
    stacks = [band(scenes, asset, grid) for asset in (("VV", "VH") if radar else ("B4", "B8"))]
    with np.errstate(all="ignore"):
        wanted = [np.ma.median(np.ma.masked_invalid(each), axis=0).filled(np.nan) for each in stacks]
    if radar:
        np.testing.assert_allclose(cube.values[0], 10 * np.log10(wanted), atol=2e-5)
    else:
        same(cube.values[0], wanted)
        assert not np.array_equal(np.isfinite(stacks[0]), np.isfinite(stacks[1]))  # bands have gaps of their own
    same(cube.n_obs[0], np.isfinite(stacks[0]).sum(0))  # both tiles of the first day count
    assert earth.bodies()[-1]["grid"]["crsCode"] == "EPSG:3857"


def test_r15_two_kilometres_of_mercator_are_less_on_the_ground(earth):
    """Why it is not the default: at 70 degrees a third of the asked ground is read, each native pixel many times."""
    earth.serve(world.s2("tromso", DAYS[0]))
    x, y = world.PLACES["tromso"][1] + 20_000, world.PLACES["tromso"][2] - 20_000
    lon, lat = pyproj.Transformer.from_crs("EPSG:32634", "EPSG:4326", always_xy=True).transform(x, y)
    grid = grid_for(PointBuffer(lon, lat, 320), 10, crs="EPSG:3857")
    values = load(earth.provider(), read(grid, ("red",), PARITY)).values
    assert grid.shape == (64, 64)
    assert np.unique(values).size < 0.3 * values.size
