"""Pixels from Earth Engine equal NumPy's on the same rasters: composites, masks, counts, radar, frames (R6 to R13)."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.dates import Frames, Span
from rs_embed_dask.providers import load
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from tests.providers.earth_truth import DAYS, JUNE, NONE, band, nanmedian, newest, pixels_of, read, same, seen, spot
from tests.services.earth import world
from tests.services.earth.rasters import Pattern, Raster, Scene

GRID = spot()


@pytest.fixture
def sentinel(earth):
    """Four Sentinel-2 scenes in which every seventh pixel is missing."""
    made = [
        world.s2("brussels", day, cloud=cover, holes=7) for day, cover in zip(DAYS, (5, 20.5, 20.6, 90), strict=True)
    ]
    earth.serve(*made)
    return made


def stack(made, names, where=GRID):
    """Bands of the scenes; an observation counts where all of its bands are there."""
    found = np.stack([band(pixels_of(made, world.S2), name, where) for name in names])  # (B, N, H, W)
    return np.where(np.isfinite(found).all(0), found, np.nan)


def test_r07_the_median_is_numpys(earth, sentinel):
    cube = load(earth.provider(), read(GRID, ("red", "nir", "swir16", "coastal")))
    wanted = stack(sentinel, ("B4", "B8", "B11", "B1"))
    same(cube.values[0], [nanmedian(each) for each in wanted])
    same(cube.n_obs[0], np.isfinite(wanted[0]).sum(0))
    assert {0, 4} <= set(cube.n_obs.ravel()) | {0}
    assert cube.values.dtype == np.float32


def test_r11_the_mosaic_has_the_newest_on_top(earth, sentinel):
    cube = load(earth.provider(), read(GRID, ("red", "green"), FetchSpec(mask="none", composite="mosaic")))
    wanted = stack(sentinel, ("B4", "B3"))
    same(cube.values[0], [newest(each) for each in wanted])
    same(cube.n_obs[0], np.isfinite(wanted[0]).sum(0))


MASKS = {
    "scl": lambda scene: ~np.isin(seen(scene.bands["SCL"], GRID)[0], (0, 1, 3, 8, 9, 10)),
    "scl:3,9": lambda scene: ~np.isin(seen(scene.bands["SCL"], GRID)[0], (3, 9)),
    "qa60": lambda scene: (seen(scene.bands["QA60"], GRID)[0] & 0b1100_0000_0000) == 0,
}


@pytest.mark.parametrize("rule", MASKS)
@pytest.mark.parametrize(("how", "numpys"), [("median", nanmedian), ("mosaic", newest)])
def test_r07_masks_are_numpys(earth, sentinel, rule, how, numpys):
    cube = load(earth.provider(), read(GRID, ("red", "swir22"), FetchSpec(mask=rule, composite=how)))
    clear = np.stack([MASKS[rule](scene) for scene in pixels_of(sentinel, world.S2)])
    wanted = np.where(clear, stack(sentinel, ("B4", "B12")), np.nan)
    same(cube.values[0], [numpys(each) for each in wanted])
    same(cube.n_obs[0], np.isfinite(wanted[0]).sum(0))
    assert (cube.n_obs == 0).any()
    assert np.isnan(cube.values[0, 0][cube.n_obs[0] == 0]).all()


@pytest.mark.parametrize(("rule", "score"), [("cloud_score_plus", 0.6), ("cloud_score_plus:0.25", 0.25)])
def test_r07_cloud_score_plus_is_linked_from_its_own_collection(earth, sentinel, rule, score):
    cube = load(earth.provider(), read(GRID, ("red",), FetchSpec(mask=rule)))
    clear = band(pixels_of(sentinel, world.SCORE), "cs", GRID) >= np.float32(score)
    wanted = np.where(clear, stack(sentinel, ("B4",))[0], np.nan)
    same(cube.values[0, 0], nanmedian(wanted))
    same(cube.n_obs[0], np.isfinite(wanted).sum(0))


def test_r07_a_scene_without_its_cloud_score_does_not_count(earth):
    kept, lost = (world.s2("brussels", day) for day in DAYS[:2])
    earth.serve(kept, lost[:1])
    cube = load(earth.provider(), read(GRID, ("red",), FetchSpec(mask="cloud_score_plus:0")))
    same(cube.values[0, 0], band(kept[:1], "B4", GRID)[0])
    assert (cube.n_obs == 1).all()


@pytest.mark.parametrize(("limit", "left"), [(20.5, 2), (20.55, 2), (20, 1), (100, 4)])
def test_r07_the_cloud_limit_may_have_a_fraction_and_is_part_of_what_passes(earth, sentinel, limit, left):
    cube = load(earth.provider(), read(GRID, ("red",), FetchSpec(mask="none", max_cloud_pct=limit)))
    same(cube.values[0, 0], nanmedian(stack(sentinel, ("B4",))[0][:left]))
    assert cube.n_obs.max() == left


def test_r06_missing_is_nan_with_a_count_of_zero(earth):
    earth.serve(world.s2("brussels", DAYS[0]))
    edge = spot(offset=(-100.0, 3000.0))  # ten columns lie outside the tile
    cube = load(earth.provider(), read(edge, ("red", "nir")))
    assert np.isnan(cube.values[:, :, :, :10]).all()
    assert np.isfinite(cube.values[:, :, :, 10:]).all()
    assert (cube.n_obs[0, :, :10] == 0).all()
    assert (cube.n_obs[0, :, 10:] == 1).all()


def test_r06_a_pixel_counts_where_all_bands_are_there(earth):
    """A stored 0 is no number of Sentinel-2, and it spoils the pixel's other bands as in every provider."""
    (scene, _) = world.s2("brussels", DAYS[0])
    dark = np.full((400, 400), 500, np.uint16)
    dark[:, ::2] = 0
    crs, left, top = world.PLACES["brussels"]
    bands = {**scene.bands, "B3": Raster(crs, (10.0, 0.0, left, 0.0, -10.0, top), dark.shape, dark)}
    earth.serve(Scene(scene.collection, scene.index, scene.time_ms, bands, scene.properties))
    cube = load(earth.provider(), read(GRID, ("red", "green")))
    assert np.isnan(cube.values[0, :, :, ::2]).all()
    assert (cube.values[0, 1, :, 1::2] == 500).all()
    assert (cube.n_obs[0] == np.arange(GRID.shape[1]) % 2).all()


