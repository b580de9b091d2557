"""Weather by the month, and heights with their slopes, for Presto: known numbers through the stand-in."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import PlanError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.providers import load
from tests.providers.earth_truth import read, same, spot
from tests.services.earth import world
from tests.services.earth.rasters import Raster, Scene

CRS, LEFT, TOP = world.PLACES["brussels"]
GRID = spot(size=(8, 10))
ERA5, SRTM = "ECMWF/ERA5_LAND/MONTHLY_AGGR", "USGS/SRTMGL1_003"
RAIN = {"2022-06-01": 0.06, "2022-07-01": 0.093, "2024-02-01": 0.058}


def weather(month, rain):
    numbers = {"temperature_2m": 280.0 + int(month[5:7]), "total_precipitation_sum": rain}
    return world.layers(ERA5, f"{month}T00:00:00") and Scene(
        ERA5,
        month,
        world.millis(month),
        {
            n: Raster(CRS, (11_000.0, 0, LEFT, 0, -11_000.0, TOP), (4, 4), np.full((4, 4), v), "<f8")
            for n, v in numbers.items()
        },
    )


@pytest.fixture
def months(earth):
    earth.serve([weather(month, rain) for month, rain in RAIN.items()])


def test_a_month_has_its_mean_temperature_and_the_rain_of_a_day(earth, months):
    """June has 30 days, July 31, the February of 2024 29; a frame is of the month of its middle."""
    frames = (Span("2022-06-10", "2022-07-01"), Span("2022-07-01", "2022-08-10"), Span("2024-02-01", "2024-03-01"))
    wanted = read(GRID, ("temperature_2m", "total_precipitation"), sensor="era5-land-monthly", frames=frames)
    cube = load(earth.provider(), wanted)
    assert cube.read == wanted
    assert cube.units == ("kelvin", "m")
    for number, (temperature, rain) in enumerate([(286, 0.002), (287, 0.003), (282, 0.002)]):
        same(cube.values[number, 0], np.full(GRID.shape, temperature))
        np.testing.assert_allclose(cube.values[number, 1], rain, rtol=1e-6)
    assert [first.isoformat() for first, _ in cube.dates] == ["2022-06-01", "2022-07-01", "2024-02-01"]


def test_frames_of_one_month_share_its_layer(earth, months):
    frames = (Span("2022-06-01", "2022-06-11"), Span("2022-06-11", "2022-07-01"), Span("2022-08-01", "2022-09-01"))
    cube = load(earth.provider(), read(GRID, ("temperature_2m",), sensor="era5-land-monthly", frames=frames))
    same(cube.values[:2], np.full((2, 1, *GRID.shape), 286))
    assert np.isnan(cube.values[2]).all()
    assert earth.counts("pixels") == 1


def heights():
    """A plane that rises by 1 m in 10 m to the east, and by 2 m to the south, 30 m a pixel."""
    rows, columns = np.mgrid[:200, :200]
    plane = Raster(CRS, (30.0, 0, LEFT, 0, -30.0, TOP), (200, 200), (3 * columns + 6 * rows).astype("<i2"), "<i2")
    return Scene(SRTM, "SRTMGL1_003", world.millis("2000-02-11"), {"elevation": plane})


def test_slopes_are_those_of_the_heights_on_the_pixels_that_are_read(earth):
    earth.serve([heights()])
    coarse = spot(size=(6, 7), pixel=30.0)
    wanted = read(coarse, ("elevation", "slope"), sensor="srtm", frames=(Span("2022-06-01", "2022-07-01"),))
    cube = load(earth.provider(), wanted)
    assert cube.units == ("m", "degrees")
    rows, columns = np.mgrid[100:106, 40:47]
    same(cube.values[0, 0], 3 * columns + 6 * rows)
    np.testing.assert_allclose(cube.values[0, 1], np.degrees(np.arctan(np.hypot(0.1, 0.2))), rtol=1e-6)


def test_presto_reads_both_and_hides_what_is_not_there(earth, months):
    model = rs.ModelSpec("presto", modality="era5", weights="random", device="cpu")
    place, span = rs.PointBuffer(4.6, 51.39, 40), rs.TemporalSpec.range("2022-06-01", "2022-08-01")
    found = rs.get_embedding(model, place, span, provider=earth.provider(), output=rs.OutputSpec.grid(scale_m=10))
    known = np.empty((2, 2, *found.data.shape[1:]), np.float32)
    known[:, 0], known[:, 1] = np.array([286, 287])[:, None, None], np.array([0.002, 0.003])[:, None, None]
    alone = load_model(model).embed(
        {"era5": known}, dates=["2022-06-16", "2022-07-16"], place=(4.6, 51.39), output=rs.OutputSpec.grid()
    )
    np.testing.assert_allclose(found.data.values, alone.data, atol=1e-5)
    told = rs.can_run(place, 2022, models=["presto"])
    runs = {(one.modality, one.provider) for one in told.verdicts if one.ok}
    assert {("era5", "earth_engine"), ("srtm", "earth_engine")} <= runs
    with pytest.raises(PlanError, match="none of its sensors"):
        rs.plan([place], [model], span, provider="planetary_computer")


def test_presto_joins_imagery_weather_and_heights(earth):
    """Each from its own collection, in frames of months; what is left out changes the vector."""
    scenes = [world.s2("brussels", day)[0] for day in ("2022-06-05T10:30:00", "2022-07-05T10:30:00")]
    earth.serve(scenes, [weather(month, rain) for month, rain in RAIN.items()], [heights()])
    place, span = rs.PointBuffer(4.47, 51.42, 30), rs.TemporalSpec.range("2022-06-01", "2022-08-01")
    fetch, found = rs.FetchSpec(mask="none"), {}
    for modality in ("s2", "s2+era5", "s2+era5+srtm"):
        model = rs.ModelSpec("presto", modality=modality, options={"level": "L2A"}, weights="random", device="cpu")
        made = rs.get_embedding(model, place, span, provider=earth.provider(), fetch=fetch)
        assert made.meta["status"] == "ok"
        found[modality] = np.asarray(made.data)
    assert np.isfinite(list(found.values())).all()
    steps = np.diff(list(found.values()), axis=0)
    assert (np.abs(steps).max(1) > 1e-3).all()
