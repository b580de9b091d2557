"""How far a place's vector is from what it is in other years, against how far those are from each other."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.nearest import normed
from rs_embed_dask.errors import SpecError
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.tables import outlines, place_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["BANDS", "FEWEST", "Seasons", "changes_of_run"]

BANDS: Final = ("z", "distance", "usual", "seasons")
FEWEST: Final = 3
"""Other years that a robust deviation is made from, at least."""

_CONSISTENT: Final = 1.4826  # what makes the median deviation that of a normal distribution
_LEAST_SHARE: Final = 0.1  # of the usual distance: a few years may agree by chance
_LEAST: Final = 1e-6  # cosine distances of vectors in float32 are off by as much
_PLACES: Final = 4096

Days = tuple[dt.date, dt.date]


@dataclass(frozen=True)
class Seasons:
    """Which spans are the same season of different years: those that begin and end on the same days of the year.

    Parameters
    ----------
    same : tuple of tuple of int
        For each span, the numbers of the spans of its season in other years.
    years : tuple of tuple of int
        The spans of each year, where there are several.
    """

    same: tuple[tuple[int, ...], ...]
    years: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, spans: Sequence[Days]) -> Seasons:
        """Sort spans. Raises SpecError where none has enough other years."""
        names = [((first.month, first.day), (stop.month, stop.day)) for first, stop in spans]
        by_year: dict[int, list[int]] = defaultdict(list)
        for at, (first, _) in enumerate(spans):
            by_year[first.year].append(at)
        same = tuple(
            tuple(other for other, name in enumerate(names) if name == names[at] and other != at)
            for at in range(len(spans))
        )
        if max(map(len, same), default=0) < FEWEST:
            reason = f"of {len(spans)} spans none has its season in {FEWEST} other years"
            fix = f"compute the same span in at least {FEWEST + 1} years"
            raise SpecError("spans", value=[f"{a}/{b}" for a, b in spans][:4], reason=reason, fix=fix)
        return cls(same, tuple(tuple(one) for one in by_year.values() if len(one) > 1))

    def bands(self, *vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Return `BANDS` of each span.

        Parameters
        ----------
        *vectors : (dim, ...) array
            The places' vectors of each span; NaN where there is none.

        Returns
        -------
        (spans, 4, ...) array
            NaN where a place has fewer than three other years.
        """
        shape = vectors[0].shape[1:]
        rows = np.stack([one.reshape(len(one), -1).T for one in vectors])  # (spans, places, dim)
        made = np.empty((len(rows), len(BANDS), rows.shape[1]), np.float32)
        for first in range(0, rows.shape[1], _PLACES):
            part = slice(first, first + _PLACES)
            made[:, :, part] = self._of_places(_distances(rows[:, part]))
        return made.reshape(len(rows), len(BANDS), *shape)

    def _of_places(self, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bands of some places by the distances of their spans, (spans, spans, places)."""
        spread = self._spread(apart)
        made = np.full((len(self.same), len(BANDS), apart.shape[2]), np.nan)
        for at, others in enumerate(self.same):
            if len(others) < FEWEST:
                continue
            among = list(others)
            inside = apart[np.ix_(among, among)]
            distance = _to_medoid(apart[at, among], inside)
            left_out = np.stack([_left_out(inside, one) for one in range(len(among))])
            enough = np.isfinite(left_out).sum(axis=0) >= FEWEST
            left_out = np.where(enough, left_out, 0)  # a median of nothing would warn
            usual = np.nanmedian(left_out, axis=0)
            width = _CONSISTENT * np.nanmedian(np.abs(left_out - usual), axis=0)
            z = (distance - usual) / np.maximum(width, np.maximum(_LEAST_SHARE * usual, _LEAST))
            made[at] = np.where(enough & np.isfinite(distance), np.stack([z, distance, usual, spread]), np.nan)
        return made

    def _spread(self, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far the seasons of a year lie apart: the mean of their pairs, the median of the years."""
        if not self.years:
            return np.full(apart.shape[2], np.nan)
        pairs = [np.stack([apart[i, j] for i in year for j in year if i < j]) for year in self.years]
        yearly = np.stack([one.mean(axis=0) for one in pairs])
        there = np.isfinite(yearly).any(axis=0)
        return np.asarray(np.where(there, np.nanmedian(np.where(there, yearly, 0), axis=0), np.nan))


def _distances(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return one less the cosine of every two spans of each place, (spans, places, dim) to (spans, spans, places)."""
    units = normed(rows)
    return np.stack([((units - one) ** 2).sum(axis=2) / 2 for one in units])


def _to_medoid(distances: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance to the one of some spans that is nearest to all of them: (n, places) and (n, n, places)."""
    there = np.isfinite(np.diagonal(inside).T)  # (n, places)
    totals = np.where(there, np.nansum(inside, axis=1), np.inf)
    return np.asarray(np.take_along_axis(distances, totals.argmin(axis=0)[None], axis=0)[0])


def _left_out(inside: NDArray[np.float64], one: int) -> NDArray[np.float64]:
    """Return the distance of one of some spans to the medoid of the others; (places,)."""
    others = [at for at in range(len(inside)) if at != one]
    return _to_medoid(inside[one, others], inside[np.ix_(others, others)])


def changes_of_run(tree: xr.DataTree, label: str) -> gpd.GeoDataFrame:
    """Return the bands of every item of a run, its other years being the items of the same place."""
    import geopandas as gpd
    import pandas as pd

    items = tree[ITEMS].dataset
    starts, ends = (items[name].to_numpy().astype("M8[D]").tolist() for name in ("start", "end"))
    days = list(zip(starts, ends, strict=True))
    spans = sorted(set(days))
    places, place = np.unique(items["spatial"].to_numpy().astype(str), return_inverse=True)
    seasons = Seasons.of(spans)
    vectors = tree[label].dataset["embedding"].to_numpy()
    numbers = np.array([spans.index(one) for one in days])
    made = np.full((len(days), len(BANDS)), np.nan, np.float32)
    for first in range(0, len(places), _PLACES):
        rows = np.flatnonzero((place >= first) & (place < first + _PLACES))
        count = min(_PLACES, len(places) - first)
        cube = np.full((len(spans), vectors.shape[1], count), np.nan, np.float32)
        cube[numbers[rows], :, place[rows] - first] = vectors[rows]
        made[rows] = seasons.bands(*cube)[numbers[rows], :, place[rows] - first]
    table = pd.DataFrame(made, columns=list(BANDS), index=place_index(tree))
    return gpd.GeoDataFrame(table, geometry=outlines(tree).to_numpy(), crs="EPSG:4326")
