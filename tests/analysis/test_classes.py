"""Classes that are found: known groups of vectors come apart, and neighbouring maps agree."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import RsEmbedError, SpecError, StoreError
from tests.analysis.samples import CODES, FLOAT, ZONES, random_map
from tests.store.map_samples import square

GROUPS = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0.9, 0.4, 0, 0, 0], [0, 0, 0, 0, 0, 1]], "float32")


def grouped(shift):
    """Vectors near one of four directions, of any length; which one, a token's place decides."""

    def make(layout, key):
        random = np.random.default_rng([key.row, key.col, shift])
        which = (np.arange(layout.block)[:, None] + np.arange(layout.block) + shift) % 5 % 4
        vectors = GROUPS[which] + random.normal(scale=0.01, size=(*which.shape, 6))
        vectors = vectors * random.uniform(0.5, 20, which.shape)[..., None]
        vectors[1, 1] = np.nan
        return np.moveaxis(vectors, -1, 0).astype("float32"), None

    return make


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    for shift, name in enumerate(("west", "east")):
        path = folder / f"{name}.zarr"
        random_map(path, layouts=(FLOAT,), blocks=square(82, 10 + 2 * shift), make=grouped(shift))
    return folder


@pytest.fixture(scope="module")
def west(pair):
    return rs.classes(str(pair / "west.zarr"), str(pair / "west-classes.zarr"), k=4)


def numbers(tree, label="classes"):
    return np.concatenate([tree[label][group].embedding.to_numpy()[0, 0].ravel() for group in ZONES])


def groups(path):
    vectors = np.concatenate(
        [np.moveaxis(rs.open_map(path)["float"][one].embedding.to_numpy()[0], 0, -1).reshape(-1, 6) for one in ZONES]
    )
    there = np.isfinite(vectors).all(axis=1)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(there, np.argmax(units @ (GROUPS / np.linalg.norm(GROUPS, axis=1, keepdims=True)).T, axis=1), -1)


def test_groups_come_apart_with_the_most_frequent_first(pair, west):
    found, known = numbers(west), groups(str(pair / "west.zarr"))
    pairs = {(int(a), int(b)) for a, b in zip(known, np.nan_to_num(found, nan=-1), strict=True)}
    assert len(pairs) == 5
    assert (-1, -1) in pairs
    sizes = np.bincount(found[np.isfinite(found)].astype(int))
    assert sizes[0] == sizes.max()
    doubt = west["classes"]["utm31"].embedding.to_numpy()[0, 1]
    assert np.nanmax(doubt) < 0.2


def test_alike_classes_have_alike_colours(west):
    facts = west["classes"].attrs["model"]["derived"]
    middles, colours = np.array(facts["middles"]), np.array(facts["colours"], float)
    apart = np.linalg.norm(middles[:, None] - middles, axis=2) + 9 * np.eye(4)
    shown = np.linalg.norm(colours[:, None] - colours, axis=2) + 999 * np.eye(4)
    assert divmod(apart.argmin(), 4) == divmod(shown.argmin(), 4)


def test_a_neighbouring_map_has_the_same_classes_and_colours(pair, west):
    east = rs.classes(str(pair / "east.zarr"), str(pair / "east-classes.zarr"), like=str(pair / "west-classes.zarr"))
    facts = [tree["classes"].attrs["model"]["derived"] for tree in (west, east)]
    assert facts[0] == facts[1]
    to_number = dict(zip(groups(str(pair / "west.zarr")).tolist(), numbers(west).tolist(), strict=True))
    known = groups(str(pair / "east.zarr"))
    there = known >= 0
    np.testing.assert_array_equal(numbers(east)[there], [to_number[one] for one in known[there].tolist()])
    rs.classes(str(pair / "west.zarr"), str(pair / "west-classes.zarr"), k=4)  # the same again, nothing to do


def test_what_has_no_classes_is_said(pair, tmp_path, monkeypatch):
    out = str(tmp_path / "out.zarr")
    with pytest.raises(SpecError, match="different vectors"):
        rs.classes(str(pair / "west.zarr"), out, k=200)
    with pytest.raises(SpecError, match="no map of classes that were found"):
        rs.classes(str(pair / "west.zarr"), out, like=str(pair / "east.zarr"))
    random_map(tmp_path / "two.zarr", layouts=(FLOAT, CODES), blocks=square(82, 10, 1, 2))
    with pytest.raises(StoreError, match="2 models"):
        rs.classes(str(tmp_path / "two.zarr"), out)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(RsEmbedError, match="scikit-learn is not installed"):
        rs.classes(str(pair / "west.zarr"), out)
    assert not (tmp_path / "out.zarr").exists()
