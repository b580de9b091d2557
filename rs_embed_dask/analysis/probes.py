"""What is learnt from vectors, with scikit-learn, and the baselines that need none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.tasks import CLASSES, NUMBERS
from rs_embed_dask.analysis.vectors import needed, sphere_m
from rs_embed_dask.errors import SpecError
from rs_embed_dask.preprocess.waves import waves
from rs_embed_dask.specs.base import named

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "LOCATION",
    "NO_PROBE",
    "PLACE_ONLY",
    "USUAL",
    "Lesson",
    "place_points",
    "place_waves",
    "predicted",
    "probes_of",
    "standardiser",
]

LOCATION: Final = "location"
NO_PROBE: Final = "none"
_NEIGHBOURS: Final = 5
_TREES: Final = 100
_ALPHAS: Final = 10.0 ** np.arange(-4, 6.5, 0.5)
_COSTS: Final = 10.0 ** np.arange(-4, 3)
_HELD: Final = 5  # one label in five chooses the cost of logistic regression
_SCALES: Final = 16


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt from, and what is predicted for; ``seed`` makes it repeatable."""

    train: NDArray[Any]  # (n, dim)
    target: NDArray[Any]  # (n,)
    test: NDArray[Any]  # (m, dim)
    seed: int = 0


def standardiser(train: NDArray[Any]) -> Any:
    """Fit what centres and scales; a number that varies by no more than float32 rounds is constant, and becomes 0."""
    scaler = needed("sklearn.preprocessing").StandardScaler().fit(train)
    rounding = np.finfo("float32").eps * np.abs(train).max(axis=0)
    scaler.scale_ = np.where(np.sqrt(scaler.var_) > rounding, scaler.scale_, np.inf)
    return scaler


def _standardised(estimator: Any, lesson: Lesson) -> NDArray[np.float64]:
    scaler = standardiser(lesson.train)
    learnt = estimator.fit(scaler.transform(lesson.train), lesson.target)
    return np.asarray(learnt.predict(scaler.transform(lesson.test)), dtype="float64")


def _knn_values(lesson: Lesson) -> NDArray[np.float64]:
    count = min(_NEIGHBOURS, len(lesson.target))
    return _standardised(needed("sklearn.neighbors").KNeighborsRegressor(count), lesson)


def _knn_classes(lesson: Lesson) -> NDArray[np.float64]:
    count = min(_NEIGHBOURS, len(lesson.target))
    return _standardised(needed("sklearn.neighbors").KNeighborsClassifier(count), lesson)


def _ridge_values(lesson: Lesson) -> NDArray[np.float64]:
    return _standardised(needed("sklearn.linear_model").RidgeCV(_ALPHAS), lesson)


def _ridge_classes(lesson: Lesson) -> NDArray[np.float64]:
    return _standardised(needed("sklearn.linear_model").RidgeClassifierCV(_ALPHAS), lesson)


def _logistic(lesson: Lesson) -> NDArray[np.float64]:
    """Choose the cost by a fifth of the labels, then learn from all."""
    make = needed("sklearn.linear_model").LogisticRegression
    order = np.random.default_rng(lesson.seed).permutation(len(lesson.target))
    held, rest = order[::_HELD], np.setdiff1d(order, order[::_HELD])
    cost = 1.0
    if len(np.unique(lesson.target[rest])) > 1:
        inner = Lesson(lesson.train[rest], lesson.target[rest], lesson.train[held])
        right = [
            (_standardised(make(C=one, max_iter=5000, tol=1e-3), inner) == lesson.target[held]).mean() for one in _COSTS
        ]
        cost = float(_COSTS[int(np.argmax(right))])
    return _standardised(make(C=cost, max_iter=5000, tol=1e-3), lesson)


def _forest_values(lesson: Lesson) -> NDArray[np.float64]:
    return np.asarray(_grown(needed("sklearn.ensemble").RandomForestRegressor, lesson))


def _forest_classes(lesson: Lesson) -> NDArray[np.float64]:
    return np.asarray(_grown(needed("sklearn.ensemble").RandomForestClassifier, lesson), dtype="float64")


def _grown(kind: Any, lesson: Lesson) -> Any:
    """Grow a forest and ask it. Its threads set Python's warning filters aside at once, so they are put back here."""
    forest = kind(_TREES, random_state=lesson.seed, n_jobs=-1)
    with warnings.catch_warnings():
        forest.fit(lesson.train, lesson.target)
    with warnings.catch_warnings():
        return forest.predict(lesson.test)


def _mean_value(lesson: Lesson) -> NDArray[np.float64]:
    return np.full(len(lesson.test), float(np.mean(lesson.target)))


def _usual_class(lesson: Lesson) -> NDArray[np.float64]:
    return np.full(len(lesson.test), float(np.argmax(np.bincount(lesson.target))))


def _nearest_label(lesson: Lesson) -> NDArray[np.float64]:
    """Return the label of the nearest place; what is learnt from are points on the sphere."""
    _, rows = needed("scipy.spatial").KDTree(lesson.train).query(lesson.test)
    return np.asarray(lesson.target[rows], dtype="float64")


Learner = Callable[[Lesson], "NDArray[np.float64]"]
PROBES: Final[dict[str, dict[str, Learner]]] = {
    NUMBERS: {"knn": _knn_values, "ridge": _ridge_values, "forest": _forest_values},
    CLASSES: {"knn": _knn_classes, "logistic": _logistic, "ridge": _ridge_classes, "forest": _forest_classes},
}
USUAL: Final = {NUMBERS: ("knn", "ridge", "forest"), CLASSES: ("knn", "logistic", "forest")}
PLACE_ONLY: Final = ("mean", "nearest label")
"""Baselines that need neither vectors nor a probe."""
_BASELINES: Final[dict[str, tuple[Learner, Learner]]] = {
    NUMBERS: (_mean_value, _nearest_label),
    CLASSES: (_usual_class, _nearest_label),
}


def probes_of(names: Sequence[str] | str | None, kinds: set[str]) -> dict[str, tuple[str, ...]]:
    """Choose the probes of each kind of task: those named that it has, or the usual ones."""
    if names is None:
        return dict(USUAL)
    chosen = named("probes", names, {name for of_kind in PROBES.values() for name in of_kind})
    found = {kind: tuple(name for name in chosen if name in of_kind) for kind, of_kind in PROBES.items()}
    for kind in kinds:
        if not found[kind]:
            fix = f"name one of {', '.join(PROBES[kind])}"
            raise SpecError("probes", value=chosen, reason=f"none of them does {kind}", fix=fix)
    return found


def predicted(kind: str, name: str, lesson: Lesson) -> NDArray[np.float64]:
    """Learn and predict by a probe, or a baseline without one; of labels of one class that class is predicted."""
    if kind == CLASSES and len(np.unique(lesson.target)) == 1:
        return np.full(len(lesson.test), float(lesson.target[0]))
    learners = PROBES[kind] | dict(zip(PLACE_ONLY, _BASELINES[kind], strict=True))
    return learners[name](lesson)


def place_waves(items: pd.DataFrame) -> NDArray[np.float32]:
    """Return what the model ``location`` makes of the places' middles; (n, 64)."""
    return waves(items["lon"].to_numpy(), items["lat"].to_numpy(), _SCALES).T


def place_points(items: pd.DataFrame) -> NDArray[np.float64]:
    """Return the places as points in metres; (n, 3)."""
    return sphere_m(items["lon"].to_numpy(), items["lat"].to_numpy())
