"""What a place means in a run: polygons by their shape, class tokens by their box, with one warning."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import shapely

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.coverage import coverage_of, footprint
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.store import Store
from tests.models.conftest import Mirror, mirror_card

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
EAST, NORTH, SIDE = 606_000.0, 5_618_000.0, 320.0
CORNERS = [(EAST, NORTH), (EAST + SIDE, NORTH), (EAST + SIDE, NORTH + SIDE), (EAST, NORTH + SIDE)]
SQUARE = rs.Polygon.from_coordinates(CORNERS, "EPSG:32631")
LOWER = rs.Polygon.from_coordinates([CORNERS[0], CORNERS[1], CORNERS[3]], "EPSG:32631")
UPPER = rs.Polygon.from_coordinates(CORNERS[1:], "EPSG:32631")
BOX = rs.BBox(EAST, NORTH, EAST + SIDE, NORTH + SIDE, crs="EPSG:32631")


@pytest.fixture(scope="module")
def clear():
    return {"temporal": SPAN, "provider": rs.open_provider("synthetic", cloud=0.0)}


@pytest.fixture
def mirror():
    """A model whose tokens are the means of 4 x 4 pixels, and whose class token is their mean."""
    before = dict(models._registered)
    rs.register_model(mirror_card(size_px=32), Mirror)
    yield "mirror"
    models._registered.clear()
    models._registered.update(before)


@pytest.mark.parametrize("model", ["rcf", "mirror"])
def test_complementary_triangles_differ_and_average_to_their_box(clear, mirror, model):
    batch = rs.get_embeddings_batch(model, [LOWER, UPPER, SQUARE, BOX], **clear)
    one, two, square, box = (each.data for each in batch)
    assert np.abs(one - two).max() > 1e-3 * np.abs(box).max()
    np.testing.assert_allclose((one.astype("float64") + two) / 2, box, rtol=2e-6, atol=1e-6 * np.abs(box).max())
    np.testing.assert_allclose(square, box, rtol=1e-6, atol=1e-6 * np.abs(box).max())
    assert [each.meta["within"] for each in batch] == ["shape", "shape", "shape", "box"]


def test_within_box_is_the_box(clear, mirror):
    batch = rs.get_embeddings_batch(mirror, [LOWER, BOX], output=rs.OutputSpec.pooled(within="box"), **clear)
    np.testing.assert_array_equal(batch[0].data, batch[1].data)
    assert batch[0].meta["within"] == "box"


def test_a_grid_has_a_coverage_and_nothing_outside(clear, mirror):
    inside, whole = (rs.get_embedding(mirror, place, output="grid", **clear).data for place in (LOWER, BOX))
    shares = coverage_of(footprint(LOWER, "EPSG:32631"), grid_for(BOX, 40))
    np.testing.assert_allclose(inside.coverage, shares, atol=1e-6)
    np.testing.assert_array_equal(whole.coverage, np.ones((8, 8)))
    np.testing.assert_array_equal(inside.values, np.where(shares > 0, whole.values, np.nan))
    kept = rs.get_embedding(mirror, LOWER, output=rs.OutputSpec.grid(within="box"), **clear).data
    np.testing.assert_array_equal(kept.values, whole.values)


def test_a_place_smaller_than_a_token_is_its_token_and_says_so(clear):
    tiny = rs.Polygon.from_geometry(shapely.box(EAST + 45, NORTH + 45, EAST + 55, NORTH + 49), "EPSG:32631")
    result = rs.get_embedding("rcf", tiny, **clear)  # 40 m2 of a cell of 80 m x 80 m
    assert result.meta["status"] == "ok"
    assert re.fullmatch(r"the place covers 0\.6[23] % of one token", result.meta["note"])


def test_class_tokens_are_of_the_box_with_one_warning(clear, mirror, threads_client, tmp_path):
    output, out = rs.OutputSpec.pooled("cls"), tmp_path / "run.zarr"
    with pytest.warns(UserWarning, match=r"mirror: a vector of a whole image.*within='box'") as caught:
        run = rs.compute_embeddings(
            [LOWER, BOX], mirror, out=out, output=output, client=threads_client, progress=False, **clear
        )
    assert len(caught) == 1
    vectors = run["mirror"].embedding.to_numpy()
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert run["mirror"].reason.to_numpy().tolist() == [
        "of the box around the polygon, as its vector 'cls' is of the whole image",
        "",
    ]
    table = rs.to_dataframe(run)
    assert table["mirror_pooling"].tolist() == ["cls", "cls"]
    assert table["mirror_within"].tolist() == ["box", "box"]
    assert Store.open(out).receipt["outputs"] == {
        "mirror": {"pooling": "cls", "within": "box", "token": "40 m", "frames": "one, of 30 days"}
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rs.plan([LOWER], mirror, output=rs.OutputSpec.pooled("cls", within="box"), **clear)
        rs.plan([BOX], mirror, output=output, **clear)
    with pytest.raises(SpecError, match="no shape can confine"):
        rs.plan([LOWER], mirror, output=rs.OutputSpec.pooled("cls", within="shape"), **clear)


def test_a_run_keeps_coverage_and_what_a_polygon_is(clear, mirror, threads_client, tmp_path):
    clear = clear | {"client": threads_client, "progress": False}
    run = rs.compute_embeddings([LOWER, BOX], mirror, out=tmp_path / "a.zarr", output="grid", **clear)
    group = run["mirror"]
    assert group.coverage.dims == ("item", "y", "x")
    assert float(group.coverage[0].sum()) == pytest.approx(32, rel=1e-6)
    assert np.isnan(group.embedding.to_numpy()[0][:, group.coverage.to_numpy()[0] == 0]).all()
    placed = run.rs.grid("0")
    assert float(placed.coverage.sum()) == pytest.approx(32, rel=1e-6)
    pooled = rs.compute_embeddings([LOWER, BOX], mirror, **clear)
    shares = group.coverage.to_numpy()[0]
    field = group.embedding.to_numpy()[0].astype("float64")
    expected = [np.average(np.nan_to_num(band), weights=shares) for band in field]
    np.testing.assert_allclose(pooled["mirror"].embedding.to_numpy()[0], expected, rtol=1e-6)
    assert rs.to_dataframe(pooled)["mirror_within"].tolist() == ["shape", "box"]
