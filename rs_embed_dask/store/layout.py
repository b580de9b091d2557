"""What is in a store: the items, the shape of each model's results, and the rows that a task writes.

All arrays of a model share their row chunks, so that one writer owns whole Zarr chunks.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.specs.positions import PositionTable

__all__ = [
    "CENSUS",
    "CHECKSUM",
    "COORDS",
    "COVERAGE",
    "DONE",
    "EMBEDDED",
    "GRID_FIELDS",
    "ITEM_FIELDS",
    "LAYOUT_VERSION",
    "NO_DAY",
    "POSITIONS",
    "RESULT_FIELDS",
    "RETRYABLE",
    "STATUS",
    "STATUS_COLOURS",
    "UNDONE",
    "ChunkResult",
    "Field",
    "Item",
    "ModelLayout",
    "Status",
]


class Status(IntEnum):
    """The outcome of one item for one model.

    The values are written in every store and never change their meaning.
    """

    PENDING = 0
    """Not decided yet."""
    OK = 1
    """Embedded; a reason names scenes that could not be read and were not missed."""
    PARTIAL = 2
    """Embedded, but a frame or more than 10 % of the pixels was missing."""
    NO_DATA = 3
    """There is no imagery there and then."""
    READ_FAILED = 4
    """The imagery could not be read; `reason` holds the cause."""
    MODEL_FAILED = 5
    """The encoder failed on this item; `reason` holds the cause."""
    INVALID = 6
    """The item can never be embedded; `reason` holds the cause."""

    @property
    def words(self) -> str:
        """The name in plain words: ``read failed``."""
        return self.name.lower().replace("_", " ")


EMBEDDED: Final = frozenset({Status.OK, Status.PARTIAL})
"""Has a vector, so that its chunk is there."""

DONE: Final = frozenset({Status.OK, Status.PARTIAL, Status.NO_DATA, Status.INVALID})
"""Decided for good: nothing is computed again."""

RETRYABLE: Final = frozenset({Status.READ_FAILED, Status.MODEL_FAILED})
"""Failed in a way that another try may fix."""

UNDONE: Final = frozenset({Status.PENDING}) | RETRYABLE
"""What a run computes: everything that is not done."""

STATUS_COLOURS: Final = {
    Status.PENDING: "#c3c9d0",
    Status.OK: "#2b8a5a",
    Status.PARTIAL: "#9bc53d",
    Status.NO_DATA: "#5b8db8",
    Status.READ_FAILED: "#e08e2b",
    Status.MODEL_FAILED: "#c9372c",
    Status.INVALID: "#7b4fa3",
}
"""One colour per status, the same in every picture and report."""


NO_DAY: Final = -(2**31)
"""The stored number of an unknown day."""

_WHOLE: Final = sys.maxsize
_DAYS: Final = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "_FillValue": NO_DAY}


@dataclass(frozen=True)
class Field:
    """One array of a group."""

    name: str
    kind: str = "number"
    dtype: str = "float32"
    dims: tuple[str, ...] = ("item",)
    fill: float = float("nan")
    attrs: Mapping[str, Any] = field(default_factory=dict)
    longest: int = _WHOLE

    @property
    def fill_value(self) -> float | int | str:
        """The Zarr fill value."""
        return "" if self.kind == "text" else NO_DAY if self.kind == "day" else self.fill

    @property
    def all_attrs(self) -> dict[str, Any]:
        """The attributes, with those that CF decoding needs."""
        return dict(self.attrs) | (_DAYS if self.kind == "day" else {})

    def encoded(self, values: Any) -> np.ndarray[Any, Any]:
        """Convert values to their stored form."""
        if self.kind == "text":
            texts = map(str, values) if self.longest == _WHOLE else (self._cut(str(value)) for value in values)
            return np.asarray(list(texts), dtype=object)
        if self.kind == "day":
            days = np.asarray(values, dtype="datetime64[D]")
            return np.where(np.isnat(days), NO_DAY, days.astype("int64")).astype("int32")
        return np.asarray(values).astype(self.dtype)

    def _cut(self, text: str) -> str:
        if len(text) <= self.longest:
            return text
        head = text[: self.longest]
        return f"{head[: head.rfind(chr(10))] if chr(10) in head else head}\n..."

    def blank(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Create an array of fill values, in stored form."""
        dtype: Any = object if self.kind == "text" else "int32" if self.kind == "day" else self.dtype
        return np.full(shape, self.fill_value, dtype=dtype)


def _text(name: str, doc: str, longest: int = _WHOLE) -> Field:
    return Field(name, kind="text", attrs={"long_name": doc}, longest=longest)


def _day(name: str, doc: str, dims: tuple[str, ...] = ("item",)) -> Field:
    return Field(name, kind="day", dtype="int32", dims=dims, attrs={"long_name": doc})


_INDEX: Final = Field("item", dtype="int64", fill=-1, attrs={"long_name": "number of the item"})
_ID: Final = _text("id", "the item's own name")
_LON: Final = Field("lon", dtype="float64", attrs={"standard_name": "longitude", "units": "degrees_east"})
_LAT: Final = Field("lat", dtype="float64", attrs={"standard_name": "latitude", "units": "degrees_north"})
_START: Final = _day("start", "first day of the span")
_END: Final = _day("end", "day after the last day of the span")

COORDS: Final = (_INDEX, _ID, _LON, _LAT, _START, _END)
"""The coordinates along ``item``, which every group has."""

ITEM_FIELDS: Final = (
    *COORDS,
    _text("geometry", "footprint as WKT, longitude and latitude in EPSG:4326"),
    _text("spatial", "the place as it was asked for, as JSON"),
    _text("temporal", "the span as it was asked for, as JSON"),
    Field("key", dtype="uint64", fill=0, attrs={"long_name": "digest of place and span"}),
)
"""The arrays of ``/items``."""

