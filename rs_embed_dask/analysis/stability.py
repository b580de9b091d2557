"""How steady a model's vectors are at unchanged places: over years, seasons, runs of other settings, and cloud."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.analysis.vectors import is_embedded, items_of, vectors_of
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.show.tables import Section, page_html, page_text
from rs_embed_dask.specs.base import choice, named, several
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import vector_labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["Stability", "stability"]

_FEWEST: Final = 10
_DRAWS: Final = 1000
_MOST_PLACES: Final = 5000  # among which a place's own vector is looked for
_LEVELS: Final = (0.025, 0.975)
_CLEAR: Final = ((0.95, 1.01, "at least 95 % seen"), (0.5, 0.95, "50 to 95 % seen"), (0.0, 0.5, "under 50 % seen"))
_COLUMNS: Final = ("factor", "one", "other", "n", "stability", "low", "high", "cosine", "shift", "found")


@dataclass(frozen=True, eq=False)
class _Condition:
    """The places of one run in one span, with a model's vectors."""

    run: str
    span: str
    first: pd.Timestamp
    days: int
    ids: pd.Index
    vectors: NDArray[np.float32]  # (n, dim)
    seen: NDArray[np.float32]  # (n,) the share of pixels that were observed

    def name(self, beside: _Condition) -> str:
        """Name what differs from another condition."""
        return self.run if self.run != beside.run else self.span


@dataclass(frozen=True, eq=False)
class Stability:
    """How steady each model's vectors are; prints a report per model.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per model and pair of conditions: ``model``; ``factor``, "years", "seasons", "runs" or "cloud"; ``one``
        and ``other``, the conditions (of cloud, how much of the ground was seen in the worse of each pair of years or
        runs); ``n``, places; ``stability``, 1 less the mean squared distance of a place's two vectors over that of two
        places' vectors (1: the same vector; 0: as different as another place's; below 0: more), with its 95 % interval
        ``low`` and ``high`` by 1,000 bootstrap draws of places; ``cosine``, the median cosine of a place's two vectors
        less the mean of all; ``shift``, the share of the squared distance that is one offset for all places; ``found``,
        the share of places whose nearest vector under the other condition is their own (of at most 5,000).
    notes : tuple of str
        What was taken as unchanged, and what was left out.
    """

    table: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> pd.DataFrame:
        """One row per model, one column per factor: the mean stability over its pairs; of cloud, of the clear ones."""
        rows = self.table[(self.table["factor"] != "cloud") | (self.table["one"] == _CLEAR[0][2])]
        return rows.pivot_table(index="model", columns="factor", values="stability", sort=False)

    def plot(self) -> Figure:
        """Draw the stability of each pair of conditions with its interval, one panel per factor.

        Returns
        -------
        matplotlib Figure
        """
        from rs_embed_dask.plot.stability import stability_bars

        return stability_bars(self.table)

    @property
    def _sections(self) -> list[Section]:
        sections = [Section("Notes", [(note,) for note in self.notes])]
        for model, part in self.table.groupby("model", sort=False):
            rows = [
                (*map(str, row[:4]), *("" if np.isnan(one) else f"{one:.3f}" for one in row[4:]))
                for row in part[[*_COLUMNS]].itertuples(index=False)
            ]
            sections.append(Section(str(model), rows, _COLUMNS))
        return sections

    def __str__(self) -> str:
        return page_text("stability of vectors at the same places", self._sections)

    def _repr_html_(self) -> str:
        return page_html("stability of vectors at the same places", self._sections)


