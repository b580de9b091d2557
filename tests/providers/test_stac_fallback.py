"""A second catalogue for the scenes that the first lacks: which are taken, and that their pixels are the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from rs_embed_dask.errors import NoImageryError, SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.stac.earth_search import EarthSearch
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.catalog import Scene
from tests.services.reads import JUNE, only, read
from tests.services.scenes import flat, grid, layer, s2_scene, when

DAYS = (1, 6, 11, 16, 21, 26)
NAMES = {"blue": "B02", "red": "B04"}
NOISE = np.random.default_rng(3).integers(500, 4000, (len(DAYS), 2, 120, 120))
CLOUDS = np.where(np.random.default_rng(4).random((len(DAYS), 60, 60)) < 0.3, 9, 4)


def first_scene(n, **more):
    """As the Planetary Computer lists it: the offset still in its numbers, the time that of the datatake."""
    layers = [layer(NAMES[band], NOISE[n, i] + 1000) for i, band in enumerate(NAMES)]
    layers.append(layer("SCL", CLOUDS[n], pixel=20.0, dtype="uint8"))
    name, day = f"S2A_MSIL2A_{DAYS[n]:02}", f"2022-06-{DAYS[n]:02}"
    about = {"s2:datastrip_id": strip(DAYS[n], "ESRI"), "sat:orbit_state": "descending", **more}
    return s2_scene(name, f"{day}T10:50:00", bands=(), scl=None, layers=layers, baseline="04.00", **about)


def second_scene(n, *, day=None, minutes=7, **more):
    """As Earth Search lists it: other assets, the offset applied, the time that of the granule, other properties."""
    layers = [layer(band, NOISE[n, i]) for i, band in enumerate(NAMES)]
    layers.append(layer("scl", CLOUDS[n], pixel=20.0, dtype="uint8"))
    day = day or f"2022-06-{DAYS[n]:02}"
    about = {"s2:datastrip_id": strip(DAYS[n], "2APS"), "platform": "sentinel-2a", "grid:code": "MGRS-31UFS", **more}
    name, moment = f"S2A_31UFS_{DAYS[n]:02}", f"{day}T10:{50 + minutes}:00"
    return s2_scene(name, moment, bands=(), scl=None, layers=layers, tile=None, **about)


def strip(day, made):
    return f"S2A_OPER_MSI_L2A_DS_{made}_20220701T000000_S202206{day:02}T104955_N04.00"


def with_second(first, second, **options):
    """Read the first service, and the second one where it lacks scenes."""
    fallback = {"name": "stac", "url": second.url, "source": "earth_search"}
    return StacProvider(first.url, source="planetary_computer", fallback=fallback, **options)


def ids(provider, **fetch):
    return [scene.id for scene in provider.search("s2", grid(), JUNE, fetch=FetchSpec(**fetch))]


@pytest.mark.parametrize("how", ["median", "mosaic"])
def test_a_third_of_the_scenes_from_the_second_catalogue_are_the_same_pixels(plain, how):
    everything = [first_scene(n) for n in range(6)]
    complete, partial = plain(*everything), plain(*(everything[n] for n in (0, 2, 3, 5)))
    second = plain(*(second_scene(n) for n in range(6)))
    wanted = read("red", "blue", composite=how)
    expected = load(StacProvider(complete.url, source="planetary_computer"), wanted)
    got = load(with_second(partial, second), wanted)
    np.testing.assert_array_equal(got.values, expected.values)
    np.testing.assert_array_equal(got.n_obs, expected.n_obs)
    assert got.dates == expected.dates
    assert got.n_days == expected.n_days == 6
    assert {name for name in got.scenes if ":" in name} == {"earth_search:S2A_31UFS_06", "earth_search:S2A_31UFS_21"}
    assert {call.path.split("/")[-2] for call in second.calls() if call.kind == "range"} == {
        *("S2A_31UFS_06", "S2A_31UFS_21")
    }
    alone = load(StacProvider(partial.url, source="planetary_computer"), wanted)
    assert not np.array_equal(alone.values, expected.values, equal_nan=True)
    assert alone.n_days == 4


def test_signed_and_plain_links_in_one_stack(azure, plain):
    second = plain(*(second_scene(n) for n in range(3)))
    first = azure(first_scene(0), first_scene(2))
    fallback = {"name": "stac", "url": second.url, "source": "earth_search"}
    got = load(PlanetaryComputer(first.url, fallback=fallback), read("red", "blue", mask="none"))
    np.testing.assert_array_equal(got.values[0], np.median(NOISE[:3, ::-1, 20:60, 20:60], axis=0))
    assert first.counts()["token"] == 1
    assert all("sig" not in call.query for call in second.calls())


def test_a_first_catalogue_without_any_scene(plain):
    second = plain(*(second_scene(n) for n in range(2)))
    got = load(with_second(plain(), second), read("red", mask="none"))
    np.testing.assert_array_equal(got.values[0, 0], NOISE[:2, 1, 20:60, 20:60].mean(axis=0))
    with pytest.raises(NoImageryError):
        load(with_second(plain(), plain()), read("red"))


# what the catalogues say of one acquisition -> whether it is taken for a scene that the first lacks
DIFFERENCES = {
    "another datastrip": ({"s2:datastrip_id": strip(2, "2APS")}, True),
    "a second later": ({"s2:datastrip_id": strip(1, "2APS").replace("T104955", "T104956")}, False),
    "another platform": ({"platform": "sentinel-2b"}, True),
    "another tile": ({"grid:code": "MGRS-31UFT"}, True),
    "no datastrip, minutes apart": ({"s2:datastrip_id": None}, True),
    "no datastrip, the same time": ({"s2:datastrip_id": None, "minutes": 0}, False),
    "a T before the tile": ({"grid:code": None, "s2:mgrs_tile": "T31UFS"}, False),
    "after midnight": ({"day": "2022-06-02"}, False),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_granule_and_sensing_time_decide(plain, name):
    about, is_taken = DIFFERENCES[name]
    got = ids(with_second(plain(first_scene(0)), plain(second_scene(0, **about))))
    assert got == ["S2A_MSIL2A_01", *(["earth_search:S2A_31UFS_01"] if is_taken else [])]


def test_tiles_of_single_figures_are_one(plain):
    first, second = first_scene(0, tile="04QFJ"), second_scene(0, **{"grid:code": "MGRS-4QFJ"})
    assert ids(with_second(plain(first), plain(second))) == ["S2A_MSIL2A_01"]


def test_a_scene_that_the_first_has_is_not_taken_because_of_a_limit(plain):
    first = plain(first_scene(0, cloud=31.0), first_scene(1, cloud=10.0))
    second = plain(second_scene(0, cloud=29.0), second_scene(1, cloud=10.0), second_scene(2, cloud=29.0))
    provider = with_second(first, second)
    assert ids(provider, max_cloud_pct=30) == ["S2A_MSIL2A_06", "earth_search:S2A_31UFS_11"]
    got = load(provider, read("red", max_cloud_pct=30, mask="none"))
    assert got.scenes == ("S2A_MSIL2A_06", "earth_search:S2A_31UFS_11")
    assert got.n_days == 3


def test_a_scene_that_the_first_dates_in_the_day_before_is_in_one_span_only(plain):
    provider = with_second(plain(first_scene(0)), plain(second_scene(0, day="2022-06-02")))
    days = [Span(f"2022-06-0{n}", f"2022-06-0{n + 1}") for n in (1, 2)]
    found = [[s.id for s in provider.search("s2", grid(), day, fetch=FetchSpec())] for day in days]
    assert found == [["S2A_MSIL2A_01"], []]


def test_two_halves_of_a_tile_from_two_catalogues_are_one_observation(plain):
    halves = NOISE[0, 1].copy(), NOISE[0, 1].copy()
    halves[0][60:], halves[1][:40] = 0, 0
    first = first_scene(0)
    first.layers[1].values[...] = np.where(halves[0], halves[0] + 1000, 0)
    second = second_scene(0, **{"s2:datastrip_id": strip(2, "2APS")})
    second.layers[1].values[...] = halves[1]
    got = load(with_second(plain(first), plain(second)), read("red", where=grid(size=120, offset=(0, 0)), mask="none"))
    np.testing.assert_array_equal(got.values[0, 0], NOISE[0, 1])
    assert only(got.n_obs) == 1


def landsat(name, day, **properties):
    layers = (flat("red", 10_000 + day, pixel=30.0), flat("qa_pixel", 21_824, pixel=30.0))
    about = {"eo:cloud_cover": 1.0, "platform": "landsat-8", "landsat:wrs_path": "198", "landsat:wrs_row": "024"}
    return Scene(name, "landsat-c2-l2", when(f"2022-06-{day:02}T10:33:31"), "EPSG:32631", layers, about | properties)


def test_landsat_is_compared_by_path_and_row(plain):
    first = plain(landsat("LC08_01", 1))
    second = plain(landsat("LC08_01_SR", 1, **{"grid:code": "WRS2-198024"}), landsat("LC08_17_SR", 17))
    where = grid(size=20, pixel=30.0, offset=(300.0, 300.0))
    got = load(with_second(first, second), read("red", sensor="landsat-c2-l2", where=where))
    assert got.scenes == ("LC08_01", "earth_search:LC08_17_SR")
    assert only(got.values) == pytest.approx(1e4 * ((10_001 + 10_017) / 2 * 2.75e-5 - 0.2), abs=1e-3)


def test_a_sensor_that_the_second_does_not_serve_is_read_from_the_first(plain):
    second = plain()
    provider = with_second(plain(), second)
    assert provider.search("s1", grid(), JUNE, fetch=FetchSpec()) == ()
    assert not second.calls()


def test_it_is_part_of_the_value_and_of_its_description():
    made = PlanetaryComputer(fallback="earth_search")
    assert made.fallback == EarthSearch() == open_provider("earth_search")
    assert made.describe()["fallback"] == {"name": "earth_search", "url": EarthSearch().url}
    assert open_provider(made.describe()) == made == pickle.loads(pickle.dumps(made)) != PlanetaryComputer()
    assert len(pickle.dumps(made)) < 1000
    assert "fallback=EarthSearch" in repr(made)


BAD = {
    "no STAC": ({"fallback": "synthetic"}, "not a plain STAC provider", "'earth_search'"),
    "one with its own": ({"fallback": PlanetaryComputer(fallback="earth_search")}, "not a plain", "without a fallback"),
    "other sensors": (
        {"fallback": "earth_search", "collections": {"sentinel-1": "sentinel-1-rtc"}},
        "this provider serves none",
        "leave it out",
    ),
    "bands in one asset": (
        {"fallback": "earth_search", "assets": {"red": "visual#1"}},
        "an asset holds several bands",
        "assets of one band",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fallback_that_cannot_serve_is_refused(name):
    options, reason, fix = BAD[name]
    with pytest.raises(SpecError, match="fallback") as caught:
        PlanetaryComputer(**options)
    assert reason in caught.value.reason
    assert fix in caught.value.fix
