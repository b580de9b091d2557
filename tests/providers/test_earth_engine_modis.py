"""MOD021KM from a collection that the user names, channel by channel, against the calibration of arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import PlanError, ProviderError, SpecError, StoreMismatchError, UnknownNameError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.modis_l1b import REFLECTIVE, percent_kelvin
from rs_embed_dask.models import card
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.specs.fetch import FetchSpec
from tests.models.later_families import small
from tests.providers.earth_truth import nanmedian, newest, read, seen, spot
from tests.services.earth import world
from tests.services.earth.rasters import Pattern

BANDS = card("satvision").inputs[0].bands
OWN = "projects/me/assets/mod021km"
GRID = spot(size=(12, 10), pixel=1000.0, offset=(20_000.0, 30_000.0))
DAY, TWO = Span("2022-06-02", "2022-06-03"), Span("2022-06-02", "2022-06-04")
TIMES = ("2022-06-02T10:30:00", "2022-06-02T10:35:00", "2022-06-03T11:15:00")
NEWEST = FetchSpec(mask="none", composite="mosaic")


def numbers_of(number):
    """Stored integers of a granule, and what its properties state of each band."""
    own = np.random.default_rng(number)
    raw = {name: Pattern(world.seed(name, number), 2000, 30_000, holes=40 if number == 0 else 0) for name in BANDS}
    scales = {name: (5e-5 if name in REFLECTIVE else 2e-4) * own.uniform(0.8, 1.2) for name in BANDS}
    offsets = {name: float(own.uniform(0, 700)) for name in BANDS}
    return raw, scales, offsets


def granule(number, **changes):
    raw, scales, offsets = numbers_of(number)
    stated = {f"{name}_scale": value for name, value in scales.items()}
    stated |= {f"{name}_offset": value for name, value in offsets.items()} | changes
    return world.modis_l1b(TIMES[number], raw, properties=stated)


def truth(scene, number):
    """(14, H, W) of percent and kelvin by the calibration of arrays; a pixel counts where all bands are there."""
    _, scales, offsets = numbers_of(number)
    stored = {name: seen(scene.bands[name], GRID) for name in BANDS}
    made = percent_kelvin({name: raw for name, (raw, _) in stored.items()}, scales, offsets)
    there = np.all([valid for _, valid in stored.values()], axis=0) & np.isfinite(made).all(0)
    return np.where(there, made, np.nan)


@pytest.fixture
def granules(earth):
    made = [granule(number) for number in range(len(TIMES))]
    earth.serve(*made)
    return [truth(scene, number) for number, (scene,) in enumerate(made)]


def mine(earth, **options):
    return earth.provider(collections={"MOD021KM": OWN}, **options)


@pytest.mark.parametrize("channel", range(14), ids=BANDS)
def test_each_channel_is_what_the_calibration_of_arrays_makes(earth, granules, channel):
    """Each granule by its own numbers; within a day the earliest lies on top, as a day is one composite."""
    cube = load(mine(earth), read(GRID, BANDS, NEWEST, sensor="modis-l1b", frames=(DAY,)))
    first, second, _ = granules
    known = np.where(np.isfinite(first), first, second)
    assert 0.2 < np.isnan(first[0]).mean() < 0.5
    np.testing.assert_allclose(cube.values[0, channel], known[channel], rtol=2e-6)
    assert cube.units[channel] == ("percent" if BANDS[channel] in REFLECTIVE else "kelvin")
    low, high = (2, 220) if BANDS[channel] in REFLECTIVE else (100, 800)
    assert low < cube.values[0, channel].min() < cube.values[0, channel].max() < high
    assert (cube.n_obs == 1).all()


def test_of_more_days_the_newest_is_on_top_or_the_median_is_of_radiances(earth, granules):
    first, second, third = granules
    day = np.where(np.isfinite(first), first, second)
    cube = load(mine(earth), read(GRID, BANDS, NEWEST, sensor="modis-l1b", frames=(TWO,)))
    np.testing.assert_allclose(cube.values[0], newest(np.stack([day, third])), rtol=2e-6)
    middle = load(mine(earth), read(GRID, BANDS, sensor="modis-l1b", frames=(TWO,)))
    reflective = [BANDS.index(name) for name in REFLECTIVE]
    np.testing.assert_allclose(middle.values[0, reflective], nanmedian(np.stack([day, third]))[reflective], rtol=2e-6)
    emissive = [i for i in range(14) if i not in reflective]
    means = (day[emissive] + third[emissive]) / 2  # by Planck's law, the mean radiance is of a higher temperature
    assert (middle.values[0, emissive] >= means - 1e-3).all()
    assert (middle.values[0, emissive] <= np.maximum(day, third)[emissive] + 1e-3).all()


@pytest.mark.parametrize("passes", ["once", "each"])
def test_integers_that_are_no_numbers_and_radiances_below_zero_are_missing(earth, passes):
    raw, *_ = numbers_of(1)
    for name in ("B02", "B27"):
        spoilt = np.full((160, 160), 20_000)
        spoilt[:, 20::2] = 65_535 if name == "B02" else 10
        raw[name] = spoilt
    (scene,) = granule(1)
    (odd,) = world.modis_l1b(TIMES[1], raw, properties=scene.properties)
    earth.serve([odd])
    cube = load(mine(earth, passes=passes), read(GRID, BANDS, NEWEST, sensor="modis-l1b", frames=(DAY,)))
    gone = np.isnan(truth(odd, 1)).any(0)
    assert gone.mean() == 0.5
    assert (np.isnan(cube.values[0]).any(0) == gone).all()


def test_a_granule_without_its_numbers_is_an_error_that_names_the_collection(earth):
    earth.serve(granule(1, B21_scale=None))
    with pytest.raises(ProviderError, match="modis-l1b"):
        load(mine(earth), read(GRID, BANDS, NEWEST, sensor="modis-l1b", frames=(DAY,)))


def test_without_a_collection_nothing_is_offered_and_the_fix_is_said(earth):
    assert "modis-l1b" not in EarthEngine().sensors()
    with pytest.raises(SpecError, match=r"no public catalogue has MOD021KM.*collections="):
        earth.provider().cube(read(GRID, BANDS, sensor="modis-l1b", frames=(DAY,)))
    where = rs.PointBuffer(5.0, 51.0, 64_000)
    spec = rs.ModelSpec("satvision", weights="random")
    for provider in ("earth_engine", "planetary_computer"):
        with pytest.raises(PlanError, match=r"no public catalogue has MOD021KM.*collections=\{'modis-l1b'"):
            rs.plan([where], [spec], rs.TemporalSpec.range("2022-06-02", "2022-06-03"), provider=provider)
    assert not rs.can_run(where, 2022, models=["satvision"]).models
    assert rs.can_run(where, 2022, models=["satvision"], provider=mine(earth)).models == ("satvision",)
    assert earth.report()["counts"] == {}


@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ({"modis": "a b/c"}, SpecError, "collections: modis-09a1 = 'a b/c': it is no id"),
        ({"modis-l1b": "mod021km"}, SpecError, "projects/my-project"),
        ({"modis-l1b": 3}, SpecError, "it is no id"),
        ({"sentinel-1-rtc": "projects/me/rtc"}, SpecError, "does not serve"),
        ({"modis-l2": "projects/me/l2"}, UnknownNameError, "modis-l1b"),
        (
            {"s2": "projects/me/a", "sentinel-2-l2a": "projects/me/b"},
            SpecError,
            "several names here.*Fix: name it",
        ),
        ("projects/me/assets/s2", SpecError, "it is no mapping of a sensor to a collection"),
        (5, SpecError, "it is no mapping of a sensor to a collection"),
    ],
)
def test_names_are_checked(named, error, said):
    with pytest.raises(error, match=said):
        EarthEngine(collections=named)


def test_the_pixels_suit_the_model_and_the_plan_names_the_collection(earth, granules):
    cube = load(mine(earth), read(GRID, BANDS, NEWEST, sensor="modis-l1b", frames=(DAY,)))
    model = small("satvision", size_px=32)
    known = np.where(np.isfinite(granules[0]), granules[0], granules[1]).astype(np.float32)
    np.testing.assert_allclose(model.embed(cube).data, model.embed(known).data, atol=1e-5)
    spec, span = rs.ModelSpec("satvision", weights="random"), rs.TemporalSpec.range("2022-06-02", "2022-06-03")
    planned = rs.plan([rs.PointBuffer(5.0, 50.9, 64_000)], [spec], span, provider=mine(earth))
    assert f"modis-l1b ({OWN}) at 1000 m" in " ".join(str(planned).split())
    mapped = rs.plan_map(rs.BBox(4.9, 50.8, 5.1, 51.0), spec, span, provider=mine(earth))
    assert f"modis-l1b ({OWN}) at 1000 m" in " ".join(str(mapped).split())
    assert planned.request.to_dict()["provider"]["collections"] == {"modis-l1b": OWN}


@pytest.fixture
def mirrored(earth):
    """The public collection has another scene than the mirror."""
    (scene, _), (other, _) = (world.s2("brussels", f"2022-06-02T10:3{n}:00", name=n) for n in range(2))
    earth.serve([replace(scene, collection="projects/me/s2"), other])
    return scene


def test_any_sensor_may_come_from_a_mirror(earth, mirrored):
    provider = earth.provider(collections={"s2": "projects/me/s2"})
    assert open_provider(provider.describe()) == provider
    assert provider.sensors() == EarthEngine().sensors()
    grid = spot()
    np.testing.assert_array_equal(
        load(provider, read(grid, ("red",))).values[0, 0], seen(mirrored.bands["B4"], grid)[0]
    )
    assert provider.cube(read(grid, ("red",))).attrs["collection"] == "projects/me/s2"


def test_a_receipt_has_the_collection_and_another_one_is_another_request(earth, mirrored, tmp_path):
    place, span, out = rs.PointBuffer(4.5, 51.4, 200), rs.TemporalSpec.range("2022-06-02", "2022-06-03"), tmp_path / "a"
    call = {"models": ["bandstats"], "temporal": span, "out": out, "fetch": FetchSpec(mask="none")}
    rs.compute_embeddings([place], provider=earth.provider(collections={"s2": "projects/me/s2"}), **call)
    assert rs.open_store(out).rs.receipt["provider"]["collections"] == {"sentinel-2-l2a": "projects/me/s2"}
    with pytest.raises(StoreMismatchError, match=r"provider\.collections"):
        rs.compute_embeddings([place], provider=earth.provider(collections={"s2": "projects/me/b"}), **call)
