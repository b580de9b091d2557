"""Scores of predictions, and their intervals, from sums over what is resampled together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.tasks import CLASSES, NUMBERS
from rs_embed_dask.analysis.vectors import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.folds import Folds
    from rs_embed_dask.analysis.tasks import Task

__all__ = ["METRICS", "PRIMARY", "Scoring", "scored"]

_DRAWS: Final = 1000
_LEVELS: Final = (0.025, 0.975)
_FEWEST_GROUPS: Final = 8
_MOST_NUMBERS: Final = 10_000_000


@dataclass(frozen=True)
class Scoring:
    """How folds become one score: all their predictions together, or the mean of the folds' scores, floored."""

    by_fold: bool = False
    floor: float = -np.inf


def _r2(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    count, total, squares, errors, _ = np.moveaxis(sums, -1, 0)
    spread = squares - total**2 / np.maximum(count, 1)
    known: NDArray[np.float64] = np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), np.nan)
    return known


def _rmse(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(sums[..., 3] / np.maximum(sums[..., 0], 1))


def _mae(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[..., 4] / np.maximum(sums[..., 0], 1))


def _by_class(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each class is true, is predicted, and is both; each (..., classes)."""
    true, predicted, both = np.split(sums, 3, axis=-1)
    return true, predicted, both


def _accuracy(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    true, _, both = _by_class(sums)
    return np.asarray(both.sum(axis=-1) / np.maximum(true.sum(axis=-1), 1))


def _balanced(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the recall of the classes that occur."""
    true, _, both = _by_class(sums)
    return np.asarray((both / np.maximum(true, 1)).sum(axis=-1) / np.maximum((true > 0).sum(axis=-1), 1))


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average F1 over the classes that occur or are predicted."""
    true, predicted, both = _by_class(sums)
    total = true + predicted
    return np.asarray((2 * both / np.maximum(total, 1)).sum(axis=-1) / np.maximum((total > 0).sum(axis=-1), 1))


Metric = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
METRICS: Final[dict[str, dict[str, Metric]]] = {
    NUMBERS: {"r2": _r2, "rmse": _rmse, "mae": _mae},
    CLASSES: {"accuracy": _accuracy, "balanced_accuracy": _balanced, "f1_macro": _f1},
}
PRIMARY: Final = {NUMBERS: "r2", CLASSES: "accuracy"}
"""The metric that models are ranked by; more is better."""


def scored(task: Task, predicted: NDArray[np.float64], folds: Folds, *, scoring: Scoring) -> dict[str, list[float]]:
    """Score predictions by every metric of the kind: the value, and the ends of its 95 % interval.

    The bootstrap draws whole groups (blocks, regions, years, or the spans of a place), for what is inside one is not
    independent; of fewer than eight groups it draws places.
    """
    tested = np.flatnonzero(folds.fold >= 0)
    group = folds.group[tested]
    if len(np.unique(group)) < _FEWEST_GROUPS:
        group = np.arange(len(tested))
    fold = folds.fold[tested] if scoring.by_fold else np.zeros(len(tested), "int64")
    # What is drawn is a group within a fold, so that every draw has all folds.
    pairs, unit = np.unique(np.stack([fold, group]), axis=1, return_inverse=True)
    sparse = needed("scipy.sparse")
    members = sparse.csr_array((np.ones(len(tested)), (unit.ravel(), np.arange(len(tested)))))  # (units, n)
    sums = members @ _facts(task, predicted, tested)
    random = np.random.default_rng(0)
    parts = [sums[np.flatnonzero(pairs[0] == one)] for one in np.unique(pairs[0])]
    drawn = [np.concatenate([part.sum(axis=0)[None], _drawn(part, random)]) for part in parts]
    return {name: _summary(metric, drawn, scoring) for name, metric in METRICS[task.kind].items()}


def _facts(task: Task, predicted: NDArray[np.float64], tested: NDArray[np.int64]) -> Any:
    """Return what is summed, of each tested label: moments and errors, or the class it has, is given, and both."""
    sparse = needed("scipy.sparse")
    truth, guess = task.target[tested], predicted[tested]
    if not task.classes:
        centred = truth - task.target.mean()  # large offsets would cost digits in sums of squares
        moments = (np.ones(len(truth)), centred, centred**2, (guess - truth) ** 2, abs(guess - truth))
        return sparse.csr_array(np.stack(moments, axis=1))
    side, given, rows = len(task.classes), guess.astype("int64"), np.arange(len(truth))
    right = np.flatnonzero(truth == given)
    columns = np.concatenate([truth, side + given, 2 * side + truth[right]])
    cells = (np.concatenate([rows, rows, right]), columns)
    return sparse.csr_array((np.ones(len(columns)), cells), shape=(len(truth), 3 * side))


def _drawn(part: Any, random: np.random.Generator) -> NDArray[np.float64]:
    """Sum each of a thousand draws with replacement, a few at a time where there are many units."""
    units = part.shape[0]
    few, shares = max(1, _MOST_NUMBERS // units), np.full(units, 1 / units)
    sizes = [min(few, _DRAWS - start) for start in range(0, _DRAWS, few)]
    return np.concatenate([random.multinomial(units, shares, size=size).astype("float64") @ part for size in sizes])


def _summary(metric: Metric, drawn: list[NDArray[np.float64]], scoring: Scoring) -> list[float]:
    values = np.mean([np.maximum(metric(sums), scoring.floor) for sums in drawn], axis=0)
    known = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(known, _LEVELS) if len(known) else (np.nan, np.nan)
    return [float(values[0]), float(low), float(high)]