def test_r08_nothing_is_clipped(earth):
    (scene, _) = world.s2("brussels", DAYS[0])
    bright = np.full((400, 400), 27_000, np.uint16)
    crs, left, top = world.PLACES["brussels"]
    bands = {"B4": Raster(crs, (10.0, 0.0, left, 0.0, -10.0, top), bright.shape, bright)}
    earth.serve(Scene(scene.collection, scene.index, scene.time_ms, bands, scene.properties))
    halves = (Span("2022-06-01", "2022-06-10"), Span("2022-06-10", "2022-07-01"))
    for frames in ((JUNE,), halves):
        assert np.nanmax(load(earth.provider(), read(GRID, ("red",), frames=frames)).values) == 27_000


def test_r09_frames_part_the_span_and_empty_ones_stay_empty(earth, sentinel):
    """The third frame has no scene; its neighbours' pixels do not fill it."""
    frames = Frames("fixed", n=6).spans(TemporalSpec.range("2022-06-01", "2022-07-01"))
    cube = load(earth.provider(), read(GRID, ("red", "nir"), frames=frames))
    wanted = stack(sentinel, ("B4", "B8"))
    for number, span in enumerate(frames):
        mine = [i for i, day in enumerate(DAYS) if dt.date.fromisoformat(day[:10]) in span]
        frame = wanted[:, mine]
        if not mine:
            assert np.isnan(cube.values[number]).all()
            assert (cube.n_obs[number] == 0).all()
            assert cube.dates[number] is None
            continue
        same(cube.values[number], [nanmedian(each) for each in frame])
        same(cube.n_obs[number], np.isfinite(frame[0]).sum(0))
        day = dt.date.fromisoformat(DAYS[mine[0]][:10])
        assert cube.dates[number] == (day, day)
    assert sum(pair is None for pair in cube.dates) == 2
    assert earth.counts("pixels") == 1


