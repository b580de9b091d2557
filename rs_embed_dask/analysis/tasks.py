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

__all__ = ["CLASSES", "NUMBERS", "LabelTable", "Task", "label_table", "task_of", "tasks_of"]

NUMBERS: Final = "regression"
CLASSES: Final = "classification"

_PLACE_COLUMNS: Final = ("lon", "lat", "id", "span", "geometry", "start", "end")
_SAME_PLACE_M: Final = 1.0
_FEWEST: Final = 10


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
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if len(known) < _FEWEST:
        fix = "give labels of the run's places: a column of theirs, or a table with their ids, or with lon and lat"
        raise SpecError("labels", value=name, reason=f"{len(known)} places have a label, fewer than 10", fix=fix)
    if is_number:
        numbers = column.iloc[known].to_numpy("float64")
        if np.ptp(numbers) == 0:
            raise SpecError("labels", value=name, reason="all labels are the same", fix="leave this column out")
        return Task(name, known, numbers, **facts)
    codes, classes = pd.factorize(column.iloc[known].astype(str), sort=True)
    if len(classes) < 2:  # noqa: PLR2004 - one class is nothing to tell apart
        raise SpecError("labels", value=name, reason="all labels are the same", fix="leave this column out")
    return Task(name, known, codes.astype("int64"), tuple(map(str, classes)), **facts)


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
    found = _aligned(labels, items)
    names = tuple(str(name) for name in labels.columns if name not in _PLACE_COLUMNS)
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
    trees = needed("scipy.spatial")
    tree = trees.KDTree(sphere_m(labels["lon"].to_numpy("float64"), labels["lat"].to_numpy("float64")))
    points = sphere_m(items["lon"].to_numpy(), items["lat"].to_numpy())
    _, rows = tree.query(points, distance_upper_bound=_SAME_PLACE_M)
    return labels.reset_index(drop=True).reindex(np.where(rows < len(labels), rows, -1))


def tasks_of(table: LabelTable, without: Iterable[str] = ()) -> list[Task]:
    """Make a task of every column of labels but those that folds are made of."""
    spared = {*without}
    return [task_of(name, table.columns[name], table=name) for name in table.names if name not in spared]