def stability(
    runs: xr.DataTree | str | Mapping[str, Any],
    *,
    models: Sequence[str] | None = None,
    unchanged: str | Sequence[str] | None = None,
) -> Stability:
    """Compare a model's vectors of the same places between years, seasons, sensors, resolutions and cloud.

    Parameters
    ----------
    runs : DataTree, path or URL, or mapping of str to these
        One run of several spans, for years (spans that begin on the same day of another year) and seasons (others of
        one year); or runs by name, such as ``{"10 m": ..., "20 m": ...}``, whose vectors of the same places and spans
        are compared as ``runs``: of other sensors, resolutions or settings. Models are compared with themselves, by
        label; runs of a single model each are compared whatever its label.
    models : list of str, optional
        Which models. Default: all that every run has.
    unchanged : str or list of str, optional
        A column of the places that is true where nothing changed, or ids. Default: all places, which the notes say.

    Returns
    -------
    Stability
        ``.table``, ``.summary``, ``.notes`` and ``.plot()``; prints a report per model.

    Raises
    ------
    StoreError
        If a run cannot be read, vectors differ in length, or no two conditions share 10 places with vectors.
    SpecError, UnknownNameError
        If a model, column or id is not there.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> told = rs.stability({"10 m": "ten.zarr", "20 m": "twenty.zarr"}, unchanged="stable")  # doctest: +SKIP
    >>> told.summary  # doctest: +SKIP
    """
    import pandas as pd

    given = runs if isinstance(runs, Mapping) and not isinstance(runs, xr.DataTree) else {"": runs}
    if not given:
        raise SpecError("runs", value=runs, reason="there is none", fix="give a run, or several by name")
    trees = {str(name): tree_of(run) for name, run in given.items()}
    rows, short = [], 0
    for model, labels in _models(trees, models).items():
        made = [one for name, tree in trees.items() for one in _conditions(name, tree, labels[name], unchanged)]
        if len({one.vectors.shape[1] for one in made}) > 1:
            fix = "compare the same model, variant and output"
            raise StoreError("model", value=model, reason="its vectors differ in length between runs", fix=fix)
        found, skipped = _compared(made)
        rows += [{"model": model} | row for row in found]
        short += skipped
    if not rows:
        reason = f"no two conditions of one model share {_FEWEST} places with vectors"
        raise StoreError("runs", reason=reason, fix="give several spans of the same places, or several runs by name")
    checked = "all places are taken as unchanged; nothing was checked"
    taken = checked if unchanged is None else "only the places given as unchanged"
    left = [f"{short} pairs of conditions share fewer than {_FEWEST} places"] if short else []
    return Stability(pd.DataFrame(rows), (taken, *left))


