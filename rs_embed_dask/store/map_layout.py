"""What is in the store of a map: groups of arrays that span whole zones, and what a task brings to be written.

A block is a square of tokens that one task writes: one Zarr chunk of every array, or one shard of many. Where nothing
was computed there is no file, so arrays may span a zone from the start and nothing moves when a map grows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
from zarr.codecs import ZstdCodec

from rs_embed_dask.errors import StoreError
from rs_embed_dask.specs.ground import unit_m
from rs_embed_dask.store.layout import CHECKSUM, RESULT_FIELDS, STATUS, Field, ModelLayout, Status

if TYPE_CHECKING:
    from rs_embed_dask.store.map_blocks import BlockSet

__all__ = [
    "COVERAGE",
    "DEGREE_AXES",
    "MAP_COORDS",
    "NO_CODE",
    "Asked",
    "BlockKey",
    "BlockResult",
    "MapGroup",
    "MapLayout",
    "TimeSpan",
]

NO_CODE: Final = -128
"""The code of a number that is not there, in maps of bytes."""

COVERAGE: Final = "coverage"
"""The layer that is of no span."""

TimeSpan: TypeAlias = tuple[dt.date, dt.date]
"""First day of a span, and the day after its last."""

_LARGEST_SHARD: Final = 2**28
_INNER: Final = 64
_LEVEL: Final = 3
_TOKEN: Final = ("time", "y", "x")
_BLOCK: Final = ("time", "block_row", "block_column")
_BY_NAME: Final = {one.name: one for one in RESULT_FIELDS}
_BLANK: Final = {"float16": float("nan"), "float32": float("nan"), "int8": NO_CODE}

_X_AXIS: Final = {"standard_name": "projection_x_coordinate", "long_name": "easting of the token's centre", "axis": "X"}
_Y_AXIS: Final = {
    "standard_name": "projection_y_coordinate",
    "long_name": "northing of the token's centre",
    "axis": "Y",
}

_LON: Final = {"standard_name": "longitude", "long_name": "longitude of the token's centre"}
_LAT: Final = {"standard_name": "latitude", "long_name": "latitude of the token's centre"}
DEGREE_AXES: Final = {
    "x": _X_AXIS | _LON | {"units": "degrees_east"},
    "y": _Y_AXIS | _LAT | {"units": "degrees_north"},
}
"""What x and y are in a group of cells of degrees."""

MAP_COORDS: Final = (
    Field("x", dtype="float64", dims=("x",), attrs=_X_AXIS | {"units": "metre"}),
    Field("y", dtype="float64", dims=("y",), attrs=_Y_AXIS | {"units": "metre"}),
    Field("time", kind="day", dtype="int32", dims=("time",), attrs={"long_name": "first day of the span"}),
    Field("time_end", kind="day", dtype="int32", dims=("time",), attrs={"long_name": "day after the span's last day"}),
    Field("spatial_ref", dtype="int64", dims=(), fill=0),
)
"""The coordinates of a group."""


class BlockKey(NamedTuple):
    """What one task writes."""

    label: str
    group: str
    time: int
    row: int
    col: int


@dataclass(frozen=True)
class MapGroup:
    """Where the arrays of one projection lie; a lattice's ``to_dict()`` has the same fields."""

    group: str
    crs: str
    token_m: float
    block: int
    origin: tuple[float, float]
    shape: tuple[int, int]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict`, or that of a lattice, wrote."""
        x, y = data["origin"]
        rows, cols = data["shape"]
        one = cls(data["group"], data["crs"], float(data["token_m"]), int(data["block"]), (x, y), (rows, cols))
        if one.shape[0] % one.block or one.shape[1] % one.block:
            reason, fix = "its sides must be multiples of the block's", "make it from a lattice"
            raise StoreError("MapGroup.shape", value=one.shape, reason=reason, fix=fix)
        return one

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON-ready data."""
        return asdict(self) | {"origin": list(self.origin), "shape": list(self.shape)}

    @property
    def step(self) -> float:
        """Side of a token in the unit of the projection."""
        return self.token_m / unit_m(self.crs)

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """The affine of the tokens' corners: x = a col + b row + c, y = d col + e row + f."""
        return self.step, 0.0, self.origin[0], 0.0, -self.step, self.origin[1]

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return self.shape[0] // self.block, self.shape[1] // self.block

    def axis(self, name: str, first: int = 0, stop: int | None = None) -> np.ndarray[Any, Any]:
        """Return coordinates of tokens' centres along ``"x"`` or ``"y"``, of all or of some."""
        at, sign, count = (0, 1, self.shape[1]) if name == "x" else (1, -1, self.shape[0])
        steps = np.arange(first, count if stop is None else stop) + 0.5
        return self.origin[at] + sign * self.step * steps


@dataclass(frozen=True)
class MapLayout:
    """The shape of one model's maps."""

    label: str
    dim: int
    token_m: float
    block: int
    dtype: str = "float16"
    attrs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ModelLayout(self.label, self.dim)  # which checks both
        if self.dtype not in _BLANK:
            reason = "a map holds float16, float32 or int8"
            raise StoreError("MapLayout.dtype", value=self.dtype, reason=reason, fix=f"use one of {', '.join(_BLANK)}")
        if self.block < 1 or (self.block > _INNER and self.block % _INNER):
            fix = f"use a multiple of {_INNER}, or less than {_INNER}"
            raise StoreError("MapLayout.block", value=self.block, reason="it must hold whole chunks", fix=fix)
        size = self.dim * self.block**2 * np.dtype(self.dtype).itemsize
        if size > _LARGEST_SHARD:
            reason = f"one block of {self.label} would be {size / 2**20:,.0f} MiB, more than {_LARGEST_SHARD >> 20}"
            raise StoreError("MapLayout.block", value=self.block, reason=reason, fix="use smaller blocks, or float16")

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows and columns that a task writes."""
        return self.block, self.block

    @property
    def data_fields(self) -> tuple[Field, ...]:
        """The arrays that are written before the status."""
        attrs: dict[str, Any] = {"long_name": f"embedding by {self.label}"}
        if self.dtype == "int8":
            attrs |= {"_FillValue": NO_CODE, "note": "multiply by scale"}
        vectors = Field("embedding", "number", self.dtype, ("time", "dim", "y", "x"), _BLANK[self.dtype], attrs)
        scale = Field("scale", dtype="float16", dims=_TOKEN, attrs={"long_name": "what one step of a code is"})
        layers = [
            replace(_BY_NAME[name], dims=_TOKEN) for name in ("valid_fraction", "n_obs", "first_date", "last_date")
        ]
        share = {"long_name": "share of the token inside the regions asked for", "units": "1"}
        coverage = Field(COVERAGE, dims=("y", "x"), fill=0, attrs=share)
        reason = replace(_BY_NAME["reason"], dims=_BLOCK)
        return (vectors, *([scale] if self.dtype == "int8" else []), *layers, coverage, reason)

    @property
    def checksum(self) -> Field:
        """The array that tells whether a block is what was written."""
        about = {"long_name": "crc32c of the block, its place and its status, but for coverage; 0: not recorded"}
        return replace(CHECKSUM, dims=_BLOCK, attrs=about)

    @property
    def status(self) -> Field:
        """The array that commits a block."""
        return replace(STATUS, dims=_BLOCK, attrs=dict(STATUS.attrs) | {"long_name": "what became of the block"})

    @property
    def fields(self) -> tuple[Field, ...]:
        """Every array that a block's writer writes, the status last."""
        return (*self.data_fields, self.checksum, self.status)

    def storing(self, one: Field, group: MapGroup, n_spans: int) -> dict[str, Any]:
        """Return shape, chunks, shards and compressor of an array: a block is one file of it."""
        block_rows, block_cols = group.blocks
        lengths = {"time": n_spans, "dim": self.dim, "y": group.shape[0], "x": group.shape[1]}
        lengths |= {"block_row": block_rows, "block_column": block_cols}
        whole = {"dim": self.dim, "y": self.block, "x": self.block}
        is_split = one.name in {"embedding", "scale"} and self.block > _INNER
        inner = whole | ({"y": _INNER, "x": _INNER} if is_split else {})
        written = tuple(whole.get(name, 1) for name in one.dims)
        return {
            "shape": tuple(lengths[name] for name in one.dims),
            "chunks": tuple(inner.get(name, 1) for name in one.dims),
            "shards": written if is_split else None,
            "compressors": [ZstdCodec(level=_LEVEL, checksum=True)],
        }

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**data)


@dataclass(frozen=True)
class Asked:
    """What a request asks of one model: blocks of some groups, in some spans, and its table of positions if given."""

    layout: MapLayout
    spans: tuple[TimeSpan, ...]
    blocks: Mapping[MapGroup, BlockSet]
    positions: np.ndarray[Any, Any] | None = field(default=None, compare=False)


@dataclass
class BlockResult:
    """What a task brings to be written: one block. Layers may be one number for the whole block."""

    status: Status
    embedding: np.ndarray[Any, Any] | None = None
    scale: np.ndarray[Any, Any] | None = None
    valid_fraction: Any = None
    n_obs: Any = None
    first_date: Any = None
    last_date: Any = None
    coverage: Any = None
    reason: str = ""
