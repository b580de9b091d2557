"""Probes whose labels are known functions of the vectors, and the maps that they make."""

from __future__ import annotations

import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

import rs_embed_dask as rs
from rs_embed_dask.errors import RsEmbedError, SpecError, StoreError, StoreMismatchError, UnknownNameError
from rs_embed_dask.store import ModelLayout, Status
from tests.analysis.samples import FLOAT, random_map, write_run
from tests.store.samples import make_items

WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("probe")


@pytest.fixture(scope="module")
def mapped(folder):
    path = str(folder / "map.zarr")
    random_map(path, layouts=(FLOAT,))
    return path


@pytest.fixture(scope="module")
def run(folder):
    vectors = (100 * np.random.default_rng(1).normal(size=(60, 6))).astype("float32")
    vectors[7] = np.nan
    write_run(folder / "run.zarr", vectors, make_items(60), ModelLayout("float", dim=6))
    return str(folder / "run.zarr"), vectors.astype("float64")


@pytest.fixture(scope="module")
def kinds(run):
    """A value and a class of each item that its vector decides."""
    path, vectors = run
    value = pd.Series(vectors @ WEIGHTS + 5, index=[f"place-{row}" for row in range(60)], name="yield")
    sides = pd.Series(np.where(vectors[:, 0] > 0, "right", "left"), index=value.index, name="side")
    sides.iloc[11] = None
    return rs.probe(path, value), rs.probe(path, sides, kind="logistic"), value, sides


@pytest.fixture(scope="module")
def sides(kinds, mapped, folder):
    return kinds[1].predict(mapped, str(folder / "sides.zarr"))


def test_a_linear_relation_is_found_and_is_certain(kinds, run):
    probe, _, value, _ = kinds
    assert repr(probe) == "Probe(yield: values from float, ridge, 59 labelled vectors)"
    table = probe.predict(run[0])
    there = np.arange(60) != 7
    np.testing.assert_allclose(table["yield"][there], value[there], rtol=1e-3, atol=1e-1)
    assert table["uncertainty"][there].max() < 1e-2 * value.std()
    assert table.iloc[7][["yield", "uncertainty"]].isna().all()
    assert table.index.names == ["id", "span"]


def test_the_uncertainty_of_a_ridge_is_the_error_of_new_places(run):
    path, vectors = run
    noise = np.random.default_rng(5).normal(scale=40, size=60)
    probe = rs.probe(path, (vectors @ WEIGHTS + noise).tolist())
    new = 100 * np.random.default_rng(6).normal(size=(4000, 6))
    seen = probe.bands(new)
    error = seen[:, 0] - (new @ WEIGHTS + np.random.default_rng(7).normal(scale=40, size=4000))
    assert 0.8 < (error / seen[:, 1]).std() < 1.2
    assert probe.bands(30 * new)[:, 1].mean() > 2 * seen[:, 1].mean()  # far from what it was fitted to


def test_a_map_is_predicted_token_by_token_with_missing_ones_left_out(kinds, mapped, folder):
    probe = kinds[0]
    made = probe.predict(mapped, str(folder / "yield.zarr"))
    for group in ("utm31", "utm32"):
        vectors = rs.open_map(mapped)["float"][group].embedding.to_numpy()[0].astype("float64")
        values = made["probe"][group].embedding.to_numpy()[0]
        np.testing.assert_allclose(values[0], np.einsum("d,dyx->yx", WEIGHTS, vectors) + 5, rtol=1e-3, atol=0.2)
        assert np.array_equal(np.isnan(values[0]), np.isnan(vectors).any(axis=0))
        for name in ("x", "y", "coverage", "valid_fraction"):
            np.testing.assert_array_equal(made["probe"][group][name], rs.open_map(mapped)["float"][group][name])
    assert rs.status(str(folder / "yield.zarr")).counts == {"probe": {Status.OK: 6}}
    facts = made["probe"].attrs["model"]["derived"]
    assert facts["bands"] == ["yield", "uncertainty"]
    assert facts["labelled"] == 59


def test_classes_have_names_and_one_less_their_probability(sides, mapped):
    for group in ("utm31", "utm32"):
        vectors = rs.open_map(mapped)["float"][group].embedding.to_numpy()[0]
        number, doubt = sides["probe"][group].embedding.to_numpy()[0]
        sure = np.abs(vectors[0]) > 20
        np.testing.assert_array_equal(number[sure], (vectors[0] > 0)[sure])
        there = np.isfinite(number)
        assert ((doubt[there] >= 0) & (doubt[there] <= 0.5 + 1e-6)).all()
        assert np.nanmean(doubt[np.abs(vectors[0]) < 5]) > np.nanmean(doubt[sure])


def test_the_same_call_goes_on_and_another_is_refused(kinds, mapped, folder, sides):
    path = folder / "sides.zarr"
    before = {one: one.stat().st_mtime_ns for one in path.rglob("*") if one.is_file() and "embedding" in str(one)}
    status = next(one for one in (path / "probe" / "utm31" / "status" / "c").rglob("*") if one.is_file())
    status.unlink()
    kinds[1].predict(mapped, str(path))
    after = {one: one.stat().st_mtime_ns for one in before}
    assert sum(after[one] != before[one] for one in before) == 1
    assert rs.verify(str(path)).is_sound
    with pytest.raises(StoreMismatchError, match="another request"):
        kinds[0].predict(mapped, str(path))
    with pytest.raises(StoreError, match="it was made of another map"):
        rs.resume(str(path))


def test_a_cluster_makes_the_same_map(kinds, mapped, folder, sides, client):
    other = kinds[1].predict(mapped, str(folder / "again.zarr"), client=client)
    for group in ("utm31", "utm32"):
        np.testing.assert_array_equal(other["probe"][group].embedding, sides["probe"][group].embedding)


