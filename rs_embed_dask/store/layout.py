"""What is in a store: the items, the shape of each model's results, and what a task brings to be written.

All arrays of a model share their row chunks, so that one writer owns whole Zarr chunks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store.fields import GRID_FIELDS, RESULT_FIELDS, STATUS, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.specs import Spatial, TemporalSpec

__all__ = ["LAYOUT_VERSION", "ChunkResult", "Item", "ModelLayout"]

LAYOUT_VERSION: Final = 1
"""The number of this layout; a store of another number is refused by name."""

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RESERVED: Final = frozenset({"items", "zarr.json", "c"})
_LARGEST_CHUNK: Final = 2**30


@dataclass(frozen=True)
class Item:
    """One row of a store.

    Parameters
    ----------
    index : int
        The row.
    spatial : BBox, PointBuffer or Polygon
        The place.
    temporal : TemporalSpec
        The span.
    id : str, default ""
        The item's own name; the row's number where it is empty.
    """

    index: int
    spatial: Spatial
    temporal: TemporalSpec
    id: str = ""


@dataclass(frozen=True)
class ModelLayout:
    """The shape of one model's results.

    Parameters
    ----------
    label : str
        The model's name in the store: letters, digits, dot, dash, underscore.
    dim : int
        Length of a vector.
    grid_shape : tuple of int, optional
        Rows and columns of the largest token grid of any item; None for pooled vectors.
    frames : int, default 1
        Number of frames (of all modalities together).
    dtype : {"float32", "float16"}, default "float32"
        Type of the stored vectors.
    attrs : dict
        What is known of the model, as JSON: ``card``, ``weights``, ``output`` and, for the conventions, ``model_url``,
        ``source_data``, ``gsd_m``, ``chip_px``, ``frame_sources`` (one name a frame, such as ``"optical"``).

    Raises
    ------
    StoreError
        If the label, a size or the type cannot be stored.
    """

    label: str
    dim: int
    grid_shape: tuple[int, int] | None = None
    frames: int = 1
    dtype: str = "float32"
    attrs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.label) or self.label in _RESERVED:
            fix = "use letters, digits, '.', '-' and '_', and not the name 'items'"
            reason = "it cannot name a group of the store"
            raise StoreError("ModelLayout.label", value=self.label, reason=reason, fix=fix)
        sizes = (self.dim, self.frames, *(self.grid_shape or ()))
        if min(sizes) < 1:
            fix = "check dim, frames and grid_shape"
            raise StoreError("ModelLayout", value=sizes, reason="every size is at least 1", fix=fix)
        if self.dtype not in {"float32", "float16"}:
            reason = "vectors are stored as floats"
            raise StoreError("ModelLayout.dtype", value=self.dtype, reason=reason, fix="use float32 or float16")

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every axis but ``item``."""
        rows, columns = self.grid_shape or (1, 1)
        return {"dim": self.dim, "y": rows, "x": columns, "frame": self.frames, "coefficient": 6, "side": 2}

    @property
    def embedding(self) -> Field:
        """The array of the vectors or grids."""
        dims = ("item", "dim") if self.grid_shape is None else ("item", "dim", "y", "x")
        return Field("embedding", dtype=self.dtype, dims=dims, attrs={"long_name": f"embedding by {self.label}"})

    @property
    def data_fields(self) -> tuple[Field, ...]:
        """The arrays that are written before the status."""
        grid = () if self.grid_shape is None else GRID_FIELDS
        return (self.embedding, *RESULT_FIELDS, *grid)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Every array that a chunk's writer writes, the status last."""
        return (*self.data_fields, STATUS)

    def shape(self, one: Field, rows: int) -> tuple[int, ...]:
        """Shape of an array for a number of rows."""
        return (rows, *(self.sizes[name] for name in one.dims[1:]))

    def check_chunk(self, chunk_items: int) -> None:
        """Refuse chunks that Zarr's codecs and a worker's memory cannot hold.

        Raises
        ------
        StoreError
            If one chunk of vectors is larger than 1 GiB.
        """
        row = int(np.prod(self.shape(self.embedding, 1))) * np.dtype(self.dtype).itemsize
        if row * chunk_items > _LARGEST_CHUNK:
            reason = f"one chunk of {self.label} would be {row * chunk_items / 2**30:.1f} GiB, more than 1 GiB"
            fix = f"use at most {max(1, _LARGEST_CHUNK // row)}"
            raise StoreError("chunk_items", value=chunk_items, reason=reason, fix=fix)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON-ready data."""
        grid = None if self.grid_shape is None else list(self.grid_shape)
        sizes = {"label": self.label, "dim": self.dim, "grid_shape": grid, "frames": self.frames, "dtype": self.dtype}
        return sizes | {"attrs": self.attrs}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelLayout:
        """Read what `to_dict` wrote."""
        grid = data["grid_shape"]
        return cls(
            label=data["label"],
            dim=int(data["dim"]),
            grid_shape=None if grid is None else (int(grid[0]), int(grid[1])),
            frames=int(data["frames"]),
            dtype=data["dtype"],
            attrs=dict(data["attrs"]),
        )


@dataclass
class ChunkResult:
    """What a task brings to be written: some or all rows of one chunk and one model.

    Parameters
    ----------
    rows : numpy.ndarray of int, shape (n,)
        Offsets inside the chunk.
    status : numpy.ndarray of uint8, shape (n,)
        One `Status` a row.
    embedding : numpy.ndarray, shape (n, dim) or (n, dim, h, w), or list of arrays, optional
        Vectors, or token grids no larger than the layout's; a list may hold grids of different shapes and None for
        rows that have no embedding. None where no row has one.
    reason : list of str, optional
        Why, where the status is not `Status.OK`.
    valid_fraction : numpy.ndarray of float, shape (n, frames), optional
    n_obs : numpy.ndarray of int, shape (n,), optional
    first_date, last_date : numpy.ndarray of datetime64[D], shape (n,), optional
    frame_start, frame_end : numpy.ndarray of datetime64[D], shape (n, frames), optional
    transform : numpy.ndarray of float, shape (n, 6), optional
        Affine a, b, c, d, e, f of each item's token grid.
    crs : list of str, optional
    grid_shape : numpy.ndarray of int, shape (n, 2), optional
        Rows and columns of each item's own grid; taken from ``embedding`` where it is left out.
    scenes : list of str, optional
        Ids of the scenes that went in, one a line.
    """

    rows: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]
    embedding: Any = None
    reason: list[str] | None = None
    valid_fraction: np.ndarray[Any, Any] | None = None
    n_obs: np.ndarray[Any, Any] | None = None
    first_date: np.ndarray[Any, Any] | None = None
    last_date: np.ndarray[Any, Any] | None = None
    frame_start: np.ndarray[Any, Any] | None = None
    frame_end: np.ndarray[Any, Any] | None = None
    transform: np.ndarray[Any, Any] | None = None
    crs: list[str] | None = None
    grid_shape: np.ndarray[Any, Any] | None = None
    scenes: list[str] | None = None
