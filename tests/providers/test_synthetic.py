"""The made landscape: one ground whatever the grid, seasons, clouds that masks find, radar, faults, waits."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import numpy as np
import pytest
from dask.base import compute

from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid, Window
from rs_embed_dask.imagery.sensors import sensor, sensors
from rs_embed_dask.providers import Estimate, load, open_provider
from rs_embed_dask.providers.synthetic import landscape
from rs_embed_dask.providers.synthetic.landscape import number, rough, smooth, tiles_of
from rs_embed_dask.providers.synthetic.provider import CLASSES, Camera, Synthetic
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.ground import WGS84, project

MADE = Synthetic()
GRID = Grid("EPSG:32631", (10, 0, 664_000, 0, -10, 5_612_000), (60, 70))
SEAM = Grid("EPSG:32631", (10, 0, 640_100, 0, -10, 5_651_900), (40, 50))  # across 5 degrees east and 51 north
SUMMER = Span("2022-06-01", "2022-09-01")
RGBN = ("red", "green", "blue", "nir")


def read(grid=GRID, bands=RGBN, *spans, which="s2", **fetch):
    return Read(grid, which, bands, spans or (SUMMER,), FetchSpec(**fetch))


def month(number, year=2022):
    return Span(dt.date(year, number, 1), dt.date(year + number // 12, number % 12 + 1, 1))


def classes(grid, made=MADE):
    lon, lat = project(grid.crs, WGS84, *np.meshgrid(grid.xs, grid.ys))
    return made.truth(lon, lat)


def ndvi(cube):
    red, nir = (cube.select(bands=[name]).values[:, 0] for name in ("red", "nir"))
    return (nir - red) / (nir + red)


@pytest.mark.parametrize("grid", [GRID, SEAM])
@pytest.mark.parametrize("how", ["median", "mosaic"])
def test_overlapping_grids_see_the_same_pixels(grid, how):
    whole = load(MADE, read(grid, composite=how))
    window = Window(7, 11, 20, 30)
    part = load(MADE, read(grid.crop(window), composite=how))
    np.testing.assert_array_equal(part.values, whole.values[..., *window.slices])
    np.testing.assert_array_equal(part.n_obs, whole.n_obs[..., *window.slices])


def test_a_coarser_grid_sees_the_pixels_under_its_centres():
    fine = load(MADE, read())
    coarse = load(MADE, read(Grid(GRID.crs, (30, 0, 664_000, 0, -30, 5_612_000), (20, 23))))
    np.testing.assert_array_equal(coarse.values, fine.values[..., 1::3, 1:69:3])


def test_another_projection_sees_the_same_ground():
    other = Grid("EPSG:32632", (10, 0, 239_700, 0, -10, 5_615_950), (70, 70))
    lon, lat = project(other.crs, WGS84, *np.meshgrid(other.xs, other.ys))
    x, y = project(WGS84, GRID.crs, lon, lat)
    at = np.round(np.stack([(x - 664_005) / 10, (5_611_995 - y) / 10])).astype(int)
    inside = (at[0] >= 0) & (at[0] < 70) & (at[1] >= 0) & (at[1] < 60)
    assert inside.sum() > 1000
    same = classes(GRID)[at[1][inside], at[0][inside]] == classes(other)[inside]
    assert same.mean() > 0.85  # all but the pixels that an edge runs through


def test_blocks_do_not_show(monkeypatch):
    whole = load(MADE, read(SEAM))
    monkeypatch.setattr("rs_embed_dask.providers.assemble._BLOCK_PX", 16)
    from rs_embed_dask.imagery.sensors import source
    from rs_embed_dask.providers.assemble import lazy_cube
    from rs_embed_dask.providers.synthetic.provider import Camera

    wanted = read(SEAM)
    scenes = MADE.search("s2", SEAM, SUMMER, fetch=FetchSpec())
    lazy = lazy_cube(
        wanted, source("synthetic", "s2"), scenes=scenes, fetch=Camera("sentinel-2-l2a", 0, 0.3), block_px=16
    )
    assert lazy.pixels.data.numblocks == (1, 1, 3, 4)
    pixels, counts, used = compute(lazy.pixels.data, lazy.n_obs.data, lazy.used.data, scheduler="threads")
    np.testing.assert_array_equal(pixels, whole.values)
    np.testing.assert_array_equal(counts, whole.n_obs)
    assert tuple(lazy.scene.values[used > 0]) == whole.scenes


def test_r8_a_place_on_a_tile_edge_has_two_scenes_a_pass_and_counts_one():
    assert len(tiles_of(SEAM)) == 4
    clear = Synthetic(cloud=0.0)
    scenes = clear.search("s2", SEAM, SUMMER, fetch=FetchSpec())
    passes = {scene.properties["made:day"] for scene in scenes}
    assert len(scenes) == 4 * len(passes)
    found = load(clear, read(SEAM))
    np.testing.assert_array_equal(found.n_obs, len(passes))


def test_it_is_deterministic_and_another_seed_is_another_land():
    first, again = (load(Synthetic(seed=5), read()) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert (classes(GRID, Synthetic(seed=5)) != classes(GRID, Synthetic(seed=6))).mean() > 0.3


def test_all_classes_are_common_enough():
    lon, lat = np.meshgrid(np.linspace(2, 8, 250), np.linspace(47, 52, 250))
    share = np.bincount(MADE.truth(lon, lat).ravel(), minlength=len(CLASSES)) / lon.size
    assert dict(zip(CLASSES, share > 0.03, strict=True)) == dict.fromkeys(CLASSES, True)
    assert MADE.truth(4.5, 50.5).shape == ()


@pytest.mark.parametrize("lat", [-78.0, -33.0, 0.1, 68.0, 86.0])
@pytest.mark.parametrize("lon", [-179.99, 12.0])
def test_there_is_land_everywhere(lon, lat):
    assert MADE.truth([lon, lon + 360], [lat, lat]).tolist() == [MADE.truth(lon, lat)] * 2


def test_crops_grow_and_ripen_with_the_season():
    grid = Grid(GRID.crs, (20, 0, 664_000, 0, -20, 5_612_000), (120, 120))
    months = [month(number) for number in (2, 5, 8)]
    green = ndvi(load(Synthetic(cloud=0.1), read(grid, RGBN, *months)))
    kinds = classes(grid)
    mean = {name: [green[t][kinds == i].mean() for t in range(3)] for i, name in enumerate(CLASSES)}
    winter, summer = mean["winter_crop"], mean["summer_crop"]
    assert winter[1] > 0.7
    assert winter[2] < 0.4
    assert summer[2] > 0.7
    assert summer[1] < 0.4
    assert mean["forest"][2] > 0.6
    assert max(mean["water"]) < 0
    assert max(mean["built"]) < 0.35


def test_the_southern_hemisphere_is_half_a_year_behind():
    grid = Grid("EPSG:32733", (20, 0, 400_000, 0, -20, 6_200_000), (100, 100))
    green = ndvi(load(Synthetic(cloud=0.0), read(grid, RGBN, month(2), month(8))))
    summer = classes(grid) == CLASSES.index("summer_crop")
    assert summer.sum() > 100
    assert green[0][summer].mean() > green[1][summer].mean() + 0.3


def test_r1_old_and_new_baselines_give_one_reflectance():
    clear = Synthetic(cloud=0.0)
    before, after = Span("2022-01-15", "2022-01-25"), Span("2022-01-25", "2022-02-04")
    found = load(clear, read(GRID, RGBN, before, after))
    baselines = {
        s.properties["s2:processing_baseline"]
        for s in clear.search("s2", GRID, Span(before.start, after.end), fetch=FetchSpec())
    }
    assert baselines == {"03.01", "05.10"}
    np.testing.assert_allclose(found.values[0], found.values[1], atol=120)


def test_masks_take_clouds_and_shadows_out():
    clear = load(Synthetic(cloud=0.0), read())
    masked = load(MADE, read())
    raw = load(MADE, read(mask="none", composite="mosaic"))
    valid = np.isfinite(masked.values)
    assert (raw.n_obs >= masked.n_obs).all()
    assert raw.n_obs.sum() > masked.n_obs.sum()
    assert np.abs(masked.values[valid] / clear.values[valid] - 1).max() < 0.5
    np.testing.assert_array_equal(np.isnan(masked.values[:, 0]), masked.n_obs == 0)


def test_r11_an_overcast_span_is_missing_not_dark():
    found = load(Synthetic(cloud=1.0), read(GRID, RGBN, month(6)))
    assert np.isnan(found.values).all()
    assert found.n_obs.sum() == 0
    assert found.dates == (None,)
    assert found.scenes == ()


def test_cloud_cover_is_what_the_scene_states():
    grid = Grid(GRID.crs, (200, 0, 650_000, 0, -200, 5_640_000), (150, 150))
    scene = next(s for s in MADE.search("s2", grid, SUMMER, fetch=FetchSpec()) if 25 < s.cloud_pct < 60)
    day = scene.datetime.date()
    found = load(MADE, read(grid, ("red",), Span(day, day + dt.timedelta(days=1)), mask="none"))
    assert abs((found.values > 3500).mean() * 100 - scene.cloud_pct) < 15


def test_the_cloud_limit_leaves_scenes_out():
    every = MADE.search("s2", GRID, SUMMER, fetch=FetchSpec())
    few = MADE.search("s2", GRID, SUMMER, fetch=FetchSpec(max_cloud_pct=10.5))
    assert {s.id for s in few} == {s.id for s in every if s.cloud_pct <= 10.5} != {s.id for s in every}
    assert [s.datetime for s in every] == sorted(s.datetime for s in every)


@pytest.mark.parametrize("each", [s.id for s in sensors() if s.kind != "product"])
def test_every_sensor_of_the_tables_is_served_in_canonical_units(each):
    grid = Grid(GRID.crs, (100, 0, 664_000, 0, -100, 5_612_000), (30, 30))
    names = [band.common for band in sensor(each).bands if band.common not in {"hh", "hv"}]
    found = load(Synthetic(cloud=0.15), Read(grid, each, tuple(names), (SUMMER,)))
    assert found.valid_fraction.min() > 0.9
    for band, unit in enumerate(found.units):
        low, high = {"reflectance_e4": (0, 8000), "db": (-40, 5), "kelvin": (270, 315)}[unit]
        mean = np.nanmean(found.values[:, band])
        assert low < mean < high, names[band]


def test_sensors_agree_on_the_ground():
    clear = Synthetic(cloud=0.0)
    red = {
        name: load(clear, Read(GRID, name, ("red", "nir08"), (month(7),))).values
        for name in ("s2", "hls2-l30", "landsat")
    }
    for name in ("hls2-l30", "landsat"):
        assert np.corrcoef(red[name].ravel(), red["s2"].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("mask", ["qa60", "cloud_score_plus"])
def test_other_masks_read_other_bands(mask):
    scl, other = load(MADE, read()), load(MADE, read(mask=mask))
    assert np.abs(scl.n_obs.astype(int) - other.n_obs).mean() < 2.0
    assert (other.n_obs < load(MADE, read(mask="none")).n_obs).any()


def test_r13_radar_sees_water_dark_towns_bright_and_one_polarisation_pair():
    grid = Grid(GRID.crs, (20, 0, 664_000, 0, -20, 5_612_000), (150, 150))
    found = load(MADE, Read(grid, "s1", ("vv", "vh", "hh"), (SUMMER,)))
    kinds = classes(grid)
    vv, vh = ({n: found.values[0, b][kinds == i].mean() for i, n in enumerate(CLASSES)} for b in (0, 1))
    assert vv["water"] < -18 < vv["grassland"] < vv["forest"] < vv["built"]
    assert all(vh[name] < vv[name] for name in CLASSES)
    assert np.isnan(found.values[0, 2]).all()
    assert found.valid_fraction == 1
    single = load(MADE, Read(grid, "s1", ("vv",), (Span("2022-06-01", "2022-06-13"),)))
    assert single.n_obs.max() < found.n_obs.min()


def test_it_describes_itself_and_stays_small():
    made = Synthetic(3, cloud=0.2, latency_s=(0.5, 0.8))
    again = open_provider(json.loads(json.dumps(made.describe())))
    assert again == made
    assert len(pickle.dumps(made)) < 1000
    assert hash(again) == hash(made)


def test_an_estimate_asks_nobody():
    assert Synthetic(latency_s=2.0).estimate(read()) == Estimate(scenes=round(92 / 5))


def test_noise_depends_on_place_and_seed_only():
    x, y = np.random.default_rng(0).uniform(-2e7, 2e7, (2, 500))
    near = x / 1e4
    for noise in (smooth, rough):
        whole = noise(x, y, 100.0, seed=1)
        np.testing.assert_array_equal(whole[::7], noise(x[::7], y[::7], 100.0, seed=1))
        np.testing.assert_array_equal(noise(near, near, 90.0, seed=1)[3:4], noise(near[3:4], near[3:4], 90.0, seed=1))
        assert 0 <= whole.min() < 0.2
        assert 0.8 < whole.max() <= 1
    assert number(1, 2) == number(1, 2) != number(2, 1)


def test_a_small_read_makes_each_pixel_of_each_scene_once_and_its_ground_once(monkeypatch):
    """What makes it quick: no wider ground, no scene twice. `python -m benchmarks.overhead` times it."""
    grid = Grid(GRID.crs, (10, 0, 512_340, 0, -10, 5_601_230), (52, 48))  # of no other test, for grounds are kept
    bands = tuple(band.common for band in sensor("s2").bands[1:11])
    grounds, taken = [], []
    materials, take = landscape.materials_at, Camera._take

    def counted_materials(x, y, seed):
        grounds.append(x.size)
        return materials(x, y, seed)

    def counted_take(camera, layers, scene, *others):
        taken.append((scene.id, layers.shape))
        take(camera, layers, scene, *others)

    monkeypatch.setattr(landscape, "materials_at", counted_materials)
    monkeypatch.setattr(Camera, "_take", counted_take)
    load(MADE, read(grid, bands, month(6)))
    scenes = MADE.search("s2", grid, month(6), fetch=FetchSpec())
    assert len(scenes) == 6
    assert grounds == [52 * 48]
    assert sorted(taken) == sorted((scene.id, (len(bands) + 1, 52 * 48)) for scene in scenes)  # the mask's layer too
