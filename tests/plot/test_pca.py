from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA

from rs_embed_dask.errors import SpecError
from rs_embed_dask.plot import fit_pca, pseudo_rgb
from rs_embed_dask.store import open_store
from tests.store.samples import GRID, POOLED, fill_store, make_result, make_store


def cloud(count=500, dim=20, seed=0):
    rng = np.random.default_rng(seed)
    scales = 2.0 ** -np.arange(dim)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return (rng.standard_normal((count, dim)) * scales) @ turn + 5


@pytest.mark.parametrize("count", [500, 12])
def test_it_agrees_with_scikit_learn(count):
    vectors = cloud(count)
    ours, theirs = fit_pca(vectors), PCA(3).fit(vectors)
    np.testing.assert_allclose(ours.mean, theirs.mean_)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(ours.axes), np.abs(theirs.components_), atol=1e-7)
    np.testing.assert_allclose(np.abs(ours.project(vectors)), np.abs(theirs.transform(vectors)), atol=1e-6)


def test_the_direction_of_an_axis_is_fixed():
    vectors = cloud()
    for axes in (fit_pca(vectors).axes, fit_pca(vectors[::-1]).axes, fit_pca(vectors * 1.0001).axes):
        largest = axes[np.arange(3), np.abs(axes).argmax(axis=1)]
        assert (largest > 0).all()
    np.testing.assert_allclose(fit_pca(vectors).axes, fit_pca(vectors[::-1]).axes, atol=1e-9)


def test_a_colour_does_not_depend_on_its_neighbours():
    vectors = cloud()
    pca = fit_pca(vectors)
    np.testing.assert_allclose(pca.colours(vectors)[7], pca.colours(vectors[7]), rtol=1e-6)
    np.testing.assert_allclose(
        pca.colours(vectors.reshape(50, 10, 20)).reshape(500, 3), pca.colours(vectors), rtol=1e-6
    )


def test_colours_span_the_range_of_the_middle_vectors():
    colours = fit_pca(cloud(), percentiles=(10, 90)).colours(cloud())
    assert colours.dtype == np.float32
    assert colours.min() == 0
    assert colours.max() == 1
    np.testing.assert_allclose((colours == 0).mean(axis=0), 0.1, atol=0.01)
    np.testing.assert_allclose((colours == 1).mean(axis=0), 0.1, atol=0.01)


def test_missing_vectors_have_no_colour_and_no_say():
    vectors = cloud()
    holed = np.concatenate([vectors, np.full((40, 20), np.nan), vectors[:1]])
    holed[-1, 3] = np.nan
    pca = fit_pca(holed)
    np.testing.assert_allclose(pca.axes, fit_pca(vectors).axes)
    colours = pca.colours(holed)
    assert np.isnan(colours[500:]).all()
    assert not np.isnan(colours[:500]).any()


def test_directions_that_are_not_there_are_the_middle_grey():
    line = np.outer(np.linspace(-1, 1, 11), [3.0, 4.0, 0.0, 0.0])
    pca = fit_pca(line, percentiles=(0, 100))
    np.testing.assert_allclose(pca.axes[0], [0.6, 0.8, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pca.explained, [1, 0, 0])
    colours = pca.colours(line)
    np.testing.assert_allclose(colours[:, 0], np.linspace(0, 1, 11), atol=1e-6)
    assert (colours[:, 1:] == 0.5).all()


@pytest.mark.parametrize("vectors", [np.ones((5, 4)), np.ones((1, 4)), np.zeros((3, 2))])
def test_vectors_that_do_not_differ_are_grey(vectors):
    assert (fit_pca(vectors).colours(vectors) == 0.5).all()


def test_many_vectors_are_thinned_evenly():
    vectors = np.repeat(cloud(100, 4), 2000, axis=0)
    np.testing.assert_allclose(fit_pca(vectors).mean, vectors.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: fit_pca(np.full((3, 2), np.nan)), "none of 3 is complete"),
        (lambda: fit_pca(np.zeros(4)), "vectors are needed"),
        (lambda: fit_pca(cloud(), percentiles=(98, 2)), "ascend"),
        (lambda: fit_pca(cloud(), n_components=0), "at least one component"),
        (lambda: fit_pca(cloud()).project(np.zeros((2, 3))), "vectors of 20 dimensions"),
        (lambda: pseudo_rgb(xr.DataArray(np.zeros((2, 3)), dims=("item", "band"))), "no dimension 'dim'"),
        (lambda: pseudo_rgb(np.zeros((2, 3))), "no dimension 'dim'"),
    ],
)
def test_what_makes_no_sense_is_refused(call, reason):
    with pytest.raises(SpecError, match=reason) as caught:
        call()
    assert caught.value.fix


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp("pca") / "s", 12)
    fill_store(store)
    for layout in (POOLED, GRID):
        store.write_chunk(0, layout.label, make_result(store, layout, 0, offsets=[1], status=3))
    return open_store(store.target)


def test_pooled_vectors_of_a_store_get_a_colour_an_item(tree):
    colours = pseudo_rgb(tree["galileo/embedding"])
    assert colours.dims == ("item", "rgb")
    assert colours.chunks is not None
    values = colours.values
    assert np.isnan(values[1]).all()
    assert values[0, 0] == 0
    assert values[11, 0] == 1
    assert colours.coords["rgb"].values.tolist() == ["r", "g", "b"]
    assert "lon" in colours.coords


def test_grids_of_a_store_share_one_scale(tree):
    grids = tree["rcf/embedding"]
    colours = pseudo_rgb(grids)
    assert colours.dims == ("item", "y", "x", "rgb")
    values = colours.values
    assert np.isnan(values[3, 3:]).all(), "the padding has no colour"
    assert np.isnan(values[1]).all()
    means = np.nanmean(values[[0, *range(2, 12)], ..., 0], axis=(1, 2))
    assert (np.diff(means) >= 0).all()
    assert means[-1] == 1
    one = pseudo_rgb(grids.isel(item=4), pca=fit_pca(grids.transpose(..., "dim").values))
    assert one.dims == ("y", "x", "rgb")
    np.testing.assert_allclose(one.values, values[4], rtol=1e-6)


def test_two_stores_can_share_a_fit():
    first, second = (xr.DataArray(cloud(seed=seed), dims=("item", "dim")) for seed in (1, 2))
    pca = fit_pca(first.values)
    np.testing.assert_array_equal(pseudo_rgb(second, pca=pca).values, pca.colours(second.values))


def test_few_long_vectors_give_axes_that_are_square_to_each_other():
    scales = np.array([1.0, 1e-4, 1e-6])
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((600, 3)))
    vectors = (np.random.default_rng(3).standard_normal((40, 3)) * scales) @ turn.T
    pca = fit_pca(vectors)
    np.testing.assert_allclose(pca.axes @ pca.axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(pca.axes[:2] * PCA(2).fit(vectors).components_, axis=1)), 1, atol=1e-6)


def test_fields_of_one_place_have_colours_too():
    field = xr.DataArray(cloud(30).reshape(5, 6, 20), dims=("y", "x", "dim")).transpose("dim", "y", "x")
    colours = pseudo_rgb(field)
    assert colours.dims == ("y", "x", "rgb")
    np.testing.assert_allclose(colours.values, fit_pca(cloud(30)).colours(cloud(30)).reshape(5, 6, 3), rtol=1e-5)
