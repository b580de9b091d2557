"""How well labels are predicted from vectors: probes, folds, baselines, intervals, ranks and label curves."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.benchmark_report import Benchmark
from rs_embed_dask.analysis.coordbench import CoordTables
from rs_embed_dask.analysis.folds import Folds, folds_of, schemes_of
from rs_embed_dask.analysis.metrics import Scoring, scored
from rs_embed_dask.analysis.probes import (
    LOCATION,
    NO_PROBE,
    PLACE_ONLY,
    Lesson,
    place_points,
    place_waves,
    predicted,
    probes_of,
)
from rs_embed_dask.analysis.shared import SharedPlaces, shared_places
from rs_embed_dask.analysis.tasks import CLASSES, LabelTable, Task, checked, label_table, tasks_of
from rs_embed_dask.errors import SpecError, StoreError
from rs_embed_dask.specs.base import several, whole
from rs_embed_dask.store.tables import unfolded

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["benchmark"]

_IMAGERY: Final = ("bandstats", "rcf")
_FEWEST_NUMBERS: Final = 5  # of numbers to learn from, as many as kNN has neighbours
_SEED_RANGE: Final = 2**31


@dataclass(frozen=True, eq=False)
class _Job:
    """One model, probe and way of holding out, for one task, with so many labels (0: all)."""

    task: Task
    folds: Folds
    model: str
    probe: str
    count: int
    seed: int


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a benchmark is of."""

    tasks: list[Task]
    columns: pd.DataFrame  # one row per place
    schemes: dict[str, Any]
    probes: dict[str, tuple[str, ...]]
    scoring: Scoring = field(default_factory=Scoring)


def benchmark(
    runs: Any,
    labels: Any,
    *,
    probes: str | Sequence[str] | None = None,
    folds: str | Sequence[str] | Mapping[str, Any] | None = None,
    curve: Sequence[int] = (),
    seed: int = 0,
) -> Benchmark:
    """Predict labels of places from their vectors, held out at random and in space or time, beside baselines.

    Parameters
    ----------
    runs : DataTree, path or URL, list of these, or mapping of str to these
        Runs with one vector per item. Several are joined by id, or by id and span where a run has several spans of a
        place; only places of which every model has a vector count, so that all rows are of the same places.
    labels : str, list of str, Series, DataFrame or `CoordTables`
        Columns that came with the places; or a table, each column a task, that has the ids of the places as its index
        or as a column ``id`` (with ``span``, of one span), or the columns ``lon`` and ``lat`` (within 1 m). Numbers are
        regressed; texts, booleans and categories are classes. `coordbench` brings CoordBench's tables and protocol.
    probes : str or list of str, optional
        ``"knn"`` (5 neighbours, standardised), ``"ridge"`` (21 strengths from 1e-4 to 1e6, chosen by leaving one
        out), ``"logistic"`` (7 costs from 1e-4 to 100, chosen by a fifth of the labels) and ``"forest"`` (100 trees).
        Default: knn, ridge and forest for numbers; knn, logistic and forest for classes. Vectors are standardised by
        what is learnt from, where a number that varies by no more than float32 rounds counts as constant.
    folds : str, list of str, or mapping of str to setting, default ("random", "blocks")
        ``random``: 5 folds of places, or as many as set. ``blocks``: 5 folds of square blocks of so many metres;
        unset, three correlation lengths of the labels. ``degrees``: blocks of 10 degrees, or as set. ``regions``: each
        value of the column set is left out in turn. ``years``: each year is.
    curve : list of int, optional
        Also learn from so many labels per class (of numbers: in all), drawn from what is learnt from.
    seed : int, default 0
        Everything that is drawn follows from it: equal calls give equal tables.

    Returns
    -------
    Benchmark
        ``.table``, ``.ranks``, ``.predictions``, ``.notes``, ``.plot()``, ``.plot_curves()`` and ``.to_html(path)``.
        Rows of baselines are in every table: ``location`` (sines and cosines of longitude and latitude), ``nearest
        label``, ``mean`` (of classes the most frequent); ``bandstats`` and ``rcf`` where the runs have them, and the
        notes say so where not.

    Raises
    ------
    RsEmbedError
        If scikit-learn or scipy is not installed.
    SpecError, UnknownNameError, StoreError
        If labels fit no place, are all the same or fewer than 10, or if a run, probe, fold or column cannot be used.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> told = rs.benchmark("run.zarr", "yield", folds={"random": 5, "blocks": 50_000})  # doctest: +SKIP
    >>> told.ranks  # doctest: +SKIP
    >>> told.to_html("benchmark.html")  # doctest: +SKIP
    """
    import pandas as pd

    whole("seed", seed, low=0, high=_SEED_RANGE)
    numbers = several("curve", curve, fix="give numbers of labels, such as (10, 100)")
    counts = sorted({whole("curve", one, low=1, high=10**9) for one in numbers})
    shared = shared_places(runs)
    asked = _asked(shared, labels, probes, folds)
    tasks = [checked(task.only(shared.complete), _having(shared)) for task in asked.tasks]
    matrices = _matrices(shared)
    jobs = list(_jobs(tasks, asked, list(matrices), counts=counts, seed=seed))
    # One after another: scikit-learn sets Python's warnings aside in ways that threads would mix up.
    results = [_out_of_fold(job, matrices[job.model][job.task.rows]) for job in jobs]
    rows = [row for job, guess in zip(jobs, results, strict=True) for row in _rows(job, guess, asked.scoring)]
    kept = [_kept(job, guess, shared.items) for job, guess in zip(jobs, results, strict=True) if not job.count]
    return Benchmark(pd.DataFrame(rows), pd.concat(kept, ignore_index=True), _notes(shared, tasks, jobs))


