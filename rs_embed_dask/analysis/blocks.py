"""Vectors of runs and maps in portions of a chunk or a block, and what is computed of each, here or on a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field as attribute
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import dask
from dask.base import compute
from dask.delayed import delayed

from rs_embed_dask.errors import SpecError, StoreError
from rs_embed_dask.store.export.items import any_fields, is_run
from rs_embed_dask.store.tables import model_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import xarray as xr
    from distributed import Client, Future

    from rs_embed_dask.store.export.fields import MapField, Window

__all__ = ["Portion", "check_client", "computed", "field_portions", "one_model", "row_portions", "vectors_of"]

_T = TypeVar("_T")
_ROWS: Final = 4096
_AHEAD: Final = 2


@dataclass(frozen=True, eq=False)
class Portion:
    """Some vectors that are read at once.

    Parameters
    ----------
    vectors : tuple of array
        Of one span, or of several, each (dim, ...), in memory or lazy.
    number : int
        Which field they are of; 0 where there is one table.
    window : tuple of slice
        Their rows and columns in the field, or their rows in the table.
    given : mapping
        What the function that is applied to them needs besides.
    """

    vectors: tuple[Any, ...]
    number: int
    window: Window | tuple[slice]
    given: Mapping[str, Any] = attribute(default_factory=dict)


def check_client(client: object) -> None:
    """Refuse what is no client, before anything is read."""
    if client is None:
        return
    from distributed import Client

    fix = "make it with distributed.Client(address), or leave it out"
    if not isinstance(client, Client):
        raise SpecError("client", value=client, reason="a distributed.Client is needed", fix=fix)
    if client.asynchronous:
        reason = "it is asynchronous, and this call waits"
        raise SpecError("client", value="an asynchronous Client", reason=reason, fix=fix)


def one_model(tree: xr.DataTree, model: str | None) -> str:
    """Return the model that is meant: the one named, or the only one. Raises StoreError where there are several."""
    if is_run(tree):
        labels = model_labels(tree, model)
    else:
        labels = tuple(dict.fromkeys(field.label for field in any_fields(tree, model)))
    if len(labels) != 1:
        fix = f"give model= one of {', '.join(labels)}"
        raise StoreError("model", value=model, reason=f"it holds {len(labels)} models", fix=fix)
    return labels[0]


def vectors_of(tree: xr.DataTree, label: str) -> xr.DataArray | None:
    """Return a run's table of vectors, (item, dim); None where the model has grids or the tree is a map."""
    if not is_run(tree):
        return None
    table: xr.DataArray = tree[label].dataset["embedding"]
    return None if "y" in table.dims else table


def row_portions(table: xr.DataArray) -> Iterator[Portion]:
    """Go through a table of vectors, (item, dim), chunk by chunk."""
    chunks = table.chunksizes.get("item")
    step = max(chunks) if chunks else _ROWS
    for start in range(0, table.sizes["item"], step):
        rows = slice(start, min(start + step, table.sizes["item"]))
        yield Portion((table[rows].data.T,), 0, (rows,))


def field_portions(fields: Sequence[MapField]) -> Iterator[Portion]:
    """Go through fields block by block; blocks that hold no vector are left out where the field knows them."""
    for number, field in enumerate(fields):
        windows = field.windows() if field.status is None else (window for *_, window in field.blocks())
        for window in windows:
            yield Portion((field.vectors[:, window[0], window[1]].data,), number, window)


def computed(
    function: Callable[..., _T], portions: Iterable[Portion], client: Client | None = None
) -> Iterator[tuple[Portion, _T]]:
    """Apply a function to each portion, given its arrays and where it lies, in order.

    Parameters
    ----------
    function : callable
        ``function(*vectors, number=, window=, **given)``; picklable where there is a client.
    portions : iterable of Portion
        Taken as they are needed.
    client : distributed.Client, optional
        Where it is applied, so that only results travel, with twice as many portions in flight as there are threads.
        Without one, in this process, a portion at a time.

    Yields
    ------
    Portion and result
    """
    if client is None:
        for portion in portions:
            with dask.config.set(scheduler="synchronous"):  # whatever cluster is connected: a portion is small
                vectors = compute(*portion.vectors)
            yield portion, function(*vectors, number=portion.number, window=portion.window, **portion.given)
        return
    held = client.scatter(function, hash=False, broadcast=True)  # once to each worker: a fitted forest has megabytes
    room = _AHEAD * max(1, sum(client.nthreads().values()))
    flying: deque[tuple[Portion, Any]] = deque()
    for portion in portions:
        flying.append((portion, _sent(held, portion, client)))
        if len(flying) >= room:
            done, future = flying.popleft()
            yield done, future.result()
    while flying:
        done, future = flying.popleft()
        yield done, future.result()


def _sent(held: Future[Any], portion: Portion, client: Client) -> Any:
    call = partial(_called, given={"number": portion.number, "window": portion.window, **portion.given})
    return client.compute(delayed(call, pure=False, traverse=False)(held, *portion.vectors), sync=False)


def _called(function: Callable[..., _T], *vectors: Any, given: Mapping[str, Any]) -> _T:
    return function(*vectors, **given)
