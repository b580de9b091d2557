"""What the scores of `real_map` are made from: a map as an array, its classes, a probe, and its nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rasterio
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

import rs_embed_dask as rs
from tests.services import real_imagery

LABEL, GROUP, BLOCK = "galileo", "utm29", 64
CLASSES = (4, 5, 6, 7, 8, 9, 10)  # vegetation, bare ground, water, unclassified, clouds
FOLDS, FOLD_TOKENS, FOLDS_PER_ROW = 3, 23, 6
QUERIES, NEIGHBOURS = 2000, 10


@dataclass(frozen=True)
class Field:
    """The tokens of a map that the granule covers wholly."""

    vectors: np.ndarray
    """(rows, columns, dim) of length one."""
    raw: np.ndarray
    """The same as they are."""
    first: tuple[int, int]
    """Row and column of the first token on the lattice."""
    x: np.ndarray
    y: np.ndarray
    window: int
    stride: int

    @property
    def places(self):
        """The position of each token modulo the stride, as one number; (rows, columns)."""
        sides = zip(self.first, self.shape, strict=True)
        rows, cols = ((first + np.arange(size)) % self.stride for first, size in sides)
        return rows[:, None] * self.stride + cols

    @property
    def shape(self):
        return self.raw.shape[:2]


def field_of(path):
    tree = rs.open_map(path)
    group, facts = tree[LABEL][GROUP].isel(time=0), tree[LABEL].attrs["model"]
    whole = (group.valid_fraction == 1).values
    rows, cols = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
    inside = {"y": slice(rows[0], rows[-1] + 1), "x": slice(cols[0], cols[-1] + 1)}
    raw = group.embedding.isel(inside).transpose("y", "x", "dim").values.astype("float32")
    first = tuple(int(group[name][0]) * BLOCK + part[0] for name, part in (("block_row", rows), ("block_column", cols)))
    unit = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
    sides = facts["window"], facts["stride"]
    return Field(unit, raw, first, group.x.values[inside["x"]], group.y.values[inside["y"]], *sides)


def classes(field, data):
    """The most frequent class of the scene in each token, (rows, columns)."""
    with rasterio.open(data / real_imagery.GRANULE / "SCL.tif") as scene:
        values, where = scene.read(1), scene.transform
    token = field.x[1] - field.x[0]
    steps = (np.arange(8) + 0.5) / 8 * token - token / 2
    cols = ((field.x[:, None] + steps - where.c) / where.a).astype(int)  # (columns, 8)
    rows = ((field.y[:, None] + steps - where.f) / where.e).astype(int)  # (rows, 8)
    pixels = values[rows[:, None, :, None], cols[None, :, None, :]].reshape(*field.shape, -1)
    counts = np.stack([(pixels == number).sum(axis=-1) for number in range(12)], axis=-1)
    return counts.argmax(axis=-1)


def probe(field, labels):
    """Balanced accuracy of a linear classifier of the classes, over three folds of squares of the ground."""
    rows, cols = np.indices(field.shape)
    fold = ((rows // FOLD_TOKENS * FOLDS_PER_ROW + cols // FOLD_TOKENS) % FOLDS).ravel()
    x, y = field.raw.reshape(-1, field.raw.shape[-1]), labels.ravel()
    counted, accuracies = np.isin(y, CLASSES), []
    for number in range(FOLDS):
        train, test = counted & (fold != number), counted & (fold == number)
        scale = StandardScaler().fit(x[train])
        guess = RidgeClassifierCV().fit(scale.transform(x[train]), y[train]).predict(scale.transform(x[test]))
        accuracies.append(np.mean([(guess[y[test] == one] == one).mean() for one in np.unique(y[test])]))
    return float(np.mean(accuracies))


def same_place(field):
    """Share of the ten nearest neighbours, more than half a window away, at the same place of their window."""
    x, places = field.vectors.reshape(-1, field.vectors.shape[-1]), field.places.ravel()
    rows, cols = (axis.ravel() for axis in np.indices(field.shape))
    asked = np.random.default_rng(0).choice(len(x), QUERIES, replace=False)
    alike = x[asked] @ x.T
    half = field.window // 2
    near = (np.abs(rows[asked][:, None] - rows) <= half) & (np.abs(cols[asked][:, None] - cols) <= half)
    best = np.argpartition(np.where(near, -np.inf, alike), -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    share = float((places[best] == places[asked][:, None]).mean())
    return share, 1 / field.stride**2


def judged(path, data):
    """What a user of the map would notice."""
    field = field_of(path)
    share, chance = same_place(field)
    return {"probe": probe(field, classes(field, data)), "same_place": share, "chance": chance}
