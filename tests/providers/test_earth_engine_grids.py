"""Where pixels lie: true metres, native pixels, exact shapes, north on top, at every latitude (R1 to R3, R12)."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

import rs_embed_dask as rs
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.providers import load
from rs_embed_dask.providers.earth_engine.provider import annual_embedding
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.where import PointBuffer
from tests.providers.earth_truth import NONE, band, nanmedian, pixels_of, read, same, seen, spot
from tests.services.earth import world
from tests.services.earth.rasters import Pattern, Raster, Scene

DAY = "2022-06-05T10:30:00"
GEOD = pyproj.Geod(ellps="WGS84")
POINTS = [(36.8, 0.0), (-70.6, -33.4), (4.35, 50.85), (-68.3, -54.8), (25.5, 66.5), (23.7, -75.0), (20.1, 75.0)]


def tile_round(grid):
    """A corner of a tile, on the 60 m lattice of its zone, with the grid well inside it."""
    left, _, _, top = grid.bounds
    return grid.crs, (left // 60) * 60 - 6000.0, (top // 60) * 60 + 6000.0


class Numbered(Pattern):
    """Every pixel of a lattice has a number of its own, as far as float32 can count."""

    def __call__(self, columns, rows):
        return (columns % 4096) * 4096 + rows % 4096


def numbered(place, sizes):
    crs, left, top = place
    bands = {}
    for name, size in sizes.items():
        n = 12_000 // size
        bands[name] = Raster(crs, (size, 0.0, left, 0.0, -size, top), (n, n), Numbered(0), dtype="<u4")
    return Scene(world.S2, "numbered", world.millis(DAY), bands, {"SPACECRAFT_NAME": "A"})


@pytest.mark.parametrize(("lon", "lat"), POINTS)
def test_r01_a_metre_is_a_metre_at_every_latitude(earth, lon, lat):
    """The request itself is measured: 64 pixels of 10 m are 640 m on the ground, within 0.2 %."""
    grid = grid_for(PointBuffer(lon, lat, 320), 10)
    earth.serve(world.s2(tile_round(grid), DAY))
    cube = load(earth.provider(), read(grid, ("red",)))
    assert np.isfinite(cube.values).all()
    asked = earth.bodies()[-1]["grid"]
    step, size = asked["affineTransform"], asked["dimensions"]
    xs = step["translateX"] + step["scaleX"] * np.array([0, size["width"], size["width"] / 2, size["width"] / 2])
    ys = step["translateY"] + step["scaleY"] * np.array([size["height"] / 2, size["height"] / 2, 0, size["height"]])
    lons, lats = pyproj.Transformer.from_crs(asked["crsCode"], "EPSG:4326", always_xy=True).transform(xs, ys)
    for a, b in ((0, 1), (2, 3)):
        assert GEOD.inv(lons[a], lats[a], lons[b], lats[b])[2] == pytest.approx(640, rel=2e-3)


@pytest.mark.parametrize(("lon", "lat"), POINTS)
def test_r02_every_pixel_is_exactly_one_native_pixel(earth, lon, lat):
    """Bands of 10, 20 and 60 m: 10 m pixels are all different; the others repeat theirs in blocks."""
    grid = grid_for(PointBuffer(lon, lat, 300), 10)
    place = tile_round(grid)
    earth.serve(numbered(place, {"B4": 10, "B5": 20, "B1": 60}))
    cube = load(earth.provider(), read(grid, ("red", "rededge1", "coastal")))
    for values, size in zip(cube.values[0], (10, 20, 60), strict=True):
        columns = np.floor(grid.xs / size).astype(int) % 4096
        rows = np.floor((place[2] - grid.ys) / size).astype(int) + round(place[2] / -size)
        same(values, columns[None, :] * 4096 + (rows % 4096)[:, None])
    assert np.unique(cube.values[0, 0]).size == cube.values[0, 0].size


@pytest.mark.parametrize(("lon", "lat"), POINTS)
@pytest.mark.parametrize("size", [64, 65, 224])
def test_r03_the_shape_is_as_asked_and_the_corner_on_the_lattice(lon, lat, size):
    for snap, farthest in ((10, 7.1), (20, 14.2)):
        grid = grid_for(PointBuffer(lon, lat, size * 5), 10, snap_m=snap)
        assert grid.shape == (size, size)
        assert grid.transform[2] % snap == 0
        assert grid.transform[5] % snap == 0
        assert GEOD.inv(lon, lat, *grid.center_lonlat)[2] <= farthest + 0.1


def test_r03_the_reply_has_the_shape_that_was_asked_for(earth):
    earth.serve(world.s2("brussels", DAY))
    for shape in ((1, 1), (7, 31), (33, 5)):
        assert load(earth.provider(), read(spot(size=shape), ("red",))).values.shape == (1, 1, *shape)


@pytest.mark.parametrize("place", ["brussels", "santiago", "quito", "svalbard", "tromso"])
def test_r12_row_0_is_north_in_both_hemispheres(earth, place):
    made = world.s2(place, DAY)
    earth.serve(made)
    grid = spot(place)
    cube = load(earth.provider(), read(grid, ("red", "coastal")))
    same(cube.values[0], [band(made[:1], name, grid)[0] for name in ("B4", "B1")])
    step = earth.bodies()[-1]["grid"]["affineTransform"]
    assert step["scaleY"] == -10
    assert step["translateY"] == grid.transform[5]
    assert cube.to_xarray().y.values[0] > cube.to_xarray().y.values[-1]


def test_r12_an_asset_stored_south_up_comes_north_up(earth):
    made = world.vectors("brussels", 2021)
    earth.serve(made, world.vectors("brussels", 2022))
    grid = spot()
    found = annual_embedding(grid, 2021, provider=earth.provider())
    assert found.shape == (64, *grid.shape)
    for k in (0, 1, 31, 63):
        numbers, inside = seen(made[0].bands[f"A{k:02d}"], grid)
        assert inside.all()
        same(found[k], numbers)
    assert earth.counts("pixels") == 1
    assert np.isnan(annual_embedding(grid, 2019, provider=earth.provider())).all()


def test_embeddings_of_the_southern_hemisphere(earth):
    made = world.vectors("santiago", 2022)
    earth.serve(made)
    grid = spot("santiago")
    same(annual_embedding(grid, 2022, provider=earth.provider())[7], seen(made[0].bands["A07"], grid)[0])


def test_gse_is_read_through_it(earth):
    earth.serve(world.vectors("brussels", 2021))
    grid = spot()
    where = {"spatial": rs.BBox(*grid.bounds, crs=grid.crs), "temporal": rs.TemporalSpec.year(2021)}
    found = rs.get_embedding("gse_annual", **where, output=rs.OutputSpec.grid(scale_m=10), provider=earth.provider())
    np.testing.assert_array_equal(found.data.values, annual_embedding(grid, 2021, provider=earth.provider()))
    assert found.meta["provider"] == "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"


@pytest.mark.parametrize("zone", ["EPSG:32631", "EPSG:32632"])
def test_a_place_on_the_border_of_two_zones(earth, zone):
    """One pass in the tiles of both zones counts once; the earlier tile lies on top, the other fills its gap."""
    west = ("EPSG:32631", 700_020.0, 5_700_000.0)
    far_x, far_y = pyproj.Transformer.from_crs("EPSG:32631", "EPSG:32632", always_xy=True).transform(704_820, 5_690_000)
    east = ("EPSG:32632", far_x // 60 * 60, far_y // 60 * 60 + 6000)
    first, second = world.s2(west, DAY, name="w"), world.s2(east, "2022-06-05T10:30:11", name="e")
    for scene in (first, second):
        scene[0].bands.update({name: cropped(raster) for name, raster in scene[0].bands.items()})
    earth.serve(first, second)
    middle = pyproj.Transformer.from_crs("EPSG:32631", zone, always_xy=True).transform(704_820, 5_690_000)
    grid = Grid(zone, (10.0, 0.0, middle[0] // 10 * 10 - 200, 0.0, -10.0, middle[1] // 10 * 10 + 200), (40, 40))
    cube = load(earth.provider(), read(grid, ("red",)))
    one, other = (band(each[:1], "B4", grid)[0] for each in (first, second))
    assert 0.2 < np.isfinite(one).mean() < 0.8
    assert np.isfinite(other).mean() > 0.2
    same(cube.values[0, 0], np.where(np.isfinite(one), one, other))
    same(cube.n_obs[0], np.isfinite(one) | np.isfinite(other))


def cropped(raster):
    """The first 4800 m of a tile from west to east, and 18 km from north to south."""
    step = raster.transform[0]
    return Raster(raster.crs, raster.transform, (int(18_000 // step), int(4800 // step)), raster.numbers, raster.dtype)


def test_past_the_limits_of_utm_the_projection_travels_as_text(earth):
    grid = grid_for(PointBuffer(15.0, 84.6, 200), 10)
    assert grid.epsg is None
    place = ("EPSG:32633", 440_040.0, 9_396_000.0)
    earth.serve(numbered(place, {"B4": 10}))
    asked = load(earth.provider(), read(grid, ("red",)))
    assert asked.values.shape == (1, 1, 40, 40)
    assert "crsWkt" in earth.bodies()[-1]["grid"]


LEVEL_1, NO2 = "LANDSAT/LC09/C02/T1", "COPERNICUS/S5P/OFFL/L3_NO2"
OTHERS = {
    "sentinel-2-l1c": (lambda: world.s2("brussels", DAY, collection=world.S2_TOA), world.S2_TOA, {"cirrus": "B10"}),
    "landsat-c2-l2": (
        lambda: world.landsat("brussels", DAY, satellite=9),
        world.LANDSAT[1],
        {"red": "SR_B4", "lwir11": "ST_B10"},
    ),
    "hls2-l30": (
        lambda: world.hls("hls2-l30", "brussels", DAY),
        world.HLS["hls2-l30"],
        {"nir08": "B5", "lwir12": "B11"},
    ),
    "hls2-s30": (lambda: world.hls("hls2-s30", "brussels", DAY), world.HLS["hls2-s30"], {"nir08": "B8A", "blue": "B2"}),
    "modis-09a1": (lambda: world.modis("2022-06-02T00:00:00", left=300_000.0), world.MODIS, {"red": "sur_refl_b01"}),
    "cop-dem-glo-30": (
        lambda: world.layers("COPERNICUS/DEM/GLO30", "2012-03-01T00:00:00", DEM=(-40, 4800)),
        "COPERNICUS/DEM/GLO30",
        {"elevation": "DEM"},
    ),
    "naip": (
        lambda: world.layers("USDA/NAIP/DOQQ", DAY, R=(0, 256), G=(0, 256), B=(0, 256), N=(0, 256)),
        "USDA/NAIP/DOQQ",
        {"red": "R", "green": "G", "blue": "B", "nir": "N"},
    ),
    "landsat-c2-l1": (
        lambda: world.layers(LEVEL_1, DAY, CLOUD_COVER=3, SPACECRAFT_ID="LANDSAT_9", B8=(6000, 9000), B11=(1, 30_000)),
        LEVEL_1,
        {"B8": "B8", "B11": "B11"},
    ),
    "sentinel-3-olci": (
        lambda: world.layers("COPERNICUS/S3/OLCI", DAY, Oa01_radiance=(1, 20_000), Oa21_radiance=(1, 20_000)),
        "COPERNICUS/S3/OLCI",
        {"oa01": "Oa01_radiance", "oa21": "Oa21_radiance"},
    ),
    "sentinel-5p-no2": (
        lambda: world.layers(NO2, DAY, tropospheric_NO2_column_number_density=(-5, 200)),
        NO2,
        {"no2": "tropospheric_NO2_column_number_density"},
    ),
}
SCALES = {
    "landsat-c2-l2": {"red": (0.275, -2000), "lwir11": (0.00341802, 149.0)},
    "hls2-l30": {"nir08": (10_000, 0), "lwir12": (1, 273.15)},
    "hls2-s30": {"nir08": (10_000, 0), "blue": (10_000, 0)},
    "sentinel-3-olci": {"oa01": (0.0139465, 0), "oa21": (0.00324118, 0)},
}


@pytest.mark.parametrize("sensor", OTHERS)
def test_every_sensor_comes_in_canonical_units(earth, sensor):
    make, collection, names = OTHERS[sensor]
    made = make()
    earth.serve(made, *([world.landsat("brussels", "2022-08-01T10:00:00")] if sensor == "landsat-c2-l2" else []))
    if sensor == "landsat-c2-l1":
        earth.serve(made, world.layers(LEVEL_1.replace("LC09", "LC08"), "2022-08-01T10:00:00", B8=(1, 9), B11=(1, 9)))
    grid = (
        spot(pixel=500.0, size=(6, 6)) if sensor == "modis-09a1" else spot(pixel=30.0 if "-2-" not in sensor else 10.0)
    )
    cube = load(earth.provider(), read(grid, tuple(names), NONE, sensor=sensor))
    wanted = []
    for band_name, asset in names.items():
        raw = band(pixels_of([made], collection), asset, grid)[0]
        if sensor == "modis-09a1":
            raw = np.where((raw > -101) & (raw <= 16_000), raw, np.nan)
        scale, offset = SCALES.get(sensor, {}).get(band_name, (1, 0))
        wanted.append(raw.astype(np.float32) * np.float32(scale) + np.float32(offset))
    assert np.isfinite(cube.values).any()
    same(cube.values[0], wanted)


@pytest.mark.parametrize(
    ("sensor", "rule", "clear"),
    [
        ("landsat-c2-l2", "qa_pixel", lambda q: (q & 0b11111) == 0),
        ("hls2-s30", "fmask", lambda q: (q & 0b1110) == 0),
        (
            "modis-09a1",
            "state",
            lambda q: ~np.isin(q & 3, (1, 2)) & (q >> 2 & 1 == 0) & (q >> 8 & 3 != 3) & (q >> 10 & 1 == 0),
        ),
    ],
)
def test_bits_mask_as_numpy_masks(earth, sensor, rule, clear):
    days = ("2022-06-02T00:00:00", "2022-06-10T00:00:00", "2022-06-18T00:00:00")
    makers = {
        "landsat-c2-l2": lambda day: world.landsat("brussels", day),
        "hls2-s30": lambda day: world.hls("hls2-s30", "brussels", day),
        "modis-09a1": lambda day: world.modis(day, left=300_000.0),
    }
    quality = {"landsat-c2-l2": "QA_PIXEL", "hls2-s30": "Fmask", "modis-09a1": "StateQA"}[sensor]
    asset = {"landsat-c2-l2": "SR_B4", "hls2-s30": "B4", "modis-09a1": "sur_refl_b01"}[sensor]
    made = [makers[sensor](day) for day in days]
    earth.serve(*made, *(world.landsat("brussels", "2022-01-01T00:00:00", satellite=9),) * (sensor == "landsat-c2-l2"))
    grid = spot(pixel=500.0, size=(8, 8)) if sensor == "modis-09a1" else spot(pixel=30.0)
    cube = load(earth.provider(), read(grid, ("red",), FetchSpec(mask=rule), sensor=sensor))
    scenes = [each[0] for each in made]
    keep = np.stack([clear(seen(scene.bands[quality], grid)[0].astype(int)) for scene in scenes])
    raw = band(scenes, asset, grid)
    if sensor == "modis-09a1":
        raw = np.where((raw > -101) & (raw <= 16_000), raw, np.nan)
    scale, offset = SCALES.get(sensor, {"red": (1, 0)}).get("red", (10_000 if sensor.startswith("hls") else 1, 0))
    wanted = nanmedian(np.where(keep, raw, np.nan))
    same(cube.n_obs[0], (keep & np.isfinite(raw)).sum(0))
    same(cube.values[0, 0], wanted.astype(np.float32) * np.float32(scale) + np.float32(offset))
