"""Where pixels land, which are masked, and what is counted (R6-R12)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import rioxarray  # noqa: F401 - the accessor

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from tests.services.catalog import Scene
from tests.services.faults import Disorder
from tests.services.fixtures import forget_answers
from tests.services.reads import JULY, JUNE, cube, only, provider, read
from tests.services.scenes import CORNER, acquisition, flat, grid, layer, s2_scene, seam_scenes, when


@pytest.mark.parametrize("scl", range(12))
def test_r06_classes_that_mask(plain, scl):
    got = cube(plain(s2_scene("a", "2022-06-05T10:00:00", scl=scl)))
    assert np.isnan(got.values).all() == (scl in {0, 1, 3, 8, 9, 10})
    assert got.n_obs.max() == (0 if scl in {0, 1, 3, 8, 9, 10} else 1)


@pytest.mark.parametrize(("scl", "spoilt"), [(2, True), (8, True), (9, False), (4, False)])
def test_r06_the_classes_that_mask_are_the_users_choice(plain, scl, spoilt):
    got = cube(plain(s2_scene("a", "2022-06-05T10:00:00", scl=scl)), read(mask="scl:2,8"))
    assert np.isnan(got.values).all() == spoilt


def test_r06_the_mask_has_sharp_edges_of_twenty_metres(plain):
    scl = np.full((60, 60), 4)
    scl[15, 15] = 9
    clouds = layer("SCL", scl, pixel=20.0, dtype="uint8")
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04", "B05"), layers=[clouds]))
    got = cube(service, read("red", "B05"))
    masked = np.zeros((40, 40), bool)
    masked[10:12, 10:12] = True  # rows 30 and 31 of the file, less the 20 that the grid begins later
    for band in range(2):
        np.testing.assert_array_equal(np.isnan(got.values[0, band]), masked)


def test_r06_no_mask_by_choice(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", scl=9))
    assert only(cube(service, read(mask="none")).values) == 1500


def test_r07_all_resolutions_on_one_grid_with_centres_in_the_coordinates(plain):
    ramp = {p: 1000 + np.arange(1200 // p)[None, :].repeat(1200 // p, 0) for p in (10, 20, 60)}
    bands = [("B02", 10), ("B05", 20), ("B01", 60)]
    layers = [layer(name, ramp[pixel], pixel=float(pixel)) for name, pixel in bands]
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=(), layers=layers))
    where = grid(size=24, offset=(600.0, 600.0))
    wanted = read("blue", "rededge1", "coastal", where=where)
    lazy = provider(service).cube(wanted)
    np.testing.assert_array_equal(lazy.x, CORNER[0] + 605 + 10 * np.arange(24))
    np.testing.assert_array_equal(lazy.y, CORNER[1] - 605 - 10 * np.arange(24))
    assert lazy.rio.crs.to_epsg() == 32631
    got = cube(service, wanted)
    columns = np.arange(60, 84)
    for band, factor in ((0, 1), (1, 2), (2, 6)):
        np.testing.assert_array_equal(got.values[0, band, 0], 1000 + columns // factor)


def test_r08_an_acquisition_processed_twice_counts_once(plain):
    service = plain(acquisition("old", generated="20220602"), acquisition("new", generated="20230301"))
    got = cube(service, read(mask="none"))
    assert only(got.n_obs) == 1
    assert got.scenes == ("new",)


def test_r08_overlapping_tiles_of_one_pass_count_once(plain):
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", dn=1000, tile="31UFS"),
        s2_scene("b", "2022-06-05T10:00:14", dn=1200, tile="31UGS"),
        s2_scene("c", "2022-06-10T10:00:00", dn=1600, tile="31UFS"),
    )
    got = cube(service)
    assert only(got.n_obs) == 2
    assert only(got.values) == 1300  # a and c; b only where a has nothing


def seam_read(**fetch):
    where = Grid("EPSG:32631", (10.0, 0.0, 707_500.0, 0.0, -10.0, 5_709_500.0), (120, 150))
    return read(where=where, mask="none", **fetch)


@pytest.mark.filterwarnings("ignore::rs_embed_dask.providers.stac.read.ReadAmplificationWarning")
@pytest.mark.parametrize("how", ["median", "mosaic", "clearest"])
def test_r09_zones_order_and_chunks_do_not_matter_bit_for_bit(plain, how):
    scenes = seam_scenes()
    service = plain(*scenes)
    whole = cube(service, seam_read(composite=how))
    assert np.isfinite(whole.values).all()
    assert set(np.unique(whole.n_obs)) == {2}
    for seed, chunk_px in ((1, None), (2, 64), (3, 17)):
        forget_answers()
        service.api = dataclasses.replace(service.api, arrange=Disorder(seed, repeats=2))
        again = cube(service, seam_read(composite=how), chunk_px=chunk_px)
        np.testing.assert_array_equal(again.values, whole.values)
        np.testing.assert_array_equal(again.n_obs, whole.n_obs)
        assert again.scenes == whole.scenes
        assert again.dates == whole.dates


def test_r10_a_cube_across_the_antimeridian_has_both_sides(plain):
    def half(zone, x, name, dn):
        return Scene(
            name, "sentinel-2-l2a", when("2022-06-05T10:00:00"), f"EPSG:{32600 + zone}",
            (flat("B04", dn, corner=(x, 7_210_500)),), {"s2:processing_baseline": "03.01", "platform": "Sentinel-2A"},
        )  # fmt: skip

    service = plain(half(1, 358_400, "east", 2000), half(60, 640_700, "west", 1000))
    where = Grid("EPSG:32601", (10, 0, 358_100, 0, -10, 7_210_200), (60, 100))
    assert len(where.lonlat_boxes) == 2
    got = cube(service, read(where=where, mask="none"))
    assert set(np.unique(got.values[np.isfinite(got.values)])) == {1000, 2000}
    assert only(got.values[0, 0, :, :20]) == 1000
    assert only(got.values[0, 0, :, 40:]) == 2000
    assert got.scenes == ("east", "west")


def test_r11_a_cloudy_frame_is_missing_and_has_no_observation(plain):
    service = plain(
        s2_scene("a", "2022-06-05T10:00:00", dn=1000),
        s2_scene("b", "2022-07-05T10:00:00", dn=2000, scl=9),
        s2_scene("c", "2022-09-05T10:00:00", dn=3000),
    )
    august, september = Span("2022-08-01", "2022-09-01"), Span("2022-09-01", "2022-10-01")
    got = cube(service, read(frames=(JUNE, JULY, august, september)))
    assert [only(got.values[t]) for t in (0, 3)] == [1000, 3000]
    assert np.isnan(got.values[1:3]).all()
    assert [only(n) for n in got.n_obs] == [1, 0, 0, 1]
    assert [d and d[0].isoformat() for d in got.dates] == ["2022-06-05", None, None, "2022-09-05"]
    assert got.scenes == ("a", "c")


def test_r11_nothing_found_is_no_imagery(plain):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", cloud=90.0))
    for wanted in (read(frames=(JULY,)), read(max_cloud_pct=50), read(where=grid(offset=(-20_000.0, 0.0)))):
        with pytest.raises(NoImageryError, match="sentinel-2-l2a at"):
            cube(service, wanted)


def test_r12_pages_and_repeats_give_the_same_cube(plain):
    scenes = [s2_scene(f"S2A_{n:02}", f"2022-06-{n:02}T10:00:00", dn=1000 + 37 * n % 400) for n in range(1, 12)]
    service = plain(*scenes)
    wanted = read(composite="mosaic")
    expected = cube(service, wanted)
    for seed in range(3):
        forget_answers()
        service.api = dataclasses.replace(service.api, page_size=2, arrange=Disorder(seed, repeats=5))
        got = cube(service, wanted)
        np.testing.assert_array_equal(got.values, expected.values)
        assert got.scenes == expected.scenes == ("S2A_11",)
        assert only(got.n_obs) == 11
