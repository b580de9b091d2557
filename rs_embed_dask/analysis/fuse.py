"""Several models' vectors as one, in a store like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.align import check_pair
from rs_embed_dask.analysis.shared import SharedPlaces, shared_places
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import as_mapping, choice, positive, whole
from rs_embed_dask.store.columns import SPAN
from rs_embed_dask.store.document import ITEMS, Location
from rs_embed_dask.store.items import decoded_items
from rs_embed_dask.store.layout import ChunkResult, ModelLayout, Status
from rs_embed_dask.store.lease import leased
from rs_embed_dask.store.reader import open_store
from rs_embed_dask.store.receipt import build_receipt, plain
from rs_embed_dask.store.store import Store
from rs_embed_dask.store.tables import label_columns, unfolded

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.layout import Item

__all__ = ["fuse"]

LABEL: Final = "fused"
_METHODS: Final = {
    "concat": "vectors one after another, unchanged",
    "weighted": "each model less its mean, to mean squared length 1, times the root of its weight",
    "pca": "main directions of the weighted vectors",
}
_ROWS: Final = 1024


@dataclass(frozen=True, eq=False)
class _Fusion:
    """The affine map from the concatenated vectors to the fused ones."""

    mean: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)
    directions: NDArray[np.float64] | None = None  # (D, dim)
    explained: float = 1.0

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (vectors - self.mean) * self.scale
        return np.asarray(scaled if self.directions is None else scaled @ self.directions, dtype="float32")


def fuse(
    runs: Any,
    out: Target,
    *,
    method: str = "concat",
    models: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    dim: int | None = None,
) -> xr.DataTree:
    """Make one vector of several models' at each shared place, and a store of these.

    Parameters
    ----------
    runs : DataTree, path or URL, list of these, or mapping of str to these
        Runs with one vector per item, joined as by `benchmark`.
    out : path or URL
        The store to create.
    method : {"concat", "weighted", "pca"}, default "concat"
        ``concat``: the vectors one after another, unchanged. ``weighted``: each model's less their mean and scaled to
        mean squared length 1, times the root of its weight, one after another, so that a squared distance is the
        weighted mean of the models'. ``pca``: the main directions of the weighted ones.
    models : list of str, optional
        Which models, in this order. Default: all.
    weights : mapping of str to float, optional
        Weights by model, which are scaled to sum 1; of "weighted" and "pca". Default: equal.
    dim : int, optional
        Length of the vectors of "pca". Default: 128, or what places and models allow.

    Returns
    -------
    xarray.DataTree
        As `open_store` returns it, with one model, ``fused``, the places' columns, and what was fused and how in its
        request. An item that a model has no vector of has none, and that model's status with the reason.

    Raises
    ------
    StoreError
        If a run cannot be read, there are fewer than two models or 10 shared places with vectors, or the store is
        there already or cannot be written.
    SpecError, UnknownNameError
        If a method, model, weight or `dim` cannot be used.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> both = rs.fuse(["galileo.zarr", "prithvi.zarr"], "both.zarr", method="pca", dim=64)  # doctest: +SKIP
    >>> print(rs.benchmark(["galileo.zarr", "prithvi.zarr", "both.zarr"], "yield"))  # doctest: +SKIP
    """
    choice("method", method, _METHODS)
    place = Location.of(out)
    shared = shared_places(runs, models)
    check_pair(shared)
    fusion = _fitted(shared, method, _shares(shared, method, weights), dim)
    size = len(fusion.mean) if fusion.directions is None else fusion.directions.shape[1]
    request = _request(shared, method, weights, fusion)
    receipt = build_receipt(request, weights={LABEL: {"official": False}})
    layout = ModelLayout(LABEL, size, attrs={"fused": request["fused"]})
    with leased(place):
        store = Store.create(
            out, items=_items(shared), models=[layout], request=request, chunk_items=_ROWS, receipt=receipt
        )
        store.set_columns(_columns(shared), np.arange(store.n_items))
        for chunk in range(store.n_chunks):
            store.write_chunk(chunk, LABEL, _result(shared, fusion, *store.span(chunk)))
    return open_store(out)


def _shares(shared: SharedPlaces, method: str, weights: Mapping[str, float] | None) -> dict[str, float]:
    fix = f"give a number for each of {', '.join(shared.models)}"
    given = dict.fromkeys(shared.models, 1.0) if weights is None else as_mapping("weights", weights, fix=fix)
    if weights is not None and method == "concat":
        fix = "use method='weighted', or leave weights out"
        raise SpecError("weights", value=weights, reason="'concat' leaves the vectors as they are", fix=fix)
    for name in given:
        choice("weights", name, shared.models)
    if absent := [name for name in shared.models if name not in given]:
        raise SpecError("weights", value=weights, reason=f"{absent[0]} has none", fix="give every model a weight")
    found = {name: positive(f"weights[{name!r}]", given[name]) for name in shared.models}
    return {name: one / sum(found.values()) for name, one in found.items()}


def _fitted(shared: SharedPlaces, method: str, shares: Mapping[str, float], dim: int | None) -> _Fusion:
    """Find means, scales and directions, in one or two passes over the vectors."""
    if dim is not None and method != "pca":
        raise SpecError("dim", value=dim, reason=f"of {method!r} it follows from the models", fix="use method='pca'")
    sizes = [one.dim for one in shared.models.values()]
    total = sum(sizes)
    most = min(total, len(shared.complete) - 1)
    count = min(128, most) if dim is None else whole("dim", dim, low=1, high=most)
    if method == "concat":
        return _Fusion(np.zeros(total), np.ones(total))
    mean = sum(block.sum(axis=0, dtype="float64") for block in _blocks(shared)) / len(shared.complete)
    squares = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(shared)) / len(shared.complete)
    lengths = [part.sum() for part in np.split(squares, np.cumsum(sizes)[:-1])]
    factors = [np.sqrt(shares[name] / length) if length else 0.0 for name, length in zip(shares, lengths, strict=True)]
    scaled = _Fusion(mean, np.repeat(factors, sizes))
    if method == "weighted":
        return scaled
    spread = sum(part.T @ part for part in (scaled(block).astype("float64") for block in _blocks(shared)))
    values, vectors = np.linalg.eigh(spread)
    main = vectors[:, ::-1][:, :count]
    main = main * np.sign(main[np.argmax(abs(main), axis=0), np.arange(count)])  # a direction has no sign of its own
    return _Fusion(mean, scaled.scale, main, float(values[::-1][:count].sum() / values.sum()))


def _blocks(shared: SharedPlaces) -> Iterator[NDArray[np.float32]]:
    """Read the concatenated vectors of the complete items, a thousand at a time."""
    for start in range(0, len(shared.complete), _ROWS):
        yield _joined(shared, shared.complete[start : start + _ROWS])


def _joined(shared: SharedPlaces, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.concatenate([one.vectors(rows) for one in shared.models.values()], axis=1)


def _result(shared: SharedPlaces, fusion: _Fusion, first: int, stop: int) -> ChunkResult:
    """Fuse the vectors of a chunk; an item without one has the status of the first model that has none."""
    rows = np.arange(first, stop)
    status, reasons = np.full(len(rows), int(Status.OK), "uint8"), [""] * len(rows)
    for name, model in shared.models.items():
        part = model.tree[model.label].isel(item=model.rows[rows])
        codes, texts = (np.asarray(part[field].to_numpy()) for field in ("status", "reason"))
        for row in np.flatnonzero(_gravity(codes) > _gravity(status)):
            status[row], reasons[row] = codes[row], f"{name}: {texts[row]}".removesuffix(": ")
    vectors, has = fusion(_joined(shared, rows)), np.isin(rows, shared.complete)
    embedding = [vector if there else None for vector, there in zip(vectors, has, strict=True)]
    return ChunkResult(np.arange(len(rows)), status, embedding, reason=reasons)


def _gravity(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Rank statuses: whole, embedded in part, not embedded."""
    return np.where(codes == Status.OK, 0, np.where(codes == Status.PARTIAL, 1, 2))


