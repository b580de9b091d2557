"""What is to be predicted: tasks from columns of the places, from tables, or from a benchmark's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.vectors import needed, sphere_m
from rs_embed_dask.errors import SpecError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["CLASSES", "NUMBERS", "LabelTable", "Task", "checked", "known_labels", "label_table", "task_of", "tasks_of"]

NUMBERS: Final = "regression"
CLASSES: Final = "classification"

_PLACE_COLUMNS: Final = ("lon", "lat", "id", "span", "geometry", "start", "end")
_SAME_PLACE_M: Final = 1.0
_FEWEST: Final = 10
_NUMBER_KINDS: Final = ("floating", "integer", "mixed-integer-float", "decimal")  # as pandas' infer_dtype names them
_CLASS_KINDS: Final = ("string", "boolean", "categorical")


@dataclass(frozen=True, eq=False)
class Task:
    """A column of labels over some of the places.

    ``target`` has numbers, or the numbers of ``classes``. Tasks of one ``table`` count once in mean ranks.
    """

    name: str
    rows: NDArray[np.int64]  # of the places
    target: NDArray[Any]  # (n,) float64, or int64 for classes
    classes: tuple[str, ...] = ()
    table: str = ""
    family: str = ""
    is_test: NDArray[np.bool_] | None = None  # an official split, which takes the place of folds

    @property
    def kind(self) -> str:
        """Regression or classification."""
        return CLASSES if self.classes else NUMBERS

    def only(self, places: NDArray[np.int64]) -> Task:
        """Keep the labels of some places."""
        keep = np.isin(self.rows, places)
        test = None if self.is_test is None else self.is_test[keep]
        return Task(self.name, self.rows[keep], self.target[keep], self.classes, self.table, self.family, test)


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Columns of labels, one row per place of a run, and which of them are tasks."""

    columns: pd.DataFrame
    names: tuple[str, ...] = field(default=())


def task_of(name: str, values: Any, **facts: Any) -> Task:
    """Make a task of a column: numbers are regressed; texts, booleans and categories are classes."""
    import pandas as pd

    column = pd.Series(values).reset_index(drop=True)
    known = np.flatnonzero(column.notna() & (column.astype(str) != ""))
    values = known_labels(name, column.iloc[known])
    if values.dtype.kind == "f":
        return checked(Task(name, known, values, **facts))
    codes, classes = pd.factorize(values, sort=True)
    return checked(Task(name, known, codes.astype("int64"), tuple(classes), **facts))


def known_labels(name: str, column: pd.Series) -> NDArray[Any]:
    """Return labels, none of them missing, as float64, or as texts (object) where they are classes."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(column)
    if kind in _NUMBER_KINDS:
        numbers = column.to_numpy("float64")
        if not np.isfinite(numbers).all():
            reason, fix = "a label is infinite", "correct it, or make it missing (NaN)"
            raise SpecError("labels", value=name, reason=reason, fix=fix)
        return numbers
    if kind not in (*_CLASS_KINDS, "empty"):
        reason = f"its values are {kind}; numbers are regressed, and texts, booleans and categories are classes"
        raise SpecError("labels", value=name, reason=reason, fix="convert it with astype, or leave it out")
    return np.array([str(one) for one in column], dtype=object)


def checked(task: Task, having: str = "a label") -> Task:
    """Refuse a task of too few places, or whose labels are all the same."""
    if len(task.target) < _FEWEST:
        fix = "give labels of the run's places: a column of theirs, or a table with their ids, or with lon and lat"
        reason = f"{len(task.target)} places have {having}, fewer than {_FEWEST}"
        raise SpecError("labels", value=task.name, reason=reason, fix=fix)
    if np.ptp(task.target) == 0:
        raise SpecError("labels", value=task.name, reason="all labels are the same", fix="leave this column out")
    return task


def label_table(labels: Any, items: pd.DataFrame) -> LabelTable:
    """Line labels up with the items of a run: names of columns, or a table by id, by id and span, or by place."""
    import pandas as pd

    if isinstance(labels, str) or (isinstance(labels, Sequence) and all(isinstance(one, str) for one in labels)):
        names = (labels,) if isinstance(labels, str) else tuple(labels)
        columns = [str(name) for name in items.columns if name not in _PLACE_COLUMNS]
        for name in names:
            if name not in columns:
                raise UnknownNameError.among("labels", name, columns)
        return LabelTable(items, names)
    if isinstance(labels, pd.Series):
        labels = labels.to_frame("label" if labels.name is None else labels.name)
    if not isinstance(labels, pd.DataFrame):
        fix = "give names of the places' columns, a pandas Series or DataFrame, or rs.coordbench(folder)"
        raise SpecError("labels", value=labels, reason="it is no table of labels", fix=fix)
    labels = labels.set_axis(labels.columns.map(str), axis=1)
    if not labels.columns.is_unique:
        value = labels.columns[labels.columns.duplicated()][0]
        raise SpecError("labels", value=value, reason="two columns have this name", fix="rename one of them")
    found = _aligned(labels, items)
    names = tuple(name for name in labels.columns if name not in _PLACE_COLUMNS)
    rest = items[[name for name in items.columns if name not in names]]
    joined = pd.DataFrame({name: found[name].array for name in names}, index=items.index)
    return LabelTable(pd.concat([rest, joined], axis=1), names)


def _aligned(labels: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return a row of labels for every item, missing where there is none."""
    if "id" in labels.columns:
        labels = labels.set_index(["id", "span"] if "span" in labels.columns else "id")
    elif {"lon", "lat"} <= {*labels.columns}:
        return _at_places(labels, items)
    keys = items.index if labels.index.nlevels > 1 else items.index.get_level_values("id")
    if not labels.index.is_unique:
        value = str(labels.index[labels.index.duplicated()][0])
        raise SpecError("labels", value=value, reason="two rows have this id", fix="give one row of labels per place")
    if labels.index.nlevels == 1:
        labels = labels.set_axis(labels.index.astype(str))
    return labels.reindex(keys)


def _at_places(labels: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Find the row of labels within a metre of each item."""
    import pandas as pd

    trees = needed("scipy.spatial")
    lonlat = labels[["lon", "lat"]].apply(pd.to_numeric, errors="coerce").to_numpy("float64")
    wrong = np.flatnonzero(~np.isfinite(lonlat).all(axis=1))
    if len(wrong):
        reason, fix = "its lon and lat are not finite numbers", "correct or leave out such rows"
        raise SpecError("labels", value=f"row {wrong[0]}", reason=reason, fix=fix)
    tree = trees.KDTree(sphere_m(*lonlat.T))
    points = sphere_m(items["lon"].to_numpy(), items["lat"].to_numpy())
    _, rows = tree.query(points, distance_upper_bound=_SAME_PLACE_M)
    return labels.reset_index(drop=True).reindex(np.where(rows < len(labels), rows, -1))


def tasks_of(table: LabelTable, without: Iterable[str] = ()) -> list[Task]:
    """Make a task of every column of labels but those that folds are made of."""
    spared = {*without}
    return [task_of(name, table.columns[name], table=name) for name in table.names if name not in spared]
