"""Pictures of maps: every pixel by one token, in its place, with no line where there is none."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask import plot
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.scores import ScoreSums
from rs_embed_dask.maps.windows import Tiling
from rs_embed_dask.plot import region
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.export.colours import basis_of, painted
from rs_embed_dask.store.export.fields import fields_of
from rs_embed_dask.store.export.preview import build_preview
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.plot.ground import GROUND, lattice, make_ground, smooth

TOLD = {
    "positions": {"ground": {"statement": "positions removed: they explain 75 % of the variance"}},
    "weights": {"ground": {"random": True}},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A map on both sides of 6 degrees east."""
    corners = {"utm31": [(5.4, 49.8), (5.98, 50.3)], "utm32": [(6.02, 49.8), (6.6, 50.3)]}
    return make_ground(tmp_path_factory.mktemp("both") / "map.zarr", corners, **TOLD)


def drawn(axes):
    """The image of some axes, its extent, and where the middles of its pixels lie."""
    (image,) = axes.images
    array, (left, right, bottom, top) = np.asarray(image.get_array()), image.get_extent()
    rows, cols = array.shape[:2]
    x = left + (np.arange(cols) + 0.5) * (right - left) / cols
    y = top - (np.arange(rows) + 0.5) * (top - bottom) / rows
    return array, np.meshgrid(x, y)


def test_a_map_of_one_zone_is_its_tokens_cell_by_cell(tmp_path):
    path = make_ground(tmp_path / "m", {"utm31": [(3.0, 50.0), (3.6, 50.2)]})
    axes = plot.map(path)
    array, (x, y) = drawn(axes)
    field = fields_of(open_map(path))[0]
    known = painted(field.read((slice(None), slice(None))), basis_of([field]))
    np.testing.assert_array_equal(np.moveaxis(array, -1, 0)[:3], known)
    assert (array[..., 3] == 255).all()
    np.testing.assert_array_equal(x[0], field.vectors.x)
    np.testing.assert_array_equal(y[:, 0], field.vectors.y)
    assert "positions: nothing is recorded" in axes.get_xlabel()
    assert "EPSG:32631" in axes.get_xlabel()
    assert "Random" not in axes.get_xlabel()


def test_two_zones_meet_without_a_gap_or_a_line(both):
    array, (x, y) = drawn(plot.map(both))
    crs = region._common([(one, one.edge) for one in layers(both)])
    lon, lat = (part.reshape(x.shape) for part in project(crs, WGS84, x.ravel(), y.ravel()))
    # All ground between two parallels from the middle of one zone's part to that of the other's is covered.
    inside = (lon > 5.5) & (lon < 6.5) & (lat > 49.85) & (lat < 50.2)
    assert inside.sum() > 5000
    assert (array[inside][:, 3] == 255).all()
    steps = np.abs(np.diff(array[..., :3].astype(int), axis=1)).max(axis=-1)
    both_in = inside[:, 1:] & inside[:, :-1]
    border = both_in & (np.floor(lon[:, 1:] / 6) != np.floor(lon[:, :-1] / 6))
    assert border.sum() > 60
    # The vectors are smooth, so that a step across the border is one of a token or two, as between other tokens.
    others = steps[both_in & ~border]
    assert steps[border].max() <= 2 * others.max()
    assert steps[border].mean() <= 1.5 * others[others > 0].mean()


def layers(path):
    view = MapStore.open(path)
    return region.layers_of(fields_of(open_map(path)), view, basis=None, most=1200)[0]


def test_ground_at_the_border_has_the_colour_of_its_own_token(both):
    """Where a pixel lies well inside its zone, its token is that zone's own, in the other's half of the picture too."""
    array, (x, y) = drawn(plot.map(both))
    crs = region._common([(one, one.edge) for one in layers(both)])
    lon, lat = project(crs, WGS84, x.ravel(), y.ravel())
    basis = basis_of(fields_of(open_map(both)))
    for group, there in (("utm31", (lon < 5.95) & (lon > 5.5)), ("utm32", (lon > 6.05) & (lon < 6.5))):
        own = lattice(group)
        chosen = np.flatnonzero(there & (lat > 49.85) & (lat < 50.2))[::113]
        for pixel in chosen:
            xy = project(WGS84, own.crs, [lon[pixel]], [lat[pixel]])
            row, col = own.index(xy[0][0], xy[1][0])
            vector = smooth(*own.lonlat(Rect(row, col, row + 1, col + 1)))
            known = painted(vector, basis)[:, 0, 0]
            np.testing.assert_array_equal(array.reshape(-1, 4)[pixel, :3], known)


def test_a_map_across_180_degrees_is_one_picture(tmp_path):
    places = {"utm60": [(179.4, -17.0), (179.98, -16.6)], "utm01": [(-179.98, -17.0), (-179.4, -16.6)]}
    array, (x, y) = drawn(plot.map(make_ground(tmp_path / "m", places)))
    assert x.max() - x.min() < 200_000
    middle = (np.abs(x) < 40_000) & (np.abs(y) < 15_000)
    assert (array[middle][:, 3] == 255).all()