CHECKSUM: Final = Field(
    "checksum", dtype="uint32", fill=0, attrs={"long_name": "crc32c of the row and its item's key; 0: not recorded"}
)
"""What `checksum.row_checksums` gives for each row, in ``/items`` and beside each model's status."""

STATUS: Final = Field(
    "status",
    dtype="uint8",
    fill=0,
    attrs={
        "long_name": "what became of the item",
        "flag_values": [int(code) for code in Status],
        "flag_meanings": " ".join(code.name.lower() for code in Status),
    },
)


CENSUS: Final = (
    Field("n_days", dtype="int32", fill=-1, attrs={"long_name": "days with scenes in the catalogue; -1: not counted"}),
    Field("n_expected", dtype="int32", fill=-1, attrs={"long_name": "days with passes, at least; -1: not known"}),
)
"""What the catalogue has beside what the orbit promises. Stores that are older lack these arrays."""

RESULT_FIELDS: Final = (
    _text("reason", "why the item is not embedded, or what was missing", longest=1_000),
    Field(
        "valid_fraction",
        dims=("item", "frame"),
        attrs={"long_name": "share of pixels that were observed", "units": "1"},
    ),
    Field("n_obs", dtype="int32", fill=0, attrs={"long_name": "number of observations that went in"}),
    *CENSUS,
    _day("first_date", "day of the first observation"),
    _day("last_date", "day of the last observation"),
    _day("frame_start", "first day of the frame", ("item", "frame")),
    _day("frame_end", "day after the last day of the frame", ("item", "frame")),
    _text("scenes", "ids of the scenes that went in, one per line", longest=8_000),
)

COVERAGE: Final = Field(
    "coverage",
    dims=("item", "y", "x"),
    attrs={"long_name": "share of the cell that lies inside the place", "units": "1"},
)
"""Where a polygon's cells count, in stores of grids. Stores that are older lack it."""

GRID_FIELDS: Final = (
    Field(
        "transform",
        dtype="float64",
        dims=("item", "coefficient"),
        attrs={
            "long_name": "affine of the token grid: x = a*col + b*row + c, y = d*col + e*row + f",
            "order": "a b c d e f",
        },
    ),
    _text("crs", "coordinate reference system of the token grid"),
    Field(
        "grid_shape",
        dtype="int32",
        dims=("item", "side"),
        fill=0,
        attrs={"long_name": "rows and columns of the item's own grid"},
    ),
    COVERAGE,
)

POSITIONS: Final = Field(
    "position_mean",
    dims=("dim", "row", "column"),
    attrs={"long_name": "mean vector of each position in the window, less the mean of all"},
)
"""The table by which positions are taken from a model's tokens, in the model's group, if one was measured or given."""


LAYOUT_VERSION: Final = 1
"""The version of this layout; stores of other versions are refused."""

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RESERVED: Final = frozenset({"items", "zarr.json", "c"})
_LARGEST_CHUNK: Final = 2**30


@dataclass(frozen=True)
class Item:
    """One row of a store."""

    index: int
    spatial: Spatial
    temporal: TemporalSpec
    id: str = ""

    @property
    def key(self) -> int:
        """A digest of place and span in 64 bits, by which a row is known again."""
        text = f"{self.spatial.to_json()}\n{self.temporal.to_json()}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class ModelLayout:
    """The shape of one model's results."""

    label: str
    dim: int
    grid_shape: tuple[int, int] | None = None
    frames: int = 1
    dtype: str = "float32"
    attrs: dict[str, Any] = field(default_factory=dict)
    table: PositionTable | None = field(default=None, repr=False, compare=False)
    """A table of positions that was given, which is written when the model's arrays are made."""

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
        """Every array of a chunk in the order of writing, the status last."""
        return (*self.data_fields, CHECKSUM, STATUS)

    def shape(self, one: Field, rows: int) -> tuple[int, ...]:
        """Shape of an array for a number of rows."""
        return (rows, *(self.sizes[name] for name in one.dims[1:]))

    def check_chunk(self, chunk_items: int) -> None:
        """Refuse chunks that Zarr's codecs and a worker's memory cannot hold."""
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
    """What a task writes: some or all rows of one chunk and one model.

    ``keys`` are the keys of the items that were computed; where given, they must be those of the rows.
    """

    rows: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]
    embedding: Any = None
    reason: list[str] | None = None
    valid_fraction: np.ndarray[Any, Any] | None = None
    n_obs: np.ndarray[Any, Any] | None = None
    n_days: np.ndarray[Any, Any] | None = None
    n_expected: np.ndarray[Any, Any] | None = None
    first_date: np.ndarray[Any, Any] | None = None
    last_date: np.ndarray[Any, Any] | None = None
    frame_start: np.ndarray[Any, Any] | None = None
    frame_end: np.ndarray[Any, Any] | None = None
    transform: np.ndarray[Any, Any] | None = None
    crs: list[str] | None = None
    grid_shape: np.ndarray[Any, Any] | None = None
    scenes: list[str] | None = None
    keys: np.ndarray[Any, Any] | None = None
    coverage: list[Any] | None = None

    def at(self, rows: np.ndarray[Any, Any]) -> ChunkResult:
        """Return the part of the result that belongs to some rows of the chunk."""
        places = np.flatnonzero(np.isin(self.rows, rows))
        if len(places) == len(self.rows):
            return self
        columns: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, column in columns.items():
            if column is not None:
                columns[name] = [column[place] for place in places] if isinstance(column, list) else column[places]
        return replace(self, **columns)