def test_a_cog_has_the_classes_with_their_names_and_colours(sides, folder):
    files = rs.to_cog(sides, folder / "cogs", group="utm31")
    assert cog_validate(files[0], strict=True)[0]
    number = sides["probe"]["utm31"].embedding.to_numpy()[0, 0]
    with rasterio.open(files[0]) as image:
        assert (image.count, image.dtypes[0], image.nodata) == (1, "uint8", 0)
        np.testing.assert_array_equal(image.read(1), np.where(np.isfinite(number), number + 1, 0))
        assert image.tags()["CLASSES"] == '["left", "right"]'
        colours = sides["probe"].attrs["model"]["derived"]["colours"]
        assert [list(image.colormap(1)[1 + at][:3]) for at in range(2)] == colours
    (file,) = rs.to_cog(sides, folder / "both.tif", "all", group="utm31")
    with rasterio.open(file) as image:
        assert image.descriptions == ("class", "uncertainty")


def test_a_picture_has_the_colours_of_the_classes_and_a_legend(sides, folder):
    axes = rs.plot.map(sides)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["left", "right"]
    (image,) = axes.images
    drawn = {tuple(one[:3]) for one in image.get_array().reshape(-1, 4).tolist() if one[3]}
    colours = np.array(sides["probe"].attrs["model"]["derived"]["colours"])
    assert all(np.abs(colours - np.array(one)).max(axis=1).min() <= 1 for one in drawn)
    assert "class, by probe" in axes.get_xlabel()
    values = rs.plot.map(rs.open_map(str(folder / "yield.zarr")))
    assert values.figure.axes[-1].get_ylabel() == "yield"


def test_zones_of_a_map_of_classes_are_shares(sides):
    data = sides["probe"]["utm31"]
    box = gpd.GeoSeries([shapely.box(*data.attrs["spatial:bbox"])], crs=data.attrs["proj:code"])
    number = data.embedding.to_numpy()[0, 0]
    counts = rs.zonal(sides, box, stat="sum")
    assert counts["probe_left"].iloc[0] == (number == 0).sum()
    assert counts["probe_right"].iloc[0] == (number == 1).sum()
    assert rs.zonal(sides, box)["probe_left"].iloc[0] == pytest.approx((number == 0).sum() / np.isfinite(number).sum())


def test_places_on_a_map_have_labels(mapped):
    data = rs.open_map(mapped)["float"]["utm31"].to_dataset().isel(time=0)
    x, y = np.meshgrid(data.x.to_numpy(), data.y.to_numpy())
    vectors = data.embedding.to_numpy().astype("float64")
    value = np.einsum("d,dyx->yx", WEIGHTS, vectors)
    shapes = [shapely.Point(*one) for one in zip(x.ravel(), y.ravel(), strict=True)]
    shapes[0] = shapes[0].buffer(3_000)  # within its token
    frame = gpd.GeoDataFrame(
        {"value": np.nan_to_num(value.ravel(), nan=7), "other": 1}, geometry=shapes, crs="EPSG:32631"
    )
    probe = rs.probe(mapped, frame, model="float", column="value", kind="ridge")
    assert probe.count == np.isfinite(value).sum()
    there = np.isfinite(value)
    np.testing.assert_allclose(probe.bands(vectors[:, there].T)[:, 0], value[there], rtol=1e-3, atol=0.2)
    with pytest.raises(UnknownNameError, match="column"):
        rs.probe(mapped, frame, model="float")


def test_forests_know_values_and_classes(run, kinds):
    path, vectors = run
    forest = rs.probe(path, kinds[3], kind="forest")
    told = forest.predict(path)
    assert (
        told["side"][kinds[3].notna().to_numpy() & (np.arange(60) != 7)] == kinds[3].dropna().drop("place-7").to_numpy()
    ).all()
    values = rs.probe(path, kinds[2], kind="forest").bands(vectors)
    assert np.nanmax(np.abs(values[:, 0] - kinds[2].to_numpy())) < 4 * np.nanmean(values[:, 1])


def test_what_cannot_be_fitted_or_predicted_is_said(run, mapped, kinds, folder, monkeypatch):
    path, _ = run
    with pytest.raises(UnknownNameError, match="labels"):
        rs.probe(path, "crop")
    with pytest.raises(SpecError, match="3 labels for 60 items"):
        rs.probe(path, [1, 2, 3])
    with pytest.raises(SpecError, match="the labels are numbers"):
        rs.probe(path, kinds[2], kind="logistic")
    with pytest.raises(SpecError, match="not two different labels"):
        rs.probe(path, ["a"] * 60)
    with pytest.raises(SpecError, match="a label is infinite"):
        rs.probe(path, [1.0, np.inf] * 30)
    with pytest.raises(SpecError, match="its values are mixed-integer; numbers are regressed"):
        rs.probe(path, [1, "a"] * 30)
    nowhere = gpd.GeoDataFrame({"crop": []}, geometry=[], crs="EPSG:4326")
    with pytest.raises(SpecError, match="0 of 0 have a vector and a label"):
        rs.probe(mapped, nowhere, model="float")
    with pytest.raises(SpecError, match="places on a map are needed"):
        rs.probe(mapped, ["a"], model="float")
    with pytest.raises(SpecError, match="a map is written to a store"):
        kinds[0].predict(mapped)
    with pytest.raises(SpecError, match="vectors of 6 numbers"):
        kinds[0].bands(np.ones((2, 5)))
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    with pytest.raises(RsEmbedError, match="scikit-learn is not installed"):
        rs.probe(path, kinds[2])
