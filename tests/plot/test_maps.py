from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.image import imread

from rs_embed_dask.errors import RsEmbedError, SpecError
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.plot import SceneImage, fit_pca, overview, pca_rgb, status_map
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import STATUS_COLOURS, ChunkResult, Item, ModelLayout, Status, Store
from tests.store.samples import POOLED, make_items, make_result

SIDE_M = 640.0
TOKENS = 8
YEAR = TemporalSpec.year(2021)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sixteen squares side by side in one zone, with vectors and grids that grow from west to east."""
    places = [
        PointBuffer(
            lon=500_000 + SIDE_M * (k % 4), lat=5_600_000 - SIDE_M * (k // 4), buffer_m=SIDE_M / 2, crs="EPSG:32631"
        )
        for k in range(16)
    ]
    layouts = [ModelLayout("vectors", 6), ModelLayout("grids", 6, (TOKENS, TOKENS))]
    items = [Item(k, place, YEAR) for k, place in enumerate(places)]
    path = tmp_path_factory.mktemp("plot") / "run.zarr"
    store = Store.create(path, items=items, models=layouts, request={}, chunk_items=16)
    status = np.full(16, int(Status.OK))
    status[[3, 9]] = int(Status.NO_DATA), int(Status.READ_FAILED)
    known = np.isin(status, [1])
    west = np.arange(16) % 4
    ramp = (west[:, None] * TOKENS + np.arange(TOKENS)) / (4 * TOKENS - 1)  # (item, x)
    weights = np.array([3.0, 2, 1, 0, -1, -2])
    grids = weights[:, None, None] * ramp[:, None, None, :] + np.zeros((16, 6, TOKENS, TOKENS))
    cells = [grid_for(place, SIDE_M / TOKENS, crs="EPSG:32631") for place in places]
    result = ChunkResult(
        rows=np.arange(16),
        status=status,
        embedding=[grid if ok else None for grid, ok in zip(grids, known, strict=True)],
        transform=np.array([cell.transform for cell in cells]),
        crs=["EPSG:32631"] * 16,
    )
    store.write_chunk(0, "grids", result)
    result.embedding = [grid.mean(axis=(1, 2)) if ok else None for grid, ok in zip(grids, known, strict=True)]
    store.write_chunk(0, "vectors", result)
    return store


def test_vectors_fill_the_items_outlines(store):
    axes = pca_rgb(store, "vectors")
    (patches,) = axes.collections
    colours = patches.get_facecolor()
    assert len(colours) == 16
    np.testing.assert_allclose(colours[3], (0.5, 0.5, 0.5, 0.25))
    np.testing.assert_allclose(colours[0], colours[4], atol=1e-6)
    assert (np.diff(colours[:3, 0]) > 0).all()
    assert "6 dimensions as colours (100% of the variance)" in axes.get_title()
    left, right = axes.get_xlim()
    assert left < 500_000 - SIDE_M / 2
    assert right > 500_000 + 3.5 * SIDE_M
    assert axes.get_aspect() == 1


def test_grids_are_drawn_cell_by_cell_on_one_scale(store):
    axes = pca_rgb(store, "grids")
    meshes = [one for one in axes.collections if isinstance(one, QuadMesh)]
    assert len(meshes) == 14
    first, second = (np.asarray(mesh.get_array()).reshape(TOKENS, TOKENS, 4) for mesh in meshes[:2])
    assert (np.diff(first[0, :, 0]) >= 0).all()
    assert second[0, 0, 0] > first[0, -1, 0]
    assert first[0, 0, 0] == 0
    corners = meshes[0].get_coordinates()
    np.testing.assert_allclose(corners[0, 0], (500_000 - SIDE_M / 2, 5_600_000 + SIDE_M / 2))
    np.testing.assert_allclose(corners[-1, -1], (500_000 + SIDE_M / 2, 5_600_000 - SIDE_M / 2))


def test_a_fit_can_be_shared(store):
    pca = fit_pca(store.values("vectors", "embedding") * 2)
    half = pca_rgb(store, "vectors", pca=pca).collections[0].get_facecolor()
    whole = pca_rgb(store, "vectors").collections[0].get_facecolor()
    assert half[2, 0] < whole[2, 0]


def test_the_status_map_counts(store):
    axes = status_map(store.target, "grids")
    colours = [to_hex(colour) for colour in axes.collections[0].get_facecolor()]
    assert colours[3] == STATUS_COLOURS[Status.NO_DATA]
    assert colours[9] == STATUS_COLOURS[Status.READ_FAILED]
    assert colours.count(STATUS_COLOURS[Status.OK]) == 14
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ok: 14", "no data: 1", "read failed: 1"]
    assert axes.get_title() == "grids: status of 16 items"


def test_places_far_apart_are_dots_in_degrees(tmp_path):
    items = [Item(k, PointBuffer(lon=-120.0 + 30 * k, lat=10.0, buffer_m=300), YEAR) for k in range(8)]
    far = Store.create(tmp_path / "s", items=items, models=[POOLED], request={}, chunk_items=8)
    far.write_chunk(0, "galileo", make_result(far, POOLED, 0))
    axes = pca_rgb(far, "galileo")
    (dots,) = axes.collections
    assert isinstance(dots, PathCollection)
    np.testing.assert_allclose(dots.get_offsets()[:, 0], -120.0 + 30 * np.arange(8), atol=1e-3)
    assert axes.get_aspect() == pytest.approx(1 / np.cos(np.radians(10)), rel=1e-3)


def scene(crs="EPSG:32631"):
    import rioxarray  # noqa: F401  it adds .rio

    x = np.arange(500_000 - 310, 500_000 + 2240, 20.0)
    y = np.arange(5_600_000 + 310, 5_600_000 - 2240, -20.0)
    values = np.tile(np.linspace(0, 3000, len(x)), (2, 4, len(y), 1))
    values[1] += 100
    values[0, :, 5, 5] = np.nan
    bands = ["blue", "green", "red", "nir"]
    array = xr.DataArray(values, dims=("time", "band", "y", "x"), coords={"x": x, "y": y, "band": bands})
    return array.rio.write_crs(crs)


def test_a_scene_is_stretched_and_placed():
    made = SceneImage.of(scene())
    assert made.crs == "EPSG:32631"
    assert made.extent == (499_680, 502_240, 5_597_760, 5_600_320)
    assert made.image.shape == (128, 128, 3)
    assert made.image.min() == 0
    assert made.image.max() == 1
    np.testing.assert_allclose(made.image[5, 5], made.image[6, 5], atol=0.05)


def test_a_scene_without_data_is_empty():
    assert np.isnan(SceneImage.of(scene() * np.nan).image).all()


def test_the_overview_lays_three_panels_over_the_same_ground(store, tmp_path):
    figure = overview(store, "grids", scene=scene())
    assert len(figure.axes) == 3
    assert {axes.get_xlim() for axes in figure.axes} == {(499_680.0, 502_240.0)}
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["the scene", "grids", "grids"]
    figure.savefig(tmp_path / "run.png", dpi=60)
    picture = imread(tmp_path / "run.png")  # its bytes differ between processors, its colours do not
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 200


def test_the_overview_without_a_scene_has_two_panels(store):
    figure = overview(store)
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["vectors", "vectors"]


def test_what_cannot_be_drawn_says_why(tmp_path, store, monkeypatch):
    empty = Store.create(tmp_path / "s", items=make_items(2), models=[POOLED], request={}, chunk_items=2)
    with pytest.raises(SpecError, match="none of 2 is complete"):
        pca_rgb(empty, "galileo")
    with pytest.raises(SpecError, match="no CRS"):
        SceneImage.of(xr.DataArray(np.zeros((3, 2, 2)), dims=("band", "y", "x")))
    with pytest.raises(SpecError, match="lacks these bands"):
        SceneImage.of(scene(), bands=("red", "green", "swir16"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RsEmbedError, match="matplotlib is not installed") as caught:
        status_map(store)
    assert "rs-embed-dask[plot]" in caught.value.fix
