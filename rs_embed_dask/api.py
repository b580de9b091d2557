"""The verbs: plan, compute, resume, inspect, and one embedding at a time."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from rs_embed_dask.engine.request import Request, RequestOptions, request_of, statuses_of
from rs_embed_dask.errors import SpecError
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.specs.places import check_places, place_column, places
from rs_embed_dask.specs.when import spans
from rs_embed_dask.store.reader import open_store
from rs_embed_dask.store.status import status
from rs_embed_dask.store.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.engine.clusters import Connection
    from rs_embed_dask.engine.plan import Plan, Sizes
    from rs_embed_dask.engine.report import RunReport
    from rs_embed_dask.engine.suitability import Suitability
    from rs_embed_dask.engine.watch import Options, Progress
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.store import ChunkRange, ItemColumns, Store

__all__ = [
    "RequestOptions",
    "can_run",
    "compute_embeddings",
    "get_embedding",
    "get_embeddings_batch",
    "inspect_input",
    "open_store",
    "plan",
    "resume",
    "status",
    "verify",
]


def compute_embeddings(
    spatials: object,
    models: object,
    temporal: object,
    *,
    out: str | Path | None = None,
    client: Connection = None,
    progress: Progress = True,
    wait: float = 0.0,
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
        The Zarr store. If it exists, the run continues it: what is done stays, new places and models are added, a
        different request is refused. Without it the result is in memory.
    client : distributed.Client, or a function, optional
        The cluster to use; it is left open, and its workers must be able to write to `out`. A function without
        arguments returns a context manager that yields a client; it is called once the plan is made and if there is
        work to do. Without it a local cluster is created then, and closed.
    progress : bool, "bar", "log" or callable, default True
        How progress is shown; a callable receives every event.
    wait : float, default 0
        Seconds to wait while another run writes to `out`.
    **options
        See `RequestOptions`.

    Returns
    -------
    xarray.DataTree
        ``/items`` and one group per model with ``embedding`` (item, dim) or (item, dim, y, x), ``status``, ``reason``
        and quality layers.

    Raises
    ------
    SpecError, UnknownNameError
        If an argument is invalid, whether or not there is anything to do.
    PlanError
        If the request cannot be run at all.
    StoreMismatchError
        If the store at `out` was made by another request.
    StoreBusyError
        If another run is writing to the store at `out`; the message says who, and since when.
    EngineError
        If the cluster was lost; what is stored stays, and the same call continues the run.

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
    if out is None:
        with tempfile.TemporaryDirectory(prefix="rs-embed-dask-") as folder:
            target = Path(folder) / "result.zarr"
            tree = compute_embeddings(
                spatials, models, temporal, out=target, client=client, progress=progress, wait=wait, **options
            )
            return tree.load()
    request, sizes = request_of(models, options), _sizes(options)
    _compute(_items(spatials, temporal, options), request, sizes, out=out, client=client, progress=progress, wait=wait)
    return open_store(out)


def plan(spatials: object, models: object, temporal: object, **options: Unpack[RequestOptions]) -> Plan:
    """Return what `compute_embeddings` would do with the same arguments, without reading a pixel.

    Parameters
    ----------
    spatials, models, temporal, **options
        As `compute_embeddings`.

    Returns
    -------
    Plan
        Prints reads, requests, bytes, batches, the size of the store and an estimate of the time.

    Raises
    ------
    SpecError, UnknownNameError, PlanError
        As `compute_embeddings`.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> place = rs.PointBuffer(4.5, 50.7, buffer_m=160)
    >>> print(rs.plan(place, "bandstats", rs.TemporalSpec.year(2022), provider="synthetic"))  # doctest: +SKIP
    """
    from rs_embed_dask.engine.plan import make_plan

    request, sizes = request_of(models, options), _sizes(options)
    items = _items(spatials, temporal, options)
    check_places(items.places)
    return make_plan(items, request, sizes=sizes)


def can_run(
    source: object,
    temporal: object = None,
    *,
    models: Sequence[str] | None = None,
    provider: Provider | str | Sequence[Provider | str] | None = None,
    search: bool = False,
    crs: str | None = None,
    buffer_m: float | None = None,
    **data_options: object,
) -> Suitability:
    """Tell which models can run on some data or at some places, and why each of the others cannot.

    Parameters
    ----------
    source : array, raster files, folder, provider, or places
        Pixels (an xarray object, an array, GeoTIFFs or a folder of them, an open provider), or anything that `places`
        accepts.
    temporal : TemporalSpec, optional
        The span; scenes outside it do not count. Default: any time.
    models : sequence of str, optional
        Ids to judge. Default: all.
    provider : str, Provider, or a sequence of them, optional
        Where the pixels of places would come from. Default: Planetary Computer and Earth Engine.
    search : bool, default False
        Ask the providers' catalogues for scenes; needs a span. Otherwise nothing leaves this machine.
    crs, buffer_m : str, float, optional
        As `places`.
    **data_options
        Of the provider ``files``, for pixels: ``sensor``, ``bands``, ``dates``, ``grid`` and so on.

    Returns
    -------
    Suitability
        One verdict for each model, modality and provider: whether it runs, the days (UTC) with scenes, or the reason
        and the fix. ``.models`` lists those that can run. Where a model combines modalities freely, each is judged
        alone; weights and licences are not looked at.

    Raises
    ------
    SpecError, UnknownNameError
        If an argument is invalid, or the data state neither sensor nor place.

    Examples
    --------
    >>> import numpy as np
    >>> import rs_embed_dask as rs
    >>> from rs_embed_dask.imagery.grid import Grid
    >>> grid = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_600_000), (8, 8))
    >>> pixels = np.ones((1, 3, 8, 8), "uint16")
    >>> told = {"sensor": "sentinel-2-l2a", "bands": ("red", "green", "blue"), "dates": "2022-06-05", "grid": grid}
    >>> rs.can_run(pixels, models=["satmae", "galileo"], **told).models
    ('satmae',)
    """
    from rs_embed_dask.engine import suitability
    from rs_embed_dask.providers import Provider as AnyProvider, open_provider
    from rs_embed_dask.specs import TemporalSpec

    span = None if temporal is None else TemporalSpec.of(temporal)
    if suitability.is_imagery(source):
        if provider is not None:
            fix = "leave provider out, or give places"
            raise SpecError("provider", value=provider, reason="the pixels are given", fix=fix)
        own = (
            source
            if isinstance(source, AnyProvider)
            else open_provider("files", source=source, crs=crs, **data_options)
        )
        return suitability.judged(models, [own], suitability.Question(temporal=span))
    if data_options:
        reason = "these options are for pixels, and places were given"
        raise SpecError("options", value=sorted(data_options), reason=reason, fix="leave them out")
    if search and span is None:
        raise SpecError("search", value=search, reason="a search needs a span", fix="give temporal=")
    question = suitability.Question(places(source, crs, buffer_m=buffer_m), span, search)
    return suitability.judged(models, suitability.providers_for(provider), question)


def resume(
    path: str | Path,
    *,
    only: object = None,
    provider: Provider | str | None = None,
    trust_hosts: Sequence[str] = (),
    client: Connection = None,
    progress: Progress = True,
    chunks: ChunkRange | None = None,
    wait: float = 0.0,
    verify: bool = False,
) -> RunReport:
    """Continue the run of a store: compute what is pending or failed.

    Rows of chunks whose files are missing are computed again, with a warning that names the files.

    Parameters
    ----------
    path : path or URL
        The store.
    only : str, Status, or a list of them, optional
        Compute only items with these statuses, such as "read_failed"; "failed" is every kind of failure. Default:
        pending and failed items.
    provider : Provider or str, optional
        Replaces the provider of the stored request; needed if that one reads arrays in memory, or names a
        function for credentials or a key file, which a store may not do.
    trust_hosts : sequence of str, optional
        Hosts that the stored request may contact although neither this package knows them nor this user made the store
        on this machine.
    client, progress, wait
        As `compute_embeddings`.
    chunks : (int, int), optional
        Compute only these chunks: the first, and the one after the last. Runs on chunks apart may go on at once.
    verify : bool, default False
        First verify and repair the store, which reads all of it; see the function `verify`.

    Returns
    -------
    RunReport
        What happened, and how it compares with the plan.

    Raises
    ------
    StoreError
        If there is no store, or if it cannot be read, or if its request names what only the caller may name (see
        ``docs/security.md``).
    StoreBusyError
        If another run is writing to these chunks; the message states who, and since when.
    SpecError, UnknownNameError
        If an argument is invalid, whether or not there is anything to do.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.resume("run.zarr", only="read_failed")  # doctest: +SKIP
    """
    from rs_embed_dask.engine.clusters import check_client
    from rs_embed_dask.engine.driver import is_finished, nothing_left
    from rs_embed_dask.engine.plan import Sizes, StoredItems, make_plan
    from rs_embed_dask.engine.stored import stored_request, trusted_hosts
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.providers import open_provider
    from rs_embed_dask.store import (
        Store,
        chunk_range,
        has_lost_chunks,
        leased,
        mend_lost_chunks,
        seconds_to_wait,
        verify as verify_store,
    )

    # Every argument is judged before the store is looked at, so that a finished one does not hide a mistake.
    statuses, span, wait = statuses_of(only), chunk_range(chunks), seconds_to_wait(wait)
    trusted_hosts(trust_hosts)
    check_client(client)
    source = None if provider is None else open_provider(provider)
    if verify:
        report = verify_store(path, repair=True, wait=wait)
        if not report.is_sound:
            warnings.warn(str(report), stacklevel=2)
    store = Store.open(path, mode="r+")
    if is_finished(store, statuses, chunks=span) and not has_lost_chunks(store, store.labels, chunks=span):
        return nothing_left(store, Options(progress=progress))
    with leased(store.location, chunks=span, wait=wait) as lease:
        store = Store.open(path, mode="r+")  # another run may have added to it
        request = stored_request(store, provider=source, trust_hosts=trust_hosts)  # a refusal leaves it untouched
        mend_lost_chunks(store, chunks=span)
        sizes = Sizes(chunk_items=store.chunk_items)
        todo = make_plan(StoredItems(store), request, sizes=sizes, stored=store.layouts)
        run_options = Options(progress=progress, only=statuses, chunks=span, guard=lease.check)
        return _run(todo, store, client, run_options)


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
        ``data`` (dim,), or a georeferenced DataArray (dim, y, x) for a grid; ``meta`` holds its provenance.

    Raises
    ------
    RsEmbedError
        The reason for a failure: NoImageryError, ProviderError, ModelError and so on.

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
        reason = "exactly one place is needed"
        raise SpecError("spatial", value=counted(len(spatials), "place"), reason=reason, fix=fix)
    return get_embeddings_batch(model, spatials=spatials, temporal=temporal, **options)[0]


def get_embeddings_batch(
    model: object, spatials: object, temporal: object, **options: Unpack[RequestOptions]
) -> list[Embedding]:
    """Embed a few places by one model, in this process; `compute_embeddings` is for many.

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
        The first failure, in the order of the places.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> places = [rs.PointBuffer(lon, 50.7, buffer_m=160) for lon in (4.5, 4.6)]
    >>> rs.get_embeddings_batch("bandstats", places, rs.TemporalSpec.year(2022), provider="synthetic")
    ... # doctest: +SKIP
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
        By modality: pixels (time, band, y, x) in working units with the number of observations behind each;
        ``.to_xarray()`` gives a georeferenced array, ``.valid_fraction`` the share of valid pixels per frame.

    Raises
    ------
    RsEmbedError
        Why the pixels could not be read.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> place = rs.PointBuffer(4.5, 50.7, buffer_m=160)
    >>> cubes = rs.inspect_input("rcf", place, rs.TemporalSpec.year(2022), provider="synthetic")  # doctest: +SKIP
    >>> cubes["s2"].to_xarray()  # doctest: +SKIP
    """
    from rs_embed_dask.engine.local import inputs_of

    return inputs_of(plan(spatial, [ModelSpec.of(model)], temporal, **options))


def _items(spatials: object, temporal: object, options: RequestOptions) -> ItemColumns:
    """Pair every place with its span and name."""
    from rs_embed_dask.store import ItemColumns

    column = place_column(spatials, options.get("crs"), buffer_m=options.get("buffer_m"))
    names = options.get("ids")
    if names is not None and len(names) != len(column):
        reason, fix = f"there are {counted(len(column), 'place')}", "give one name per place, or leave ids= out"
        raise SpecError("ids", value=counted(len(names), "name"), reason=reason, fix=fix)
    # As an array: what is given may be a table's column, whose rows have names of their own.
    return ItemColumns(column, spans(temporal, len(column)), None if names is None else np.asarray(names, dtype=object))


def _sizes(options: RequestOptions) -> Sizes:
    from rs_embed_dask.engine.plan import Sizes

    return Sizes(chunk_items=options.get("chunk_items"), batch_items=options.get("batch_items", Sizes.batch_items))


def _compute(
    items: ItemColumns,
    request: Request,
    sizes: Sizes,
    *,
    out: str | Path,
    client: Connection,
    progress: Progress,
    wait: float,
) -> None:
    """Make or top up the store and compute what it lacks, under its lease; a finished one is only looked at."""
    from rs_embed_dask.engine.clusters import check_client
    from rs_embed_dask.engine.driver import nothing_left
    from rs_embed_dask.engine.topup import finished_store, new_plan, store_for
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.store import Location, leased, seconds_to_wait

    wait = seconds_to_wait(wait)
    check_client(client)
    finished = finished_store(out, items, request)
    if finished is not None:
        nothing_left(finished, Options(progress=progress))
        return
    new = new_plan(out, items, request, sizes=sizes)
    with leased(Location.of(out), wait=wait) as lease:
        store, todo = store_for(out, items, request, sizes=sizes, new=new)
        _run(todo, store, client, Options(progress=progress, guard=lease.check))


def _run(todo: Plan, store: Store, client: Connection, options: Options) -> RunReport:
    """Compute what is left, and record in the receipt which weights it was computed with."""
    from rs_embed_dask.engine.driver import run_plan

    report = run_plan(todo, store, client, options=options)
    if report.weights:
        store.update_receipt(weights=report.weights)
    return report
