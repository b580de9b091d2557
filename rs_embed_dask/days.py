"""Days: one type for all the ways in which people write them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

import numpy as np

from rs_embed_dask.errors import SpecError

__all__ = ["FIRST_YEAR", "LAST_YEAR", "day"]

FIRST_YEAR: Final = 1972
LAST_YEAR: Final = 2100
_FIRST: Final = dt.date(FIRST_YEAR, 1, 1)
_LAST: Final = dt.date(LAST_YEAR + 1, 1, 1)
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?(Z|\+00:00)?)?")
_DATE_FIX: Final = "write 'YYYY-MM-DD', or give a datetime.date"


def day(what: str, value: object) -> dt.date:
    """Return a day from a text, a date, a datetime at midnight or a NumPy datetime.

    Parameters
    ----------
    what : str
        Name of the argument for the message.
    value : object
        What the user gave.

    Returns
    -------
    datetime.date

    Raises
    ------
    SpecError
        Where it is no real day, has a time of day, or lies outside 1972 to 2100.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        value = _from_text(what, value)
    if not isinstance(value, dt.date) or value != value:  # noqa: PLR0124  pandas.NaT is a datetime unlike itself
        reason = f"a day is needed, this is {type(value).__name__}"
        raise SpecError(what, value=value, reason=reason, fix=_DATE_FIX)
    if isinstance(value, dt.datetime):
        if value.timetz().replace(tzinfo=None) != dt.time():
            reason = "spans are made of whole days and this has a time of day"
            raise SpecError(what, value=str(value), reason=reason, fix="give its .date()")
        value = value.date()
    if not _FIRST <= value <= _LAST:
        reason = f"days lie between {FIRST_YEAR} and {LAST_YEAR}"
        raise SpecError(what, value=value, reason=reason, fix="give a day since the first Landsat of 1972")
    return value


def _from_text(what: str, value: str) -> dt.date:
    if not _ISO.fullmatch(value.strip()):
        raise SpecError(what, value=value, reason="this is not an ISO day", fix=_DATE_FIX)
    try:
        return dt.date.fromisoformat(value.strip()[:10])
    except ValueError as error:
        reason = f"there is no such day ({error})"
        raise SpecError(what, value=value, reason=reason, fix="check month and day") from error
