"""The emulator of Earth Engine: the real client and xee talk to it, it keeps limits, and it guesses nothing."""

from __future__ import annotations

import json
import threading
import urllib.request

import ee
import numpy as np
import pytest
import xarray as xr

from rs_embed_dask.providers.earth_engine.session import open_session
from tests.providers.earth_truth import DAYS, band, nanmedian, seen, spot
from tests.services.earth import world
from tests.services.earth.collections_of import FUNCTIONS
from tests.services.earth.fixtures import earth, earth_process
from tests.services.earth.rasters import Pattern, Raster, Scene, hashed

__all__ = ["earth", "earth_process"]

GRID = spot()


@pytest.fixture
def scenes(earth):
    made = [world.s2("brussels", day)[0] for day in DAYS[:2]]
    earth.serve(*made)
    open_session(earth.provider().access)
    return made


def pixels(image, grid=GRID):
    """Ask for an image as the client does."""
    step, _, left, _, down, top = grid.transform
    place = {
        "dimensions": {"width": grid.shape[1], "height": grid.shape[0]},
        "affineTransform": {"scaleX": step, "translateX": left, "scaleY": down, "translateY": top},
        "crsCode": grid.crs,
    }
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": place})


def first():
    return ee.ImageCollection(world.S2).sort("system:time_start").first()


def test_its_functions_and_their_arguments_are_the_clients():
    """Every name is in the client's own list, so that no slip can hide."""
    import inspect
    from importlib.resources import files

    listed = json.loads((files("ee.tests") / "algorithms.json").read_text())["algorithms"]
    known = {each["name"].removeprefix("algorithms/"): each.get("arguments", []) for each in listed}
    from tests.services.earth import pixels as images

    assert images.FUNCTIONS is FUNCTIONS
    for name, function in FUNCTIONS.items():
        own = {word for word in inspect.signature(function).parameters if word != "context"}
        assert own <= {argument["argumentName"] for argument in known[name]}, name


def test_stored_numbers_come_as_they_are_stored(scenes):
    raw = pixels(first().select(["B4", "SCL"]))
    assert raw.dtype == np.dtype([("B4", "<u2"), ("SCL", "|u1")])
    np.testing.assert_array_equal(raw["B4"], seen(scenes[0].bands["B4"], GRID)[0])


def test_a_masked_pixel_is_a_zero_like_any_other(scenes):
    raw = pixels(first().select(["B4"]).updateMask(first().select(["SCL"]).neq(4)))["B4"]
    numbers, clouds = (seen(scenes[0].bands[name], GRID)[0] for name in ("B4", "SCL"))
    np.testing.assert_array_equal(raw, np.where(clouds != 4, numbers, 0))


def test_composites_of_integers_are_doubles_and_unlike_types_are_kept_apart(scenes):
    collection = ee.ImageCollection(world.S2).select(["B4"])
    raw = pixels(collection.median().addBands(collection.count().rename(["n"])).addBands(collection.mosaic()))
    assert raw.dtype == np.dtype([("B4", "<f8"), ("n", "<i4"), ("B4_1", "<u2")])
    np.testing.assert_array_equal(raw["B4"], nanmedian(band(scenes, "B4", GRID)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: first().select(["B4"]).reproject("EPSG:3857", None, 10), "Image.reproject is not emulated"),
        (lambda: ee.ImageCollection(world.S2).mean(), "reduce.mean is not emulated"),
        (lambda: first().select(["B99"]), "did not match any bands"),
        (lambda: ee.Image(ee.ImageCollection("NO/SUCH").first()), "NO/SUCH' not found"),
        (lambda: first().select(["B4"]).unmask(0), "within the footprint is not emulated"),
        (lambda: first().select(["B4", "B8"]).rename(["one"]), "Can't rename 2 bands"),
    ],
)
def test_what_it_does_not_know_it_refuses(scenes, make, said):
    with pytest.raises(ee.EEException, match=said):
        pixels(make())


def test_the_limit_of_bytes_counts_the_mask(scenes, earth):
    wide = spot(size=(100, 100))
    earth.set(limit_bytes=100 * 100 * 3)
    pixels(first().select(["B4"]), wide)
    with pytest.raises(ee.EEException, match=r"Total request size \(50000 bytes\) must be less"):
        pixels(first().select(["B4"]).toFloat(), wide)


def test_it_counts_and_refuses_too_many_at_once(scenes, earth):
    earth.set(at_once=2, latency_s=0.2)
    told = []

    def one():
        try:
            pixels(first().select(["B4"]))
        except ee.EEException as error:
            told.append(str(error))

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = earth.report()
    assert said["peak"] == 5
    assert said["statuses"] == {"200": 2, "429": 3}
    assert len(told) == 3
    assert "Too Many Requests" in told[0]


def test_it_refuses_too_many_in_a_second(scenes, earth):
    earth.set(per_second=3)
    for _ in range(3):
        pixels(first().select(["B4"]))
    with pytest.raises(ee.EEException, match="Too Many Requests"):
        pixels(first().select(["B4"]))


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # xee's, of affine 3
def test_plain_xee_opens_and_reads_it(scenes, earth):
    """What xee does by itself: one question at opening, and one request per band."""
    collection = ee.ImageCollection(world.S2).select(["B4", "B8"])
    opened = xr.open_dataset(
        collection, engine="ee", crs=GRID.crs, crs_transform=GRID.transform, shape_2d=GRID.shape[::-1]
    )
    np.testing.assert_array_equal(opened.B8.values, band(scenes, "B8", GRID).astype(np.float32))
    assert opened.B4.shape == (2, *GRID.shape)
    assert opened.B4.values.dtype == np.float32
    said = earth.report()["counts"]
    assert said["value"] == 1
    assert said["pixels"] == 2


def test_unknown_addresses_are_not_found(earth):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{earth.url}/v1/projects/p/operations")


def test_numbers_of_the_patterns_are_spread_and_repeat():
    columns, rows = np.meshgrid(np.arange(200), np.arange(200))
    one = hashed(5, columns, rows)
    np.testing.assert_array_equal(one, hashed(5, columns, rows))
    assert np.unique(one % 9000).size > 8000
    assert not np.array_equal(one, hashed(6, columns, rows))
    near = Pattern(5)(columns, rows)
    assert (near[:, 1:] != near[:, :-1]).mean() > 0.99


def test_a_raster_is_sampled_at_pixel_centres_in_any_projection():
    values = np.arange(12).reshape(3, 4)
    raster = Raster("EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), (3, 4), values, "<i4")
    found, inside = raster.at("EPSG:32631", np.array([500_005.0, 500_039.9, 500_040.0]), np.array([4_999_995.0] * 3))
    assert (found[:2].tolist(), inside.tolist()) == ([0, 3], [True, True, False])
    scene = Scene("c", "i", 0, {"B": raster})
    assert scene.touches("EPSG:4326", (2.9, 45.0, 3.1, 45.2))
    assert not scene.touches("EPSG:4326", (4.0, 45.0, 4.1, 45.2))