def test_r09_a_short_span_gives_fewer_frames_and_no_invented_ones(earth):
    """Twelve frames of five days are five, one a day; four of them have no scene and stay empty."""
    made = world.s2("brussels", DAYS[0])
    earth.serve(made)
    frames = Frames("fixed", n=12).spans(TemporalSpec.range("2022-06-01", "2022-06-06"))
    cube = load(earth.provider(), read(GRID, ("red",), frames=frames))
    assert [bool(np.isfinite(frame).any()) for frame in cube.values] == [False, True, False, False, False]
    same(cube.values[1, 0], band(made[:1], "B4", GRID)[0])


def test_r09_a_day_belongs_to_the_frame_that_begins_with_it(earth):
    made = [world.s2("brussels", "2022-06-10T00:00:00"), world.s2("brussels", "2022-06-09T23:59:59.999")]
    earth.serve(*made)
    frames = (Span("2022-06-01", "2022-06-10"), Span("2022-06-10", "2022-06-11"))
    cube = load(earth.provider(passes="each"), read(GRID, ("red",), frames=frames))
    same(cube.values[0, 0], band(made[1][:1], "B4", GRID)[0])
    same(cube.values[1, 0], band(made[0][:1], "B4", GRID)[0])
    search = earth.provider(passes="each").search
    days = [[scene.datetime.day for scene in search("s2", GRID, span, fetch=FetchSpec())] for span in frames]
    assert days == [[9], [10]]


def test_the_dates_are_those_of_the_observations(earth):
    """The span has scenes that are cloudy throughout the grid; they are not among the dates."""
    made = [world.s2("brussels", day) for day in DAYS]
    for scenes, cloudy in zip(made, (True, False, False, True), strict=True):
        scl = scenes[0].bands["SCL"]
        scenes[0].bands["SCL"] = replace(scl, numbers=Pattern(0, choices=(9 if cloudy else 4,)))
    earth.serve(*made)
    cube = load(earth.provider(), read(GRID, ("red",), FetchSpec(mask="scl")))
    assert cube.dates == ((dt.date(2022, 6, 7), dt.date(2022, 6, 12)),)
    assert (cube.n_obs == 2).all()


def test_a_pass_counts_once_however_many_tiles_it_is_in(earth):
    """Two tiles of one pass overlap; their pixels were taken in the same second."""
    west, east = world.PLACES["brussels"], ("EPSG:32631", 600_600.0, 5_700_000.0)
    made = [world.s2(west, DAYS[0], name="w"), world.s2(east, "2022-06-02T10:30:09", name="e")]
    other = world.s2(west, DAYS[2])
    earth.serve(*made, other)
    grid = spot(offset=(500.0, 3000.0))  # ten columns of the west alone, ten of both
    cube = load(earth.provider(), read(grid, ("red",)))
    assert (cube.n_obs == 2).all()
    first, second, third = (band(each[:1], "B4", grid)[0] for each in (*made, other))
    same(cube.values[0, 0], nanmedian(np.stack([np.where(np.isfinite(first), first, second), third])))
    each = load(earth.provider(passes="each"), read(grid, ("red",)))
    assert (each.n_obs[0, :, :10] == 2).all()
    assert (each.n_obs[0, :, 10:] == 3).all()
    same(each.values[0, 0], nanmedian(np.stack([first, second, third])))


def test_another_satellite_on_the_same_day_counts_by_itself(earth):
    earth.serve(world.s2("brussels", DAYS[0]), world.s2("brussels", DAYS[0], platform="Sentinel-2B", name="b"))
    assert (load(earth.provider(), read(GRID, ("red",))).n_obs == 2).all()