def _asked(shared: SharedPlaces, labels: Any, probes: Any, folds: Any) -> _Asked:
    if isinstance(labels, CoordTables):
        tasks, usual = labels.tasks(shared.items), labels.protocol
        table = LabelTable(shared.items)
        schemes = schemes_of(usual.folds if folds is None else folds)
        chosen = dict(usual.probes) if probes is None else probes_of(probes, {task.kind for task in tasks})
        return _Asked(tasks, table.columns, schemes, chosen, usual.scoring)
    table = label_table(labels, shared.items)
    schemes = schemes_of(("random", "blocks") if folds is None else folds)
    tasks = tasks_of(table, without=[schemes["regions"]] if "regions" in schemes else [])
    if not tasks:
        raise SpecError("labels", value=labels, reason="there is no column to predict", fix="give one besides regions")
    return _Asked(tasks, table.columns, schemes, probes_of(probes, {task.kind for task in tasks}))


def _having(shared: SharedPlaces) -> str:
    """Say what counts of a place, and which model has the fewest vectors where one lacks some."""
    counts = {name: int(one.is_embedded.sum()) for name, one in shared.models.items()}
    fewest = min(counts, key=counts.__getitem__)
    lack = f" ({fewest} has {counts[fewest]:,} vectors)" if counts[fewest] < len(shared.items) else ""
    return f"a label and a vector of every model{lack}"


def _matrices(shared: SharedPlaces) -> dict[str, NDArray[Any]]:
    """Read every model's vectors, and make those of the places; a row per shared item, zero where one is missing."""
    count = len(shared.items)
    found: dict[str, NDArray[Any]] = {}
    for name, model in shared.models.items():
        if name in PLACE_ONLY or (name == LOCATION and _card(shared, name) != LOCATION):
            fix = "give the model another label"
            raise StoreError("model", value=name, reason="it has the name of a baseline", fix=fix)
        found[name] = np.zeros((count, model.dim), "float32")
        found[name][shared.complete] = model.vectors(shared.complete)
    if not any(_card(shared, name) == LOCATION for name in shared.models):
        found[LOCATION] = place_waves(shared.items)
    return found | dict.fromkeys(PLACE_ONLY, place_points(shared.items))


def _card(shared: SharedPlaces, name: str) -> str:
    model = shared.models[name]
    facts = {key: unfolded(value) for key, value in model.tree[model.label].attrs.items()}
    return str(facts.get("model", facts).get("card", {}).get("id", ""))


def _jobs(tasks: list[Task], asked: _Asked, models: list[str], *, counts: Sequence[int], seed: int) -> Iterator[_Job]:
    for task in tasks:
        items = asked.columns.iloc[task.rows]
        divided = [folds_of(*pair, task, items=items, seed=seed) for pair in asked.schemes.items()]
        made = {one.scheme: one for one in divided}  # an official split is the same for all
        for folds, model in itertools.product(made.values(), models):
            probes = (NO_PROBE,) if model in PLACE_ONLY else asked.probes[task.kind]
            usable = [0, *(count for count in counts if _is_fewer(task, folds, count))]
            yield from (_Job(task, folds, model, probe, count, seed) for probe in probes for count in usable)