def test_the_caption_says_what_was_done_and_that_weights_are_random(both):
    axes = plot.map(both)
    caption = axes.get_xlabel()
    assert "positions removed: they explain 75 % of the variance" in caption
    assert "Random weights, nothing trained" in caption
    assert "tokens of 2000 m" in caption
    assert axes.get_title(loc="left") == "ground, 2021-01-01 to 2022-01-01"


def test_a_large_map_is_drawn_by_means_from_the_preview_or_the_vectors(both, tmp_path, monkeypatch):
    monkeypatch.setattr(region, "_MOST", 20)
    fresh, _ = drawn(plot.map(open_map(both)))
    axes = plot.map(both)
    np.testing.assert_array_equal(fresh, drawn(axes)[0])
    assert max(fresh.shape) <= 21
    assert "means of 4 × 4 tokens" in axes.get_xlabel()
    monkeypatch.setattr("rs_embed_dask.store.export.preview._SMALLEST", 10)
    path = make_ground(tmp_path / "m", {"utm31": [(3.0, 50.0), (3.6, 50.2)]})
    vectors = drawn(plot.map(open_map(path)))[0]
    build_preview(path)
    np.testing.assert_array_equal(drawn(plot.map(path))[0], vectors)
    MapStore.open(path, "r+").array("ground/preview/utm31/1/rgb")[...] = 7
    assert (drawn(plot.map(path))[0][..., :3] == 7).all(), "the picture is that of the preview's zoom"


def test_one_basis_makes_maps_comparable(both, tmp_path):
    path = make_ground(tmp_path / "m", {"utm31": [(5.4, 49.8), (5.98, 50.3)]})
    shared = plot.map(both, pca=basis_of(fields_of(open_map(both))), group="utm31")
    alone = plot.map(path, pca=basis_of(fields_of(open_map(both))))
    np.testing.assert_array_equal(drawn(shared)[0], drawn(alone)[0])
    assert not np.array_equal(drawn(plot.map(path))[0], drawn(alone)[0])


def test_what_is_not_there_is_refused(both, tmp_path):
    with pytest.raises(UnknownNameError, match="ground"):
        plot.map(both, "sky")
    with pytest.raises(SpecError, match="span"):
        plot.map(both, span=3)
    with pytest.raises(SpecError, match="no maps"):
        plot.map(rs.open_map(both)["ground"])


# ------------------------------------------------------------------------------------------------------------- scores
def scores_of(path):
    """The scores of a stored map, block by block without their neighbours."""
    sums = []
    for field in fields_of(open_map(path)):
        for row, col, window in field.blocks():
            rect = lattice(field.group).rect(row, col)
            sums.append(ScoreSums.of(Tiling(4, 4, GROUND.block, 8), rect, field.read(window)))
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total.scores()


def test_scores_are_drawn_as_they_are(both):
    scores = scores_of(both)
    MapStore.open(both, "r+").update_receipt(scores={"ground": scores.to_dict()})
    figure = plot.map_scores(both)
    seam, lattices, zones, decay = figure.axes
    heights = [bar.get_height() for bar in seam.patches]
    np.testing.assert_allclose(heights[:2], [scores.seam_median, scores.seam_p99])
    assert np.isnan(heights[2:]).all(), "blocks were scored one by one"
    assert [line.get_ydata()[0] for line in seam.lines] == [1]
    np.testing.assert_allclose([bar.get_height() for bar in lattices.patches], [scores.lattice, scores.lattice_chance])
    assert [text.get_text() for text in zones.texts] == ["no ground in two zones"]
    assert not list(zones.get_yticks())
    assert [text.get_text() for text in decay.get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "64"]
    (line,) = decay.lines
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16, 32, 64]
    known = [np.nan if one is None else one for one in scores.decay]
    np.testing.assert_allclose(line.get_ydata(), known)
    said = figure.get_supxlabel()
    assert "positions removed" in said
    assert "Random weights" in said


def test_scores_of_several_models_and_of_none(tmp_path):
    one = {"seam_median": 5.3, "seam_p99": None, "lattice": 0.75, "lattice_chance": 0.01, "decay": [0.9, None]}
    other = one | {"seam_median": 1.0, "zone_mean": 0.99, "zone_least": 0.9, "lattice": 0.001}
    figure = plot.map_scores({"kept": one, "removed": other})
    assert [bar.get_height() for bar in figure.axes[0].patches[:2]] == [5.3, 1.0]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["kept", "removed"]
    assert [bar.get_height() for bar in figure.axes[2].patches][1::2] == [0.99, 0.9]
    assert not figure.axes[2].texts
    make_ground(tmp_path / "m", {"utm31": [(3.0, 50.0)]})
    with pytest.raises(SpecError, match="no scores"):
        plot.map_scores(tmp_path / "m")


def test_pictures_are_found_without_an_import_of_their_own():
    assert rs.plot.map is plot.map
