from __future__ import annotations

import struct

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.plot import SceneImage, compare, fit_pca
from rs_embed_dask.specs import BBox, PointBuffer, TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Status, Store, item_grid

LEFT, BOTTOM, SIDE_M, CRS = 622_000.0, 5_619_000.0, 2240.0, "EPSG:32631"
EXTENT = (LEFT, LEFT + SIDE_M, BOTTOM, BOTTOM + SIDE_M)
PLACE = BBox(LEFT, BOTTOM, LEFT + SIDE_M, BOTTOM + SIDE_M, crs=CRS)
SCENE = SceneImage(np.zeros((4, 4, 3)), EXTENT, CRS)
COUNTS = {"fine": 14, "coarse": 7}


def write(store, label, embedding, *, cell_m=None, status=Status.OK, reason=""):
    result = ChunkResult(
        rows=np.array([0]),
        status=np.array([int(status)]),
        embedding=[embedding],
        reason=[reason],
        transform=None if cell_m is None else np.array([[cell_m, 0, LEFT, 0, -cell_m, BOTTOM + SIDE_M]]),
        crs=None if cell_m is None else [CRS],
    )
    store.write_chunk(0, label, result)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One place with a fine grid, a coarse one by random weights, a vector, and a model that failed."""
    layouts = [ModelLayout(label, 5, (count, count)) for label, count in COUNTS.items()]
    layouts += [ModelLayout("vector", 5), ModelLayout("broken", 5, (2, 2))]
    made = Store.create(
        tmp_path_factory.mktemp("compare") / "run.zarr",
        items=[Item(0, PLACE, TemporalSpec.year(2022))],
        models=layouts,
        request={},
        chunk_items=1,
    )
    for label, count in COUNTS.items():
        grid = np.random.default_rng(count).standard_normal((5, count, count)).astype("float32")
        write(made, label, grid, cell_m=SIDE_M / count)
    write(made, "vector", np.arange(5.0))
    write(made, "broken", None, status=Status.MODEL_FAILED, reason="out of memory")
    made.update_receipt(weights={"fine": {"random": False}, "coarse": {"random": True}})
    return made


def titles(figure):
    return [panel.get_title(loc="left") for panel in figure.axes]


def notes(figure):
    return [panel.texts[0].get_text() for panel in figure.axes]


def corners(panel):
    (mesh,) = (one for one in panel.collections if isinstance(one, QuadMesh))
    return mesh.get_coordinates()


def test_every_model_lies_over_the_scene(store):
    figure = compare(store, ["fine", "coarse"], scene=SCENE, title="Two models")
    assert titles(figure) == ["the scene", "fine", "coarse"]
    assert {(*panel.get_xlim(), *panel.get_ylim()) for panel in figure.axes} == {EXTENT}
    assert {panel.get_aspect() for panel in figure.axes} == {1}
    for panel, count in zip(figure.axes[1:], COUNTS.values(), strict=True):
        found = corners(panel)
        assert found.shape == (count + 1, count + 1, 2)
        np.testing.assert_allclose(found[0, 0], (LEFT, BOTTOM + SIDE_M), atol=0.01)
        np.testing.assert_allclose(found[-1, -1], (LEFT + SIDE_M, BOTTOM), atol=0.01)


def test_each_model_has_its_own_colours(store):
    (fine,) = compare(store, ["fine"]).axes
    vectors = np.moveaxis(store.values("fine", "embedding")[0], 0, -1)
    drawn = np.asarray(fine.collections[0].get_array()).reshape(14, 14, 4)
    np.testing.assert_allclose(drawn[..., :3], fit_pca(vectors).colours(vectors), atol=1e-6)


def test_cells_are_told_in_metres(store):
    figure = compare(store, scene=SCENE)
    assert titles(figure) == ["the scene", "fine", "coarse", "vector", "broken"]
    found = notes(figure)
    assert found[1].startswith("14 × 14 cells of 160 m, ")
    assert found[2].startswith("7 × 7 cells of 320 m, ")
    assert found[3].startswith("one vector, ")
    vectors = np.moveaxis(store.values("coarse", "embedding")[0], 0, -1)
    assert found[2].endswith(f"{fit_pca(vectors).explained.sum():.0%} of variance")


def test_a_model_that_failed_says_why(store):
    broken = compare(store, ["broken"], scene=SCENE).axes[1]
    assert [text.get_text() for text in broken.texts][-1] == "out of memory"
    assert not broken.collections


def test_random_weights_are_named(store):
    assert compare(store, ["fine"], title="One").get_suptitle() == "One"
    assert compare(store, ["fine"]).get_suptitle() == ""
    assert "Random weights (coarse)" in compare(store, ["fine", "coarse"]).get_suptitle()
    alone = compare(store, ["coarse"], title="One").get_suptitle()
    assert alone.startswith("One\nRandom weights, nothing trained")


def test_kilometres_stand_at_the_outer_axes(store):
    figure = compare(store, ["fine", "coarse", "vector"], scene=SCENE, columns=2)
    assert [panel.get_subplotspec().is_first_col() for panel in figure.axes] == [True, False, True, False]
    np.testing.assert_allclose(figure.axes[2].get_xticks(), [622_000, 623_000, 624_000])
    figure.canvas.draw()
    shown = [[label.get_text() for label in panel.get_xticklabels() if label.get_visible()] for panel in figure.axes]
    assert shown[2:] == [["622", "623", "624"]] * 2
    assert figure.get_supxlabel() == "easting, km (EPSG:32631)"
    assert figure.get_supylabel() == "northing, km (EPSG:32631)"


def test_fields_in_memory_look_as_those_of_a_store(store):
    grids = {label: item_grid(store, label, 0) for label in COUNTS}
    fields = {"fine": grids["fine"], "coarse": Embedding(grids["coarse"], {"weights": {"random": True}})}
    ours, theirs = compare(fields), compare(store, list(COUNTS), scene=SCENE)
    assert titles(ours) == list(COUNTS)
    assert notes(ours) == notes(theirs)[1:]
    assert "Random weights (coarse)" in ours.get_suptitle()
    for one, other in zip(ours.axes, theirs.axes[1:], strict=True):
        np.testing.assert_allclose(corners(one), corners(other), atol=1e-6)
        np.testing.assert_allclose(one.collections[0].get_array(), other.collections[0].get_array(), atol=1e-6)
    assert {(*panel.get_xlim(), *panel.get_ylim()) for panel in ours.axes} == {EXTENT}


def test_a_field_is_placed_by_its_coordinates_where_it_has_no_affine(store):
    bare = item_grid(store, "fine", 0)
    bare.attrs = {}
    found = corners(compare({"fine": bare}).axes[0])
    np.testing.assert_allclose(found[0, 0], (LEFT, BOTTOM + SIDE_M), atol=0.01)
    np.testing.assert_allclose(found[-1, -1], (LEFT + SIDE_M, BOTTOM), atol=0.01)


def test_degrees_are_drawn_in_shape(store):
    panel = compare(store, ["fine"], crs="EPSG:4326").axes[0]
    middle = np.mean(panel.get_ylim())
    assert panel.get_aspect() == pytest.approx(1 / np.cos(np.radians(middle)), rel=1e-6)
    assert 50 < middle < 51.5
    assert panel.figure.get_supxlabel() == "longitude, degrees"


def test_vectors_of_many_places_share_one_view(tmp_path):
    places = [PointBuffer(LEFT + 1000 * k, BOTTOM, buffer_m=400, crs=CRS) for k in range(6)]
    items = [Item(k, place, TemporalSpec.year(2022)) for k, place in enumerate(places)]
    layouts = [ModelLayout("one", 4), ModelLayout("two", 3)]
    made = Store.create(tmp_path / "s", items=items, models=layouts, request={}, chunk_items=6)
    for layout in layouts:
        vectors = np.random.default_rng(layout.dim).standard_normal((6, layout.dim))
        made.write_chunk(0, layout.label, ChunkResult(np.arange(6), np.full(6, int(Status.OK)), list(vectors)))
    figure = compare(made)
    assert [note.partition(",")[0] for note in notes(figure)] == ["6 vectors"] * 2
    (limits,) = {(*panel.get_xlim(), *panel.get_ylim()) for panel in figure.axes}
    assert limits[0] < LEFT - 400
    assert limits[1] > LEFT + 5400


def test_a_notebook_shows_the_figure(store):
    figure = compare(store, ["fine"])
    width, height = figure.get_size_inches()
    for dpi in (100, 50):
        figure.set_dpi(dpi)
        png = figure._repr_png_()
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", png[16:24]) == (int(width * dpi), int(height * dpi))


def test_what_cannot_be_compared_says_why(store):
    with pytest.raises(UnknownNameError, match="fine"):
        compare(store, ["fin"])
    with pytest.raises(SpecError, match="no model is named"):
        compare(store, [])
    with pytest.raises(SpecError, match="not a georeferenced grid"):
        compare({"pooled": Embedding(np.zeros(4))})
    with pytest.raises(SpecError, match="not a georeferenced grid"):
        compare({"nowhere": xr.DataArray(np.zeros((2, 3, 3)), dims=("dim", "y", "x"))})
    with pytest.raises(SpecError, match="columns"):
        compare(store, ["fine"], columns=0)


def test_a_text_in_place_of_a_grid_is_a_blank_panel_that_says_it(store):
    grid = item_grid(store, "fine", 0)
    figure = compare({"away": "its weights are not on this machine: they are restricted", "fine": grid}, scene=SCENE)
    assert titles(figure) == ["the scene", "away", "fine"]
    away = figure.axes[1]
    assert away.texts[-1].get_text() == "its weights are not on this machine:\nthey are restricted"
    assert not away.collections
    assert (*away.get_xlim(), *away.get_ylim()) == EXTENT
    with pytest.raises(SpecError, match=r"none of them has a grid\. Fix: give at least one"):
        compare({"away": "no weights"})
