"""Times as arrays label them: NumPy, pandas, cftime, text, numbers with a CF unit; always in UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DATE_TAGS", "moment_of_tags", "moments_of"]

DATE_TAGS: Final = ("datetime", "acquisition_datetime", "acquisition_date", "date_acquired", "sensing_time")
"""Names of tags and attributes that say when an image was taken, in lower case; the first there counts."""

_WHEN_WRITTEN: Final = "tifftag_datetime"
_FIX: Final = "assign datetime64 values to its time coordinate, or pass dates="
_COMPACT: Final = 8  # digits of 20220605


def moments_of(coordinate: xr.DataArray) -> tuple[dt.datetime | None, ...]:
    """Return the times of a coordinate; None where one is missing. A period stands for its middle."""
    if coordinate.dtype.kind in "iuf" and "since" in str(coordinate.attrs.get("units", "")):
        coordinate = _decoded(coordinate)
    return tuple(_moment(value) for value in _values(coordinate))


def moment_of_tags(tags: Mapping[str, Any]) -> str | None:
    """Return the text of the tag that says when an image was taken; names are in lower case."""
    named = next((str(tags[name]) for name in (*DATE_TAGS, _WHEN_WRITTEN) if tags.get(name)), None)
    return None if named is None else named.replace(":", "-", 2) if named[4:5] == ":" else named


def _decoded(coordinate: xr.DataArray) -> xr.DataArray:
    import xarray as xr

    try:
        return xr.decode_cf(coordinate.to_dataset(name="moment"))["moment"]
    except (ValueError, OverflowError) as error:
        units = coordinate.attrs["units"]
        raise SpecError("array.time", value=units, reason=f"its times cannot be decoded ({error})", fix=_FIX) from error


def _values(coordinate: xr.DataArray) -> Iterator[Any]:
    if coordinate.ndim == 1:
        yield from coordinate.to_index()
    else:
        yield from np.ravel(coordinate.values)


def _moment(value: Any) -> dt.datetime | None:
    if isinstance(value, bytes | np.number):
        value = value.decode(errors="replace") if isinstance(value, bytes) else value.item()
    if value is None or value != value or (isinstance(value, str) and not value.strip()):  # noqa: PLR0124  NaT, NaN
        return None
    try:
        moment = _native(value)
    except ValueError as error:
        raise SpecError("array.time", value=str(value), reason=f"this is not a date ({error})", fix=_FIX) from error
    if isinstance(moment, dt.datetime):
        plain = dt.datetime(*moment.timetuple()[:6], moment.microsecond, tzinfo=moment.tzinfo or dt.UTC)
        return plain.astimezone(dt.UTC)
    if isinstance(moment, dt.date):
        return dt.datetime.combine(moment, dt.time(12), tzinfo=dt.UTC)
    reason = f"{type(value).__name__} values are not dates"
    raise SpecError("array.time", value=value, reason=reason, fix=_FIX)


def _native(value: Any) -> Any:
    """Return a datetime or a date for what NumPy, pandas, cftime or text say; anything else as it is."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if hasattr(value, "start_time"):  # a period of pandas
        return value.start_time + (value.end_time - value.start_time) / 2
    if hasattr(value, "calendar"):  # a time of cftime, whose calendar may have days that no other has
        fields = (value.year, value.month, value.day, value.hour, value.minute, value.second)
        return dt.datetime(*fields, tzinfo=dt.UTC)
    if isinstance(value, float) and value.is_integer():  # whole numbers beside a missing one
        value = int(value)
    if isinstance(value, int) and len(str(value)) == _COMPACT:
        value = str(value)
    return dt.datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
