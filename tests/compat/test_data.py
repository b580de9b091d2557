"""Pixels of one's own: matched by collection and bands, read on the model's grid where their place is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import rasterio

import rs_embed_dask as rs
import rs_embed_dask.compat as rs_embed
from rs_embed_dask.compat.settings import forget
from rs_embed_dask.errors import ModelError, SpecError

S2 = "COPERNICUS/S2_SR_HARMONIZED"
BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
SIDE = 64
JUNE = rs_embed.TemporalSpec.range("2022-06-01", "2022-07-01")
AFFINE = rasterio.Affine(10, 0, 430_000, 0, -10, 5_590_000)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*differs from rs-embed on purpose|pixels are true metres", UserWarning)
        yield
    forget()


@pytest.fixture
def pixels():
    rng = np.random.default_rng(5)
    return rng.integers(200, 4000, (len(BANDS), SIDE, SIDE)).astype("uint16")


def data(pixels, **more):
    return rs_embed.UserData(pixels, S2, bands=BANDS, temporal=JUNE, **more)


def test_an_image_without_a_place_is_embedded_as_it_is(pixels):
    embedding = rs_embed.get_embedding_from_data("rcf", data(pixels), features=16)
    model = rs.load_model("rcf", features=16)
    np.testing.assert_array_equal(embedding.data, model.embed(pixels.astype("float32")).data)
    shuffled = data(pixels[::-1])
    turned = rs_embed.UserData(shuffled.data, "s2", bands=BANDS[::-1], temporal=JUNE)
    (again,) = rs_embed.get_embeddings_batch_from_data("rcf", [turned], features=16, batch_size=2)
    np.testing.assert_array_equal(again.data, embedding.data)


def test_a_raster_is_read_where_it_lies(pixels, tmp_path):
    path = tmp_path / "image.tif"
    profile = {"driver": "GTiff", "count": len(BANDS), "height": SIDE, "width": SIDE, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32631", transform=AFFINE) as image:
        image.write(pixels)
    own = rs_embed.UserData.from_raster(str(path), collection=S2, bands=BANDS, temporal=JUNE)
    assert (own.scale_m, own.crs, own.transform) == (10, "EPSG:32631", AFFINE)
    own.validate()
    embedding = rs_embed.get_embedding_from_data("rcf", own, features=16)
    expected = rs.load_model("rcf", features=16).embed(pixels.astype("float32"))
    np.testing.assert_allclose(embedding.data, expected.data, rtol=1e-5)
    grid = rs_embed.get_embedding_from_data("rcf", own, features=16, output=rs_embed.OutputSpec.grid())
    assert grid.data.attrs["crs"] == "EPSG:32631"
    assert grid.data.x[0] - 40 == 430_000
    assert grid.data.y[0] + 40 == 5_590_000


def test_a_series_keeps_its_frames(pixels):
    series = np.stack([pixels, pixels + 500])
    at = {"crs": "EPSG:32631", "transform": AFFINE}
    own = rs_embed.get_embedding_from_data("bandstats", data(series, **at))
    assert len(own.meta["frames"]) == 2
    expected = rs.load_model("bandstats").embed(series.astype("float32"), dates=["2022-06-08", "2022-06-23"])
    np.testing.assert_allclose(own.data, expected.data, rtol=1e-5)


def test_models_are_listed_with_reasons(pixels):
    rows = {row["model"]: row for row in rs_embed.list_models_for_data(data(pixels))}
    assert rows["rcf"] == {
        "model": "rcf",
        "compatible": True,
        "bands_used": list(rows["rcf"]["bands_used"]),
        "reason": None,
    }
    assert rows["rcf"]["bands_used"][0] == "B02"
    assert rows["remoteclip"]["compatible"]
    assert rows["gse"]["reason"] == "its vectors are read, not computed"
    assert not rows["satvision"]["compatible"]
    assert "place" in rows["clay"]["reason"]
    located = {
        row["model"]: row
        for row in rs_embed.list_models_for_data(data(pixels, spatial=rs_embed.PointBuffer(2, 50, 320)))
    }
    assert located["clay"]["compatible"]
    with pytest.raises(ModelError, match="takes the place of an image"):
        rs_embed.get_embedding_from_data("clay", data(pixels))
    with pytest.raises(ModelError, match="lack coastal"):
        rs_embed.get_embedding_from_data("terrafm", data(pixels))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"collection": " "}, "empty"),
        ({"bands": ()}, "a name is missing"),
        ({"bands": BANDS[:3]}, "the array has 10 bands"),
        ({"data": np.zeros((4, 4))}, "not \\(C, H, W\\)"),
        ({"scale_m": 0}, "above 0"),
        ({"crs": "EPSG:32631"}, "go together"),
        ({"crs": "EPSG:32631", "transform": (1, 2, 3)}, "no affine"),
    ],
)
def test_contradictions_are_refused(pixels, fields, words):
    given = {"data": pixels, "collection": S2, "bands": BANDS} | fields
    with pytest.raises(SpecError, match=words):
        rs_embed.UserData(**given).validate()


def test_twelve_unnamed_bands_are_sentinel_2s():
    twelve = rs_embed.UserData(np.full((12, 8, 8), 900, "uint16"), "s2", temporal=JUNE)
    assert rs_embed.get_embedding_from_data("rcf", twelve, features=8).data.shape == (16,)
    with pytest.raises(SpecError, match="name each band"):
        rs_embed.get_embedding_from_data("rcf", rs_embed.UserData(np.ones((3, 8, 8)), "s2", temporal=JUNE))