def _is_fewer(task: Task, folds: Folds, count: int) -> bool:
    """Say whether so many labels are fewer than each fold has to learn from, and enough to learn anything."""
    least = min(
        int(np.bincount(task.target[folds.fold != one]).max()) if task.classes else int((folds.fold != one).sum())
        for one in folds.numbers
    )
    return count < least and (task.kind == CLASSES or count >= _FEWEST_NUMBERS)


def _out_of_fold(job: _Job, vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Predict every label from the other folds; NaN where a label is in no fold."""
    guess = np.full(len(job.task.target), np.nan)
    for one in job.folds.numbers:
        test, train = np.flatnonzero(job.folds.fold == one), np.flatnonzero(job.folds.fold != one)
        random = np.random.default_rng([job.seed, int(one), job.count, zlib.crc32(job.task.name.encode())])
        if job.count:
            train = _thinned(train, job.task, job.count, random)
        lesson = Lesson(vectors[train], job.task.target[train], vectors[test], int(random.integers(_SEED_RANGE)))
        guess[test] = predicted(job.task.kind, job.model if job.probe == NO_PROBE else job.probe, lesson)
    return guess


def _thinned(train: NDArray[np.int64], task: Task, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Keep so many labels of each class, or of numbers in all; the same ones for every model and probe."""
    mixed = random.permutation(train)
    if not task.classes:
        return np.sort(mixed[:count])
    values = task.target[mixed]
    return np.sort(np.concatenate([mixed[values == code][:count] for code in range(len(task.classes))]))


def _rows(job: _Job, guess: NDArray[np.float64], scoring: Scoring) -> Iterator[dict[str, Any]]:
    tested = job.folds.fold >= 0
    facts = {
        "task": job.task.name,
        "kind": job.task.kind,
        "table": job.task.table or job.task.name,
        "family": job.task.family,
        "model": job.model,
        "baseline": job.model in {LOCATION, *PLACE_ONLY, *_IMAGERY},
        "probe": job.probe,
        "folds": job.folds.scheme,
        "labels": job.count,
        "n": int(tested.sum()),
        "groups": len(np.unique(job.folds.group[tested])),
    }
    for metric, (value, low, high) in scored(job.task, guess, job.folds, scoring=scoring).items():
        yield facts | {"metric": metric, "value": value, "low": low, "high": high}


def _kept(job: _Job, guess: NDArray[np.float64], items: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    tested = np.flatnonzero(job.folds.fold >= 0)
    pair: list[Any] = [job.task.target[tested], guess[tested]]
    if job.task.classes:
        names = np.asarray(job.task.classes, dtype=object)
        pair = [names[one.astype("int64")] for one in pair]
    ids, spans = (items.index.get_level_values(level)[job.task.rows[tested]] for level in ("id", "span"))
    facts = {"task": job.task.name, "model": job.model, "probe": job.probe, "folds": job.folds.scheme}
    rows = {"id": ids, "span": spans, "fold": job.folds.fold[tested], "label": pair[0], "prediction": pair[1]}
    return pd.DataFrame(facts | rows)


def _notes(shared: SharedPlaces, tasks: list[Task], jobs: list[_Job]) -> tuple[str, ...]:
    """Say how the inputs were prepared, what was left out, which baselines are missing and how folds were made."""
    cards = {_card(shared, name) for name in shared.models}
    missing = [name for name in _IMAGERY if name not in cards]
    absent = f"baselines that need imagery and are in none of the runs: {', '.join(missing)}"
    left = f"left out: {shared.alone} items that not all runs have, {shared.dropped} that a model has no vector of"
    made: dict[str, dict[str, None]] = {}
    for job in jobs:
        made.setdefault(job.folds.note, {})[job.task.name] = None
    ways = [note if len(of) == len(tasks) else f"{note}: {', '.join(of)}" for note, of in made.items()]
    sizes = [f"{task.name}: {task.kind}, {len(task.target)} labels" + _classes(task) for task in tasks]
    inputs = [f"{name}: {model.dim} numbers; {model.prepared}" for name, model in shared.models.items()]
    return (*([absent] if missing else []), *([left] if shared.alone or shared.dropped else []), *sizes, *ways, *inputs)


def _classes(task: Task) -> str:
    return f" of {len(task.classes)} classes" if task.classes else ""
