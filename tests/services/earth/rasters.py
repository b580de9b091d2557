"""Rasters that the emulator serves: patterns whose every number follows from a formula, and arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyproj


@lru_cache(maxsize=256)
def transformer(source, target):
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def moved(source, target, x, y):
    """Transform coordinates; the same projection gives them back to the bit."""
    return (x, y) if source == target else transformer(source, target).transform(x, y)


def hashed(seed, columns, rows):
    """A number below 2^31 for each pixel of an endless lattice, with no visible order."""
    mixed = np.asarray(columns, np.int64) * 7_368_787 + np.asarray(rows, np.int64) * 4_256_249 + seed * 9_176_263
    mixed ^= mixed >> 11
    mixed = (mixed * 2_246_822_519) & 0x7FFFFFFF
    return (mixed ^ (mixed >> 13)) & 0x7FFFFFFF


@dataclass(frozen=True)
class Pattern:
    """Numbers low .. high over a global lattice, divided by `divisor`; every `holes`-th of them is masked."""

    seed: int
    low: int = 1
    high: int = 9000
    divisor: int = 1
    choices: tuple[int, ...] = ()
    holes: int = 0

    def __call__(self, columns, rows):
        number = hashed(self.seed, columns, rows)
        if self.choices:
            return np.asarray(self.choices)[number % len(self.choices)]
        whole = self.low + number % (self.high - self.low + 1)
        return whole if self.divisor == 1 else whole / self.divisor

    def masked(self, columns, rows):
        """Tell which pixels have no number."""
        if not self.holes:
            return np.zeros(np.broadcast_shapes(np.shape(columns), np.shape(rows)), bool)
        return hashed(self.seed + 77, columns, rows) % self.holes == 0


@dataclass(frozen=True, eq=False)
class Raster:
    """One band of a scene.

    `numbers` is a `Pattern` (columns and rows counted from the projection's origin, so that neighbouring tiles agree)
    or an array. A positive step in y is allowed: row 0 is then the southernmost.
    """

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    numbers: object = field(repr=False)
    dtype: str = "<u2"
    nodata: float | None = None

    @property
    def bounds(self):
        a, _, c, _, e, f = self.transform
        far = (c + a * self.shape[1], f + e * self.shape[0])
        return min(c, far[0]), min(f, far[1]), max(c, far[0]), max(f, far[1])

    def at(self, crs, x, y):
        """Return numbers and validity of the pixels that hold some points: nearest neighbours."""
        a, _, c, _, e, f = self.transform
        px, py = moved(crs, self.crs, x, y)
        columns, rows = np.floor((px - c) / a).astype(np.int64), np.floor((py - f) / e).astype(np.int64)
        inside = (columns >= 0) & (columns < self.shape[1]) & (rows >= 0) & (rows < self.shape[0])
        columns, rows = np.clip(columns, 0, self.shape[1] - 1), np.clip(rows, 0, self.shape[0] - 1)
        if isinstance(self.numbers, Pattern):
            columns, rows = columns + round(c / a), rows + round(f / e)
            values, inside = self.numbers(columns, rows), inside & ~self.numbers.masked(columns, rows)
        else:
            values = self.numbers[rows, columns]
        if self.nodata is not None:
            inside = inside & (values != self.nodata)
        return values.astype(self.dtype), inside

    def touches(self, crs, bounds):
        """Tell whether it meets a rectangle of any projection, by the rectangle's outline."""
        left, bottom, right, top = bounds
        along = np.linspace(0, 1, 9)
        xs = np.concatenate([left + (right - left) * along] * 2 + [np.full(9, left), np.full(9, right)])
        ys = np.concatenate([np.full(9, bottom), np.full(9, top)] + [bottom + (top - bottom) * along] * 2)
        x, y = moved(crs, self.crs, xs, ys)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return False
        west, south, east, north = self.bounds
        return x.min() < east and x.max() > west and y.min() < north and y.max() > south


@dataclass(frozen=True)
class Scene:
    """One image of a collection."""

    collection: str
    index: str
    time_ms: int
    bands: dict = field(repr=False)
    properties: dict = field(default_factory=dict)

    @property
    def all_properties(self):
        return {"system:index": self.index, "system:time_start": self.time_ms, **self.properties}

    def touches(self, crs, bounds):
        return next(iter(self.bands.values())).touches(crs, bounds)