@pytest.fixture
def radar(earth):
    made = [
        world.s1("brussels", "2022-06-03T05:50:00"),
        world.s1("brussels", "2022-06-05T17:25:00", orbit="ASCENDING"),
        world.s1("brussels", "2022-06-09T05:50:00"),
        world.s1("brussels", "2022-06-11T17:25:00", orbit="ASCENDING"),
        world.s1("brussels", "2022-06-13T05:50:00", mode="EW"),
        world.s1("brussels", "2022-06-14T05:50:00", polarisations=("VV",)),
    ]
    earth.serve(*made)
    return made


def test_r10_radar_is_composited_in_power_by_default(earth, radar):
    cube = load(earth.provider(), read(GRID, ("vv", "vh"), sensor="sentinel-1-grd"))
    power = [nanmedian(band(pixels_of(radar[:4], world.S1_FLOAT), p, GRID)) for p in ("VV", "VH")]
    np.testing.assert_allclose(cube.values[0], 10 * np.log10(power), atol=2e-5)
    assert (cube.n_obs == 4).all()
    assert cube.units == ("db", "db")


def test_r10_radar_in_decibels_is_said_so(earth, radar):
    provider = earth.provider(radar="db")
    cube = load(provider, read(GRID, ("vv", "vh"), sensor="sentinel-1-grd"))
    same(cube.values[0], [nanmedian(band(pixels_of(radar[:4], world.S1), p, GRID)) for p in ("VV", "VH")])
    lazy = provider.cube(read(GRID, ("vv",), sensor="sentinel-1-grd"))
    assert (lazy.attrs["collection"], lazy.attrs["composited_in"]) == (world.S1, "decibels")


@pytest.mark.parametrize(("orbit", "first"), [("descending", 0), ("ascending", 1)])
def test_r10_one_direction_of_flight(earth, radar, orbit, first):
    provider = earth.provider(orbit=orbit, radar="db")
    cube = load(provider, read(GRID, ("vv",), sensor="sentinel-1-grd"))
    same(cube.values[0, 0], nanmedian(band(pixels_of(radar[first:4:2], world.S1), "VV", GRID)))
    assert provider.cube(read(GRID, ("vv",), sensor="sentinel-1-grd")).attrs["orbit"] == orbit
    assert provider.describe()["orbit"] == orbit


def test_r10_other_modes_and_polarisations_only_on_request(earth, radar):
    cube = load(earth.provider(any_mode=True, radar="db"), read(GRID, ("vv",), sensor="sentinel-1-grd"))
    same(cube.values[0, 0], nanmedian(band(pixels_of(radar, world.S1), "VV", GRID)))
    both = load(earth.provider(any_mode=True), read(GRID, ("vv", "vh"), sensor="sentinel-1-grd"))
    assert (both.n_obs == 5).all()  # not the scene without VH


def test_r13_neighbours_are_nearest_and_nothing_is_interpolated(earth):
    made = world.s2("brussels", DAYS[0])
    earth.serve(made)
    fine = spot(size=(40, 40), pixel=3.0)
    same(load(earth.provider(), read(fine, ("red",))).values[0, 0], band(made[:1], "B4", fine)[0])
    assert '"Image.resample"' not in str(earth.bodies())


def test_what_cannot_be_served_is_said_before_anything_is_asked(earth):
    provider = earth.provider()
    with pytest.raises(SpecError, match="median or mosaic"):
        provider.cube(read(GRID, ("red",), FetchSpec(composite="clearest")))
    with pytest.raises(SpecError, match="does not serve"):
        provider.cube(read(GRID, ("vv",), sensor="sentinel-1-rtc"))
    with pytest.raises(UnknownNameError, match="mask"):
        provider.cube(read(GRID, ("red",), FetchSpec(mask="fmask")))
    assert earth.report()["counts"] == {}
    assert NONE.mask == "none"
