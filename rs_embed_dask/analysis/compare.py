"""Two runs side by side: how alike the vectors of each place are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.show.tables import table_html, table_text
from rs_embed_dask.specs.base import as_mapping, choice, named
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.reader import tree_of
from rs_embed_dask.store.tables import model_labels, place_index, status_names

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target

__all__ = ["Comparison", "compare"]

_ROWS: Final = 1024
_KEYS: Final = {"place": "key", "id": "id"}
_HEADER: Final = ("model", "items", "median", "lowest", "above 0.99", "relative difference")
_ALIKE: Final = 0.99


@dataclass(frozen=True, eq=False)
class Comparison:
    """How alike two runs are; prints as a table.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per model and item of both runs, indexed by ``id`` and ``span`` as the first run has them: ``model``,
        ``cosine`` (-1 to 1; of grids the mean over cells; NaN where either has no vector), ``difference``
        (the norm of a - b over that of b), ``status_a``, ``status_b``.
    only_a, only_b : int
        Items that just one of the runs has.
    unpaired : tuple of str
        Models of either run that were compared with none of the other.
    """

    table: pd.DataFrame
    only_a: int = 0
    only_b: int = 0
    unpaired: tuple[str, ...] = ()

    @property
    def summary(self) -> pd.DataFrame:
        """One row per model: items with both vectors, median and lowest cosine, share above 0.99, median difference."""
        import pandas as pd

        rows = []
        for model, part in self.table.groupby("model", sort=False):
            both = part[part["cosine"].notna()]
            cosine = both["cosine"]
            share = float((cosine > _ALIKE).mean()) if len(both) else np.nan
            rows.append((model, len(both), cosine.median(), cosine.min(), share, both["difference"].median()))
        return pd.DataFrame(rows, columns=list(_HEADER)).set_index("model")

    def plot(self) -> Figure:
        """Draw the cosines of each model, sorted, and their share below each value.

        Returns
        -------
        matplotlib Figure
        """
        from rs_embed_dask.plot.similarity import similarities

        return similarities({str(model): part["cosine"].to_numpy() for model, part in self.table.groupby("model")})

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (str(model), str(int(row["items"])), *(f"{row[name]:.4f}" for name in _HEADER[2:]))
            for model, row in self.summary.iterrows()
        ]

    @property
    def _title(self) -> str:
        alone = f"; {self.only_a} items only in the first, {self.only_b} only in the second"
        models = f"; not compared: {', '.join(self.unpaired)}" if self.unpaired else ""
        return f"cosine of two runs, place by place{alone if self.only_a or self.only_b else ''}{models}"

    def __str__(self) -> str:
        return table_text(self._title, _HEADER, self._rows())

    def _repr_html_(self) -> str:
        return table_html(self._title, _HEADER, self._rows())


def compare(
    a: xr.DataTree | Target,
    b: xr.DataTree | Target,
    *,
    models: Mapping[str, str] | None = None,
    on: str = "place",
) -> Comparison:
    """Compare two runs place by place: the cosine of each item's two vectors, read block by block.

    Parameters
    ----------
    a, b : DataTree, path or URL
        What `compute_embeddings`, `open_store` or `import_export` returned, or stores.
    models : mapping of str to str, optional
        Labels of the first run and those of the second that they are compared with. Default: labels that both have,
        hyphens and underscores alike; or the only model of each.
    on : {"place", "id"}, default "place"
        What makes two items the same: place and span, or id.

    Returns
    -------
    Comparison
        ``.table``, ``.summary`` and ``.plot()``.

    Raises
    ------
    StoreError
        If a run cannot be read, no item or model is in both, items are not unique, or vectors differ in length.
    SpecError, UnknownNameError
        If there is no such model or `on`.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> old = rs.import_export("old.npz", "old.zarr")  # doctest: +SKIP
    >>> rs.compare(old, "new.zarr").summary  # doctest: +SKIP
    """
    import pandas as pd

    choice("on", on, _KEYS)
    first, second = _tree(a), _tree(b)
    pairs = _pairs(first, second, models)
    left, right = (_keys(tree, _KEYS[on], name) for tree, name in ((first, "a"), (second, "b")))
    common = left[left.isin(right)]
    if not len(common):
        fix = "use on='id'" if on == "place" else "use on='place'"
        raise StoreError("compare", value=f"on={on!r}", reason="no item is in both runs", fix=fix)
    rows = left.get_indexer(common), right.get_indexer(common)
    index = place_index(first)[rows[0]]
    parts = [_compared(first[one], second[other], rows) for one, other in pairs.items()]
    tables = [
        pd.DataFrame({"model": one} | numbers, index=index).assign(
            status_a=status_names(first, one)[rows[0]], status_b=status_names(second, other)[rows[1]]
        )
        for (one, other), numbers in zip(pairs.items(), parts, strict=True)
    ]
    ours, theirs = set(model_labels(first)) - pairs.keys(), set(model_labels(second)) - set(pairs.values())
    unpaired = (*(f"{one} of the first" for one in sorted(ours)), *(f"{one} of the second" for one in sorted(theirs)))
    return Comparison(pd.concat(tables), len(left) - len(common), len(right) - len(common), unpaired)


def _tree(run: Any) -> xr.DataTree:
    return tree_of(fspath(run) if isinstance(run, PathLike) else run)


def _pairs(first: xr.DataTree, second: xr.DataTree, models: Mapping[str, str] | None) -> dict[str, str]:
    ours, theirs = model_labels(first), model_labels(second)
    if models is not None:
        as_mapping("models", models, fix="give labels of the first run with those of the second")
        return dict(zip(named("models", models, ours), named("models", models.values(), theirs), strict=True))
    plain = {label.replace("_", "-"): label for label in theirs}  # keys of an export have no hyphens
    common = {label: label if label in theirs else plain.get(label.replace("_", "-")) for label in ours}
    if pairs := {one: other for one, other in common.items() if other is not None}:
        return pairs
    if len(ours) == len(theirs) == 1:
        return {ours[0]: theirs[0]}
    reason = f"the first has {', '.join(ours)}, the second {', '.join(theirs)}"
    raise StoreError("models", value=models, reason=reason, fix="give models={FIRST: SECOND}")


def _keys(tree: xr.DataTree, name: str, which: str) -> pd.Index:
    import pandas as pd

    keys: pd.Index = pd.Index(np.asarray(tree[ITEMS][name].to_numpy(), dtype=object if name == "id" else "uint64"))
    if not keys.is_unique:
        fix = "use on='id'" if name == "key" else "use on='place'"
        raise StoreError(which, value=str(keys[keys.duplicated()][0]), reason=f"two items share one {name}", fix=fix)
    return keys


def _compared(
    one: Any, other: Any, rows: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> dict[str, NDArray[np.float64]]:
    fields = one["embedding"], other["embedding"]
    shapes = [field.shape[1:] for field in fields]
    if shapes[0] != shapes[1]:
        reason = f"one has {shapes[0]} numbers per item and the other {shapes[1]}"
        raise StoreError("vectors", value=one.name, reason=reason, fix="compare the same model, variant and output")
    cosine, difference = (np.full(len(rows[0]), np.nan) for _ in range(2))
    for part in _parts(len(rows[0])):
        blocks = (field[pick[part]].to_numpy() for field, pick in zip(fields, rows, strict=True))
        cosine[part], difference[part] = _alike(*(block.astype("float64") for block in blocks))
    return {"cosine": cosine, "difference": difference}


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, start + _ROWS)


def _alike(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cosine of each row, of grids the mean over cells with both vectors, and the relative difference."""
    cells = (len(a), a.shape[1], -1)
    a, b = a.reshape(cells), b.reshape(cells)  # (n, D, cells)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    there = np.isfinite(norms) & (norms > 0)
    products = np.where(there, (a * b).sum(axis=1), 0) / np.where(there, norms, 1)
    counts = there.sum(axis=1)
    keep = there[:, None, :]
    apart = np.sqrt((np.where(keep, a - b, 0) ** 2).sum(axis=(1, 2)))
    sizes = np.sqrt((np.where(keep, b, 0) ** 2).sum(axis=(1, 2)))
    has = counts > 0
    cosine = np.where(has, products.sum(axis=1) / np.maximum(counts, 1), np.nan)
    return np.clip(cosine, -1, 1), np.where(has, apart / np.where(sizes > 0, sizes, 1), np.nan)