def _models(trees: Mapping[str, xr.DataTree], models: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Name the models, and the label that each run has for them."""
    own = {name: vector_labels(tree) for name, tree in trees.items()}
    if models is None and all(len(labels) == 1 for labels in own.values()):
        return {next(iter(own.values()))[0]: {name: labels[0] for name, labels in own.items()}}
    shared = [label for label in next(iter(own.values())) if all(label in labels for labels in own.values())]
    if not shared:
        raise StoreError("runs", value=", ".join(own), reason="no model is in all of them", fix="compute it in each")
    chosen = shared if models is None else named("models", models, shared)
    return {model: dict.fromkeys(trees, model) for model in chosen}


def _conditions(run: str, tree: xr.DataTree, label: str, unchanged: str | Sequence[str] | None) -> Iterator[_Condition]:
    """Read a model's vectors, span by span, of the places that have one and did not change."""
    import pandas as pd

    items = items_of(tree).reset_index()
    seen = _seen(tree[label]["valid_fraction"].to_numpy())
    keep = is_embedded(tree, label) & _is_unchanged(items, unchanged)
    for span, part in items[keep].groupby("span", sort=False):
        if not part["id"].is_unique:
            value = str(part["id"][part["id"].duplicated()].iloc[0])
            raise StoreError("id", value=value, reason="two items of a span have it", fix="give each place an id")
        rows = part.index.to_numpy()
        days = int((part["end"].iloc[0] - part["start"].iloc[0]).days)
        values = vectors_of(tree, label, rows)
        yield _Condition(run, str(span), part["start"].iloc[0], days, pd.Index(part["id"]), values, seen[rows])


def _seen(fractions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the share of pixels that were observed over the frames that there are; NaN where nobody counted."""
    known = np.isfinite(fractions)
    total = np.where(known, fractions, 0).sum(axis=1)
    counts = known.sum(axis=1)
    return np.asarray(np.where(counts > 0, total / np.maximum(counts, 1), np.nan), dtype="float32")


def _is_unchanged(items: pd.DataFrame, unchanged: str | Sequence[str] | None) -> NDArray[np.bool_]:
    if unchanged is None:
        return np.ones(len(items), bool)
    if isinstance(unchanged, str):
        if unchanged not in items.columns:
            raise UnknownNameError.among("unchanged", unchanged, items.columns)
        column = items[unchanged]
        if column.dtype.kind not in "bui":
            fix = "give a column of true and false"
            raise SpecError("unchanged", value=unchanged, reason="it is not true or false", fix=fix)
        return column.to_numpy().astype(bool)
    known = set(items["id"])
    listed = several("unchanged", unchanged, fix="give the name of a column, or ids")
    return items["id"].isin([choice("unchanged", one, known) for one in listed]).to_numpy()


def _factor(one: _Condition, other: _Condition) -> str:
    """Say what a pair differs in; nothing where it differs in more than one thing."""
    if one.run != other.run:
        return "runs" if one.span == other.span else ""
    if one.first.year == other.first.year:
        return "seasons"
    alike = (one.first.month, one.first.day) == (other.first.month, other.first.day)
    return "years" if alike and abs(one.days - other.days) <= 1 else ""  # a leap year is a day longer


def _compared(made: list[_Condition]) -> tuple[list[dict[str, Any]], int]:
    """Compare all pairs that differ in one thing, then those of years and runs by how much of the ground was seen."""
    rows, worst, parts, short = [], [], [], 0
    for one, other in itertools.combinations(made, 2):
        if not (factor := _factor(one, other)):
            continue
        ids = one.ids.intersection(other.ids, sort=False)
        if len(ids) < _FEWEST:
            short += 1
            continue
        at, beside = one.ids.get_indexer(ids), other.ids.get_indexer(ids)
        a, b = one.vectors[at].astype("float64"), other.vectors[beside].astype("float64")
        sums = _sums(a, b)
        names = {"factor": factor, "one": one.name(other), "other": other.name(one), "n": len(ids)}
        rows.append(names | _stable(sums) | _likeness(a, b))
        if factor != "seasons":  # which differ under a clear sky too
            parts.append(sums)
            worst.append(np.minimum(one.seen[at], other.seen[beside]))
    return rows + list(_by_cloud(parts, worst)), short


def _by_cloud(parts: list[NDArray[np.float64]], worst: list[NDArray[np.float32]]) -> Iterator[dict[str, Any]]:
    """Compare pairs of vectors by the share of ground that was seen in the worse of the two."""
    if not parts:
        return
    sums, seen = np.concatenate(parts), np.concatenate(worst)
    usual = sums[:, 1].mean()  # the distance of places is that of all, not of those under cloud
    unknown = dict.fromkeys(("cosine", "shift", "found"), np.nan)
    for low, high, name in _CLEAR:
        inside = sums[(seen >= low) & (seen < high)]
        if len(inside) >= _FEWEST:
            own = np.stack([inside[:, 0], np.full(len(inside), usual)], axis=1)
            yield {"factor": "cloud", "one": name, "other": "", "n": len(inside)} | _stable(own) | unknown


def _sums(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each place's squared distance between its vectors, and to other places' on average; (n, 2)."""
    spread = sum(((x - x.mean(axis=0)) ** 2).sum(axis=1) for x in (a, b)) * len(a) / (len(a) - 1)
    return np.stack([((a - b) ** 2).sum(axis=1), spread], axis=1)


def _stable(sums: NDArray[np.float64]) -> dict[str, float]:
    random = np.random.default_rng(0)
    shares = np.full(len(sums), 1 / len(sums))
    drawn = np.concatenate([random.multinomial(len(sums), shares, size=_DRAWS // 10) @ sums for _ in range(10)])
    within, between = np.concatenate([sums.sum(axis=0)[None], drawn]).T
    values = np.where(between > 0, 1 - within / np.where(between > 0, between, 1), np.nan)
    low, high = np.quantile(values[1:], _LEVELS)
    return {"stability": float(values[0]), "low": float(low), "high": float(high)}


def _likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, float]:
    apart = a - b
    total = float((apart**2).sum(axis=1).mean())
    mean = np.concatenate([a, b]).mean(axis=0)
    one, other = a - mean, b - mean
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.where(sizes > 0, sizes, np.nan)
    return {
        "cosine": float(np.nanmedian(cosines)) if np.isfinite(cosines).any() else np.nan,
        "shift": float((apart.mean(axis=0) ** 2).sum() / total) if total else 0.0,
        "found": _found(a[:_MOST_PLACES], b[:_MOST_PLACES]),
    }


def _found(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the share of rows of one whose nearest row of the other has the same number."""
    middle = b.mean(axis=0)  # distances from afar would lose digits
    a, b = a - middle, b - middle
    nearest = [np.argmin((b**2).sum(axis=1) - 2 * part @ b.T, axis=1) for part in np.array_split(a, 1 + len(a) // 100)]
    return float(np.mean(np.concatenate(nearest) == np.arange(len(a))))
