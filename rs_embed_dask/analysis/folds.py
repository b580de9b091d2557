"""Who is held out together: random places, blocks, regions, years."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.vectors import EARTH_M, needed, sphere_m
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs.base import named, number, whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.tasks import Task

__all__ = ["Folds", "correlation_m", "folds_of", "schemes_of"]

_FOLDS: Final = 5
_MOST_PLACES: Final = 1500
_BINS: Final = 20
_WEAKEST: Final = 0.1
_RANGES: Final = 3.0  # an exponential correlation has fallen to 5 % at three lengths
_FEWEST_BLOCKS: Final = 2 * _FOLDS
_ONE_PLACE: Final = ("there is one place", "give labels of more places, or folds='years'")


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold each label is tested in (-1: in none), what is held out together, and how that was made."""

    scheme: str
    fold: NDArray[np.int64]
    group: NDArray[np.int64]
    note: str = ""

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The folds."""
        return np.unique(self.fold[self.fold >= 0])


def schemes_of(folds: Sequence[str] | Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the schemes with their settings; None where a scheme is to choose for itself."""
    names = named("folds", folds, SCHEMES)
    schemes = dict(folds) if isinstance(folds, Mapping) else dict.fromkeys(names)
    if not isinstance(schemes.get("regions", ""), str):
        reason, fix = "it needs the column that names the regions", "give folds={'regions': COLUMN}"
        raise SpecError("folds['regions']", value=schemes["regions"], reason=reason, fix=fix)
    return schemes


def folds_of(scheme: str, setting: Any, task: Task, *, items: pd.DataFrame, seed: int) -> Folds:
    """Divide the labels of a task; the items are those of its labels."""
    if task.is_test is not None:
        fold = np.where(task.is_test, 0, -1)
        return Folds("official", fold, _codes(_ids(items)), "official split")
    random = np.random.default_rng([seed, zlib.crc32(scheme.encode()), zlib.crc32(task.name.encode())])
    return SCHEMES[scheme](setting, task, items, random)


def _random(setting: Any, _: Task, items: pd.DataFrame, random: np.random.Generator) -> Folds:
    count = whole("folds['random']", _FOLDS if setting is None else setting, low=2, high=1000)
    group = _codes(_ids(items))  # the spans of a place stay together
    _check("random", group, *_ONE_PLACE)
    return Folds("random", _dealt(group, count, random), group, f"random: {count} folds of places")


def _blocks(setting: Any, task: Task, items: pd.DataFrame, random: np.random.Generator) -> Folds:
    lon, lat = items["lon"].to_numpy(), items["lat"].to_numpy()
    if len(_points(lon, lat)) == 1:
        raise SpecError("folds", value="blocks", reason=_ONE_PLACE[0], fix=_ONE_PLACE[1])
    if setting is not None:
        side, why = _side("blocks", setting, "give metres"), "as given"
    else:
        side, why = _chosen_side(task, lon, lat)
    group = _block_codes(lon, lat, side)
    _check(
        "blocks", group, f"{side / 1000:.3g} km blocks hold all places", "give smaller ones: folds={'blocks': METRES}"
    )
    count = len(np.unique(group))
    note = f"blocks: {count} of {side / 1000:.3g} km ({why}), in {min(_FOLDS, count)} folds"
    return Folds("blocks", _dealt(group, min(_FOLDS, count), random), group, note)


