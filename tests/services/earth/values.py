"""What the emulator computes with: images whose pixels come when they are asked for, and collections of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine


class EarthError(Exception):
    """A request that Earth Engine would refuse."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Place:
    """The pixels of one request."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]

    @cached_property
    def centres(self):
        a, _, c, _, e, f = self.transform
        rows, cols = np.indices(self.shape)
        return c + a * (cols + 0.5), f + e * (rows + 0.5)

    def shifted(self, rows, columns):
        """Return the pixels so many rows and columns away."""
        return Place(self.crs, tuple(Affine(*self.transform) * Affine.translation(columns, rows))[:6], self.shape)

    def moved(self, source, target):
        """Return the pixels of one projection that have the columns and rows that these have in another."""
        if target.crs != self.crs:
            raise EarthError("emulator: pixels moved to another projection than the request's are not emulated")
        here = Affine(*source.transform) * ~Affine(*target.transform) * Affine(*self.transform)
        return Place(source.crs, tuple(here)[:6], self.shape)


@dataclass(frozen=True)
class Projection:
    """A reference system with pixels."""

    crs: str
    transform: tuple[float, ...]


class Band:
    """One band: a name, a NumPy type, and a function that makes values and mask once."""

    def __init__(self, name: str, dtype: Any, make: Callable[[], tuple[np.ndarray, np.ndarray]], beside: Any = None):
        self.name, self.dtype, self._make = name, np.dtype(dtype), make
        self.beside = beside  # of a stored band: its pixels so many rows and columns away

    @cached_property
    def pixels(self):
        return self._make()

    def named(self, name):
        return Band(name, self.dtype, lambda: self.pixels, self.beside)


@dataclass(frozen=True, eq=False)
class Image:
    bands: tuple[Band, ...] = ()
    properties: dict = field(default_factory=dict)
    scene: Any = None

    def band(self, name):
        for band in self.bands:
            if band.name == name:
                return band
        known = ", ".join(band.name for band in self.bands)
        raise EarthError(f"Image.select: Band pattern '{name}' did not match any bands. Available bands: [{known}]")

    def having(self, **properties):
        return replace(self, properties={**self.properties, **properties})

    def info(self):
        bands = [
            {
                "id": band.name,
                "data_type": kind_of(band.dtype),
                "crs": "EPSG:4326",
                "crs_transform": [1, 0, 0, 0, 1, 0],
            }
            for band in self.bands
        ]
        return {"type": "Image", "bands": bands, "properties": dict(self.properties)}


def kind_of(dtype):
    if dtype.kind == "f":
        return {"type": "PixelType", "precision": "float" if dtype.itemsize == 4 else "double"}
    limits = np.iinfo(dtype)
    return {"type": "PixelType", "precision": "int", "min": int(limits.min), "max": int(limits.max)}


def union(one, other):
    """The type that holds both, as an image of both would have it: floats beat integers whatever their size."""
    floats = [kind for kind in (one, other) if kind.kind == "f"]
    return max(floats, key=lambda kind: kind.itemsize) if floats else np.promote_types(one, other)


@dataclass(frozen=True, eq=False)
class Collection:
    images: tuple[Image, ...]

    def info(self):
        return {"type": "ImageCollection", "features": [image.info() for image in self.images]}


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in some projection; None of it is geodesic."""

    crs: str
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class Span:
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Reducer:
    name: str
    count: int = 1
    repeated: bool = False


def plain(value):
    """Turn a value into the JSON that an answer carries."""
    if hasattr(value, "info"):
        return value.info()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
