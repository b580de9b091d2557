"""What a user may write for a day, a reference system, a shape or a table of them: types for signatures alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["Corners", "CrsLike", "DayLike", "HasGeoInterface", "ShapeLike", "TableLike"]


class HasGeoInterface(Protocol):
    """A geometry or feature of another library."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]:
        """GeoJSON."""


DayLike: TypeAlias = str | dt.date | np.datetime64
CrsLike: TypeAlias = str | int | CRS
Corners: TypeAlias = Iterable[Sequence[float]] | NDArray[Any]
ShapeLike: TypeAlias = shapely.Geometry | HasGeoInterface | Mapping[str, Any] | Sequence[float]
TableLike: TypeAlias = "gpd.GeoDataFrame | gpd.GeoSeries | pd.DataFrame | str | PathLike[str] | NDArray[Any]"