def _items(shared: SharedPlaces) -> list[Item]:
    first = next(iter(shared.models.values()))
    group = first.tree[ITEMS].isel(item=first.rows)
    return decoded_items({name: group[name].to_numpy() for name in ("id", "spatial", "temporal")}, 0)


def _columns(shared: SharedPlaces) -> dict[str, NDArray[Any]]:
    first = next(iter(shared.models.values()))
    own = label_columns(first.tree)
    if SPAN in first.tree[ITEMS].variables:
        own[SPAN] = np.asarray(first.tree[ITEMS][SPAN].to_numpy(), dtype=object)
    return {name: values[first.rows] for name, values in own.items()}


def _request(shared: SharedPlaces, method: str, weights: Mapping[str, float] | None, fusion: _Fusion) -> dict[str, Any]:
    """Describe what was fused: each model's length, inputs, weights with their licence, and request."""
    parts = []
    for name, one in shared.models.items():
        receipt = unfolded(one.tree.attrs.get("receipt", {}))
        kept = {key: receipt[key] for key in ("request_sha256", "created") if key in receipt}
        facts = {"weights": receipt.get("weights", {}).get(one.label), "prepared": one.prepared}
        parts.append({"model": name, "dim": one.dim} | facts | kept)
    made = {"method": method, "how": _METHODS[method], "weights": None if weights is None else dict(weights)}
    request: dict[str, Any] = plain(
        {
            "models": [{"label": LABEL, "id": LABEL}],
            "output": {"mode": "pooled"},
            "provider": {"name": LABEL, "rebuild": False},
            "fused": made | {"explained": fusion.explained, "parts": parts},
        }
    )
    return request