def _chosen_side(task: Task, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[float, str]:
    """Choose blocks of three correlation lengths, or the largest that leave ten of them, or one a place."""
    fewest = min(_FEWEST_BLOCKS, len(_points(lon, lat)))
    length = correlation_m(sphere_m(lon, lat), _standard(task))
    wanted = _RANGES * length if length else _spacing(lon, lat)
    of = "three times" if length else "twice the median distance of neighbours"
    told = f"the labels' correlation length is {length / 1000:.3g} km" if length else "the labels are not correlated"
    side = wanted
    while len(np.unique(_block_codes(lon, lat, side))) < fewest:
        side *= 0.9
    return side, f"{of if side == wanted else f'the largest that leave {fewest}'}: {told}"


def _degrees(setting: Any, _: Task, items: pd.DataFrame, random: np.random.Generator) -> Folds:
    side = _side("degrees", 10.0 if setting is None else setting, "give degrees")
    cells = np.floor(items[["lon", "lat"]].to_numpy() / side).astype("int64")
    group = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    _check("degrees", group, f"{side:g} degree blocks hold all places", "give smaller ones: folds={'degrees': DEGREES}")
    count = min(_FOLDS, len(np.unique(group)))
    note = f"degrees: {len(np.unique(group))} blocks of {side:g} degrees, in {count} folds"
    return Folds("degrees", _dealt(group, count, random), group, note)


def _regions(setting: Any, _: Task, items: pd.DataFrame, _random: np.random.Generator) -> Folds:
    if setting not in items.columns:
        raise UnknownNameError.among("folds['regions']", setting, items.columns)
    group = _codes(items[setting].astype(str))
    _check("regions", group, f"{setting} is the same everywhere", "name a column of at least two regions")
    note = f"regions: each of {len(np.unique(group))} values of {setting} is left out in turn"
    return Folds("regions", group, group, note)


def _years(_setting: Any, _: Task, items: pd.DataFrame, _random: np.random.Generator) -> Folds:
    group = _codes(items["start"].dt.year)
    _check("years", group, "all spans begin in one year", "give a run of several years: temporal={...}")
    return Folds("years", group, group, f"years: each of {len(np.unique(group))} is left out in turn")


SCHEMES: Final[dict[str, Callable[..., Folds]]] = {
    "random": _random,
    "blocks": _blocks,
    "degrees": _degrees,
    "regions": _regions,
    "years": _years,
}


def correlation_m(points: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Estimate the correlation length of values (n, k) at points (n, 3), in metres; 0 where there is no correlation.

    The mean product of standardised values by distance is fitted by ``a exp(-d / length) + b``, up to half the extent;
    b, for values from which their own mean was taken are less alike than those of the whole field.
    """
    optimize = needed("scipy.optimize")
    if len(points) > _MOST_PLACES:
        chosen = np.random.default_rng(0).choice(len(points), _MOST_PLACES, replace=False)
        points, values = points[chosen], values[chosen]
    one, other = np.triu_indices(len(points), k=1)
    apart = np.linalg.norm(points[one] - points[other], axis=1)
    near = apart <= apart.max() / 2
    if not near.any() or apart.max() == 0:
        return 0.0
    edges = np.quantile(apart[near], np.linspace(0, 1, _BINS + 1) ** 2)  # finer where the correlation falls
    place = np.clip(np.searchsorted(edges, apart[near]), 1, _BINS) - 1
    counts = np.bincount(place, minlength=_BINS)
    has = counts > 0
    products = (values[one[near]] * values[other[near]]).mean(axis=1)
    means = (np.bincount(place, products, _BINS)[has]) / counts[has]
    middles = np.bincount(place, apart[near], _BINS)[has] / counts[has]

    def misfit(log_length: float) -> float:
        terms = np.stack([np.exp(-middles / np.exp(log_length)), np.ones(len(middles))], axis=1)
        fit = np.linalg.lstsq(terms, means, rcond=None)[0]
        return float(((means - terms @ fit) ** 2).sum())

    least, most = np.log(max(middles[0] / 2, 1e-3)), np.log(apart.max())
    if means[0] <= _WEAKEST or least >= most:
        return 0.0
    return float(np.exp(optimize.minimize_scalar(misfit, bounds=(least, most), method="bounded").x))


def _standard(task: Task) -> NDArray[np.float64]:
    """Return the labels with mean 0 and variance 1: (n, 1), or (n, classes)."""
    values = np.eye(len(task.classes))[task.target] if task.classes else task.target[:, None].astype("float64")
    spread = values.std(axis=0)
    standard: NDArray[np.float64] = ((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))[:, spread > 0]
    return standard


def _points(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distinct places, to a millimetre; (n, 3)."""
    points: NDArray[np.float64] = np.unique(sphere_m(lon, lat).round(3), axis=0)
    return points


def _spacing(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> float:
    points = _points(lon, lat)
    apart, _ = needed("scipy.spatial").KDTree(points).query(points, k=2)
    return 2 * float(np.median(apart[:, 1]))


def _block_codes(lon: NDArray[np.float64], lat: NDArray[np.float64], side_m: float) -> NDArray[np.int64]:
    """Return the numbers of blocks of equal ground size: rows of one height, cut into columns."""
    metres = np.radians(1) * EARTH_M
    row = np.floor(lat * metres / side_m)
    middle = np.clip((row + 0.5) * side_m / metres, -90, 90)
    column = np.floor(lon * metres * np.cos(np.radians(middle)) / side_m)
    codes: NDArray[np.int64] = np.unique(np.stack([row, column]), axis=1, return_inverse=True)[1].ravel()
    return codes


def _dealt(group: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Deal groups in random order, the largest first, each to the fold that has the fewest places."""
    sizes = np.bincount(group)
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    totals, fold = np.zeros(count, "int64"), np.zeros(len(sizes), "int64")
    for one in order:
        fold[one] = int(np.argmin(totals))
        totals[fold[one]] += sizes[one]
    dealt: NDArray[np.int64] = fold[group]
    return dealt


def _side(scheme: str, setting: Any, fix: str) -> float:
    side = number(f"folds['{scheme}']", setting, fix=fix)
    if side <= 0:
        raise SpecError(f"folds['{scheme}']", value=setting, reason="a block has a side", fix=fix)
    return side


def _check(scheme: str, group: NDArray[np.int64], reason: str, fix: str) -> None:
    if len(np.unique(group)) < 2:  # noqa: PLR2004 - one is held out, one is learnt from
        raise SpecError("folds", value=scheme, reason=reason, fix=fix)


def _ids(items: pd.DataFrame) -> Any:
    return items.index.get_level_values("id")


def _codes(values: Any) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = np.unique(np.asarray(values), return_inverse=True)[1].ravel()
    return codes
