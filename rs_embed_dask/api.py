"""The verbs: plan, compute, resume, look, and one embedding at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rs_embed_dask.engine.request import Request, RequestOptions, request_of
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.specs.places import places
from rs_embed_dask.specs.when import spans
from rs_embed_dask.store.reader import open_store
from rs_embed_dask.store.status import status

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.engine.plan import Plan, Sizes
    from rs_embed_dask.engine.report import RunReport
    from rs_embed_dask.engine.watch import Progress
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.store import Item, Status, Store

__all__ = [
    "RequestOptions",
    "compute_embeddings",
    "get_embedding",
    "get_embeddings_batch",
    "inspect_input",
    "open_store",
    "plan",
    "resume",
    "status",
]


def compute_embeddings(
    spatials: object,
    models: object,
    temporal: object,
    *,
    out: str | Path | None = None,
    client: Client | None = None,
    progress: Progress = True,
    **options: Unpack[RequestOptions],
) -> xr.DataTree:
    """Embed places by models over a span: the main call.

    Parameters
    ----------
    spatials : BBox, PointBuffer, Polygon, GeoDataFrame, path, geometry, or a list of them
        The places; see `places`.
    models : str, ModelSpec, dict, or a list of them
        "galileo", "galileo:nano", "galileo:nano:s1", or ``ModelSpec("galileo", variant="nano", weights=PATH)``.
    temporal : TemporalSpec, or a list of them
        One span for all places, or one each.
    out : path or URL, optional
        The Zarr store. If it is there already, the run goes on with it: what is done stays, new places and models are
        added, a different request is refused. Without it the result is in memory.
    client : distributed.Client, optional
        The cluster to use; it is left open. Without it a local cluster is made and closed. Its workers must be able to
        write to `out`.
    progress : bool, "bar", "log" or callable, default True
        How to watch.
    **options
        See `RequestOptions`.

    Returns
    -------
    xarray.DataTree
        ``/items`` and one group a model with ``embedding`` (item, dim) or (item, dim, y, x), ``status``, ``reason`` and
        quality layers.

    Raises
    ------
    SpecError, UnknownNameError
        Where an argument cannot be used.
    PlanError
        Where the request cannot be run at all.
    StoreMismatchError
        Where the store at `out` was made by another request.
    EngineError
        Where the cluster was lost; what is stored stays, and the same call goes on.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> tree = rs.compute_embeddings(
    ...     [rs.PointBuffer(4.5, 50.7, buffer_m=160)],
    ...     models=["bandstats"],
    ...     temporal=rs.TemporalSpec.range("2022-06-01", "2022-07-01"),
    ...     provider="synthetic",
    ... )  # doctest: +SKIP
    """
    from rs_embed_dask.engine.topup import store_for

    if out is None:
        with tempfile.TemporaryDirectory(prefix="rs-embed-dask-") as folder:
            target = Path(folder) / "result.zarr"
            tree = compute_embeddings(
                spatials, models, temporal, out=target, client=client, progress=progress, **options
            )
            return tree.load()
    request, sizes = request_of(models, options), _sizes(options)
    store, todo = store_for(out, _items(spatials, temporal, options), request, sizes=sizes)
    _run(todo, store, client=client, progress=progress)
    return open_store(out)


def plan(spatials: object, models: object, temporal: object, **options: Unpack[RequestOptions]) -> Plan:
    """Say what a call of `compute_embeddings` with the same arguments would do, without reading a pixel.

    Returns
    -------
    Plan
        Prints reads, requests, bytes, batches, the store's size and an estimate of the time.

    Raises
    ------
    SpecError, UnknownNameError, PlanError
        As `compute_embeddings`.
    """
    from rs_embed_dask.engine.plan import make_plan

    request, sizes = request_of(models, options), _sizes(options)
    return make_plan(_items(spatials, temporal, options), request, sizes=sizes)


def resume(
    path: str | Path,
    *,
    only: object = None,
    provider: Provider | str | None = None,
    client: Client | None = None,
    progress: Progress = True,
) -> RunReport:
    """Go on with a store: compute what is pending or failed.

    Parameters
    ----------
    path : path or URL
        The store.
    only : str, Status, or a list of them, optional
        Take up items of these states alone, such as "read_failed". Default: pending and failed ones.
    provider : Provider or str, optional
        Instead of the one that the store's request names; needed where that was made of arrays in memory.
    client, progress
        As `compute_embeddings`.

    Returns
    -------
    RunReport
        What happened, and how it compares with the plan.

    Raises
    ------
    StoreError
        Where there is no store, or where it cannot be read.
    """
    from rs_embed_dask.engine.driver import is_finished, nothing_left
    from rs_embed_dask.engine.plan import Sizes, StoredItems, make_plan
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.providers import open_provider
    from rs_embed_dask.store import Store

    store, statuses = Store.open(path, mode="r+"), _statuses(only)
    if is_finished(store, statuses):
        return nothing_left(store, Options(progress=progress))
    source = open_provider(provider) if isinstance(provider, str) else provider
    request = Request.from_dict(store.request, provider=source)
    todo = make_plan(StoredItems(store), request, sizes=Sizes(chunk_items=store.chunk_items))
    return _run(todo, store, client=client, progress=progress, only=statuses)


def get_embedding(model: object, spatial: object, temporal: object, **options: Unpack[RequestOptions]) -> Embedding:
    """Embed one place by one model, in this process.

    Parameters
    ----------
    model : str, ModelSpec or dict
        The model.
    spatial : BBox, PointBuffer, Polygon or geometry
        The place.
    temporal : TemporalSpec
        The span.
    **options
        See `RequestOptions`.

    Returns
    -------
    Embedding
        ``data`` (D,), or a georeferenced DataArray (D, y, x) for a grid; ``meta`` says what it was made of.

    Raises
    ------
    RsEmbedError
        What kept it from being made: NoImageryError, ProviderError, ModelError and so on.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> place = rs.PointBuffer(4.5, 50.7, buffer_m=160)
    >>> rs.get_embedding("bandstats", spatial=place, temporal=rs.TemporalSpec.year(2022), provider="synthetic")
    ... # doctest: +SKIP
    """
    spatials = places(spatial, options.get("crs"), buffer_m=options.get("buffer_m"))
    if len(spatials) != 1:
        fix = "use get_embeddings_batch or compute_embeddings for several"
        raise SpecError("spatial", value=f"{len(spatials)} places", reason="one place is needed", fix=fix)
    return get_embeddings_batch(model, spatials=spatials, temporal=temporal, **options)[0]


def get_embeddings_batch(
    model: object, spatials: object, temporal: object, **options: Unpack[RequestOptions]
) -> list[Embedding]:
    """Embed some places by one model, in this process; `compute_embeddings` is for many.

    Parameters
    ----------
    model : str, ModelSpec or dict
        The model.
    spatials : as `compute_embeddings`
        The places.
    temporal : TemporalSpec, or a list of them
        One span for all places, or one each.
    **options
        See `RequestOptions`.

    Returns
    -------
    list of Embedding
        In the order of the places.

    Raises
    ------
    RsEmbedError
        The first that kept an embedding from being made.
    """
    from rs_embed_dask.engine.local import embeddings_of

    return embeddings_of(plan(spatials, [ModelSpec.of(model)], temporal, **options))


def inspect_input(
    model: object, spatial: object, temporal: object, **options: Unpack[RequestOptions]
) -> dict[str, Cube]:
    """Read what a model would see, without running it.

    Parameters
    ----------
    model, spatial, temporal, **options
        As `get_embedding`.

    Returns
    -------
    dict of str to Cube
        By modality: pixels (T, B, H, W) in working units with their counts of observations; ``.to_xarray()`` gives
        a georeferenced array, ``.valid_fraction`` the share of valid pixels in each frame.

    Raises
    ------
    RsEmbedError
        What kept the pixels from being read.
    """
    from rs_embed_dask.engine.local import inputs_of

    return inputs_of(plan(spatial, [ModelSpec.of(model)], temporal, **options))


def _items(spatials: object, temporal: object, options: RequestOptions) -> list[Item]:
    """Pair every place with its span and name."""
    from rs_embed_dask.store import Item

    listed = places(spatials, options.get("crs"), buffer_m=options.get("buffer_m"))
    names = options.get("ids")
    if names is not None and len(names) != len(listed):
        reason, fix = f"there are {len(listed)} places", "give one name per place, or leave ids= out"
        raise SpecError("ids", value=f"{len(names)} names", reason=reason, fix=fix)
    pairs = zip(listed, spans(temporal, len(listed)), strict=True)
    return [
        Item(index, place, span, "" if names is None else str(names[index]))
        for index, (place, span) in enumerate(pairs)
    ]


def _sizes(options: RequestOptions) -> Sizes:
    from rs_embed_dask.engine.plan import Sizes

    return Sizes(chunk_items=options.get("chunk_items"), batch_items=options.get("batch_items", Sizes.batch_items))


def _statuses(only: object) -> frozenset[Status] | None:
    """Resolve the names of states. Raises UnknownNameError."""
    from rs_embed_dask.store import Status

    if only is None:
        return None
    given: Any = only
    listed = [given] if isinstance(given, (str, Status)) else list(given)
    names = [one.name if isinstance(one, Status) else str(one).upper() for one in listed]
    for name in names:
        if name not in Status.__members__:
            raise UnknownNameError.among("only", name.lower(), [one.lower() for one in Status.__members__])
    return frozenset(Status[name] for name in names)


def _run(
    todo: Plan, store: Store, *, client: Client | None, progress: Progress, only: frozenset[Status] | None = None
) -> RunReport:
    """Compute what is left, and note in the receipt what it was computed with."""
    from rs_embed_dask.engine.driver import run_plan
    from rs_embed_dask.engine.watch import Options

    report = run_plan(todo, store, client, options=Options(progress=progress, only=only))
    if report.weights:
        store.update_receipt(weights=store.receipt.get("weights", {}) | report.weights)
    return report
