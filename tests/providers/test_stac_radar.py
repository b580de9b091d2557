"""Radar cubes: linear power in files, decibels in cubes, averages in power (R7, R13-R15)."""

from __future__ import annotations

import numpy as np
import pytest

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.providers import load
from rs_embed_dask.providers.earth_engine.orders import layers_of
from rs_embed_dask.providers.files.provider import Files
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs import FetchSpec
from tests.services.catalog import Scene
from tests.services.scenes import CORNER, flat, grid, layer, when

JUNE = Span("2022-06-01", "2022-07-01")
MISSING = -32_768.0


def scene(name, date, *, corner=CORNER, **bands):
    options = {"dtype": "float32", "nodata": MISSING, "corner": corner}
    layers = [flat(b, v, **options) if np.isscalar(v) else layer(b, v, **options) for b, v in bands.items()]
    return Scene(name, "sentinel-1-rtc", when(date), "EPSG:32631", tuple(layers), {"platform": "SENTINEL-1A"})


def cube(service, *bands, **fetch):
    wanted = Read(grid(), "sentinel-1-rtc", bands or ("vv", "vh"), (JUNE,), **fetch)
    return load(StacProvider(service.url, source="planetary_computer"), wanted)


def test_r13_linear_power_becomes_decibels(plain):
    got = cube(plain(scene("a", "2022-06-05T05:00:00", vv=0.1, vh=0.01)))
    np.testing.assert_allclose(got.values[0, 0], -10, atol=1e-5)
    np.testing.assert_allclose(got.values[0, 1], -20, atol=1e-5)
    assert got.units == ("db", "db")


def test_r13_what_is_not_positive_is_missing_before_the_logarithm(plain):
    vv = np.full((120, 120), 0.1)
    vv[20:25], vv[25:30], vv[30:35] = MISSING, 0.0, -0.001
    got = cube(plain(scene("a", "2022-06-05T05:00:00", vv=vv, vh=0.01)))
    np.testing.assert_array_equal(np.isfinite(got.values[0, 0, :, 0]), [False] * 15 + [True] * 25)
    np.testing.assert_array_equal(got.n_obs[0, :, 0], [0] * 15 + [1] * 25)


def test_r13_averages_are_made_in_power(plain):
    service = plain(
        scene("a", "2022-06-05T05:00:00", vv=0.1, vh=0.1), scene("b", "2022-06-11T05:00:00", vv=0.3, vh=0.1)
    )
    got = cube(service)
    np.testing.assert_allclose(got.values[0, 0], 10 * np.log10(0.2), atol=1e-5)
    assert got.n_obs.min() == got.n_obs.max() == 2


def test_r13_scenes_with_one_polarisation_count_for_what_they_have(plain):
    service = plain(scene("a", "2022-06-05T05:00:00", vv=0.1), scene("b", "2022-06-11T05:00:00", vv=0.1, vh=0.01))
    got = cube(service)
    np.testing.assert_allclose(got.values[0, 1], -20, atol=1e-5)
    assert got.n_obs.min() == got.n_obs.max() == 2
    assert got.scenes == ("a", "b")


def test_r13_each_scene_has_a_pixel_phase_of_its_own(plain):
    ramp = 0.01 * (1 + np.arange(120))[None, :].repeat(120, 0)
    shifted = scene("a", "2022-06-05T05:00:00", corner=(CORNER[0] + 3, CORNER[1] + 4), vv=ramp)
    got = cube(plain(shifted), "vv")
    # the centre of column c of the grid lies 202 + 10 c metres right of the file's corner, so in its column 20 + c
    np.testing.assert_allclose(got.values[0, 0, 0], 10 * np.log10(ramp[0, 20:60]), rtol=1e-5)


def test_r14_detected_amplitudes_are_refused_not_served_as_backscatter(plain):
    service = plain(scene("a", "2022-06-05T05:00:00", vv=0.1))
    provider = StacProvider(service.url, source="planetary_computer")
    assert "sentinel-1-grd" not in provider.sensors()
    wanted = Read(grid(), "sentinel-1-grd", ("vv",), (JUNE,))
    with pytest.raises(SpecError, match=r"sentinel-1-grd.*uncalibrated.*sentinel-1-rtc"):
        provider.cube(wanted)
    assert service.counts() == {}


def test_r15_one_unit_in_the_cube_whatever_the_names(plain):
    service = plain(scene("a", "2022-06-05T05:00:00", vv=0.1, vh=0.01))
    lower, upper = cube(service, "vv", "vh"), cube(service, "VV", "VH")
    np.testing.assert_array_equal(lower.values, upper.values)
    assert upper.bands == ("vv", "vh")
    lazy = StacProvider(service.url, source="planetary_computer").cube(Read(grid(), "s1", ("VV",), (JUNE,)))
    assert lazy.attrs["units"] == ["db"]


def test_one_direction_of_flight_is_read_alone(plain):
    flown = {"ascending": 0.1, "descending": 0.01}
    scenes = [
        Scene(
            f"s{number}",
            "sentinel-1-rtc",
            when(f"2022-06-0{number}T05:00:00"),
            "EPSG:32631",
            (flat("vv", power, dtype="float32", nodata=MISSING),),
            {"sat:orbit_state": orbit},
        )
        for number, (orbit, power) in enumerate(flown.items(), 1)
    ]
    service = plain(*scenes, scene("untold", "2022-06-03T05:00:00", vv=1.0))
    found = {orbit: cube(service, "vv", fetch=FetchSpec(orbit=orbit)) for orbit in (*flown, None)}
    assert {orbit: one.scenes for orbit, one in found.items()} == {
        "ascending": ("s1",),
        "descending": ("s2",),
        None: ("s1", "s2", "untold"),
    }
    np.testing.assert_allclose(found["descending"].values, -20, atol=1e-5)
    provider = StacProvider(service.url, source="planetary_computer")
    listed = provider.search("sentinel-1-rtc", grid(), JUNE, fetch=FetchSpec(orbit="ascending"))
    assert [one.id for one in listed] == ["s1"]


def test_what_cannot_choose_a_direction_refuses_it():
    ascending, where = FetchSpec(orbit="ascending"), grid(size=8)
    files = Files(np.ones((1, 2, 8, 8), "float32"), sensor="s1-rtc", bands=("vv", "vh"), dates="2022-06-05", grid=where)
    with pytest.raises(SpecError, match="files do not state it"):
        files.search("sentinel-1-rtc", where, JUNE, fetch=ascending)
    read = Read(where, "sentinel-1-grd", ("vv",), (JUNE,), ascending)
    with pytest.raises(SpecError, match="both directions of flight"):
        layers_of(read, source("earth_engine", "sentinel-1-grd"), plain=True)
    with pytest.raises(UnknownNameError):
        FetchSpec(orbit="north")
