"""The arrays of a store, as data: names, types, axes, fills and attributes.

Text is Zarr's variable-length ``string``, dates are CF days since 1970, missing numbers are NaN: all of it opens in
plain xarray without a warning.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.store.codes import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COORDS", "GRID_FIELDS", "ITEM_FIELDS", "NO_DAY", "RESULT_FIELDS", "STATUS", "Field"]

NO_DAY: Final = -(2**31)
"""The stored number of a day that is not known."""

_WHOLE: Final = sys.maxsize
_DAYS: Final = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "_FillValue": NO_DAY}


@dataclass(frozen=True)
class Field:
    """One array of a group.

    Parameters
    ----------
    name : str
        The array's name in its group.
    kind : {"number", "text", "day"}
        What it holds; days are stored as integers and decode as ``datetime64``.
    dtype : str
        NumPy type of numbers.
    dims : tuple of str
        Names of its axes, the first always ``item``.
    fill : float or int
        What stands where nothing was written.
    attrs : mapping
        The array's attributes.
    longest : int
        Characters of a text that are kept; the rest is cut at the end of a line where there is one.
    """

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
        """Attributes with what CF decoding needs."""
        return dict(self.attrs) | (_DAYS if self.kind == "day" else {})

    def encoded(self, values: Any) -> np.ndarray[Any, Any]:
        """Bring values into the form that is stored.

        Parameters
        ----------
        values : array-like
            Numbers, texts, or dates (``datetime64``, ``date`` or None).

        Returns
        -------
        numpy.ndarray
            Numbers of the stored type, text objects, or int32 days since 1970.
        """
        if self.kind == "text":
            return np.asarray([self._cut(str(value)) for value in values], dtype=object)
        if self.kind == "day":
            days = np.asarray(values, dtype="datetime64[D]")
            return np.where(np.isnat(days), NO_DAY, days.astype("int64")).astype("int32")
        return np.asarray(values).astype(self.dtype)

    def _cut(self, text: str) -> str:
        if len(text) <= self.longest:
            return text
        kept = text[: self.longest]
        return f"{kept[: kept.rfind(chr(10))] if chr(10) in kept else kept}\n..."

    def blank(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Make an array of this field where nothing is known yet, in stored form."""
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
"""The coordinates along ``item``, which every group carries."""

ITEM_FIELDS: Final = (
    *COORDS,
    _text("geometry", "footprint as WKT, longitude and latitude in EPSG:4326"),
    _text("spatial", "the place as it was asked for, as JSON"),
    _text("temporal", "the span as it was asked for, as JSON"),
    Field("key", dtype="uint64", fill=0, attrs={"long_name": "digest of place and span"}),
)
"""The arrays of ``/items``."""

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


RESULT_FIELDS: Final = (
    _text("reason", "why the item is not embedded, or what was missing", longest=1_000),
    Field(
        "valid_fraction",
        dims=("item", "frame"),
        attrs={"long_name": "share of pixels that were observed", "units": "1"},
    ),
    Field("n_obs", dtype="int32", fill=0, attrs={"long_name": "number of observations that went in"}),
    _day("first_date", "day of the first observation"),
    _day("last_date", "day of the last observation"),
    _day("frame_start", "first day of the frame", ("item", "frame")),
    _day("frame_end", "day after the last day of the frame", ("item", "frame")),
    _text("scenes", "ids of the scenes that went in, one a line", longest=8_000),
)

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
)
