"""The verbs of runs: plan, compute, resume."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from rs_embed_dask.api_maps import check_map_options, resume_map
from rs_embed_dask.engine.request import MapOptions, Request, RequestOptions, request_of, statuses_of
from rs_embed_dask.engine.signature import showing
from rs_embed_dask.specs.base import flag
from rs_embed_dask.specs.labelled import labelled_places
from rs_embed_dask.specs.places import check_places
from rs_embed_dask.specs.when import seasons, spans
from rs_embed_dask.store import Location, Part, Store, begin_part, held, seconds_to_wait
from rs_embed_dask.store.accessor import REPORT, selected
from rs_embed_dask.store.map_status import status
from rs_embed_dask.store.reader import open_store
from rs_embed_dask.store.target import located
from rs_embed_dask.store.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr

    from rs_embed_dask.engine.clusters import Connection
    from rs_embed_dask.engine.detached import Errand
    from rs_embed_dask.engine.plan import Plan, Sizes
    from rs_embed_dask.engine.report import RunReport
    from rs_embed_dask.engine.watch import Options, Progress
    from rs_embed_dask.maps.report import MapReport
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.specs.model import ModelsLike
    from rs_embed_dask.specs.places import PlacesLike
    from rs_embed_dask.specs.when import SpansLike
    from rs_embed_dask.store import ChunkRange, ItemColumns, Lease, Status
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.services import StorageOptions

__all__ = [
    "RequestOptions",
    "compute_embeddings",
    "embeddings_errand",
    "open_store",
    "plan",
    "resume",
    "status",
    "verify",
]


@showing(MapOptions, RequestOptions)
def compute_embeddings(
    spatials: PlacesLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    out: str | Path | None = None,
    client: Connection = None,
    progress: Progress = True,
    wait: float = 0.0,
    part: tuple[int, int] | None = None,
    storage_options: StorageOptions | None = None,
    **options: Unpack[RequestOptions],
) -> xr.DataTree:
    """Embed places by models over a span: the main call.

    Parameters
    ----------
    spatials : BBox, PointBuffer, Polygon, GeoDataFrame, path, geometry, or a list of them
        The places; see `places`.
    models : str, ModelSpec, dict, or a list of them
        "galileo", "galileo:nano", "galileo:nano:s1", or ``ModelSpec("galileo", variant="nano", weights=PATH)``.
    temporal : TemporalSpec, a list of them, or a mapping of labels to them
        One span for all places, or one each. Labelled ones (``{"spring": ..., "summer": ...}``), or a list of another
        length than the places, are for all: items are places x spans, place by place, with the label in ``span``.
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
    part : (int, int), optional
        Compute only part k of n, counted from 1, of the chunks of the store: n processes, each with a cluster of its
        own, give the same request and their own part, at once or one after another, and compute the whole together.
        The first makes the store, for which the others wait two minutes, or `wait` if that is longer. Rows of other
        parts are in the result as they are by then. Until all are done nothing can be added. Default: the whole.
    storage_options : dict, optional
        Of `out` on an object store, such as ``{"region": "eu-central-1"}``, by their names in obstore; credentials are
        refused, for they belong in the environment of each process.
    **options
        See `RequestOptions`.

    Returns
    -------
    xarray.DataTree
        The rows and models asked for, in the order asked, whatever else the store holds. ``/items``, with the columns
        that came with the places, and one group per model with ``embedding`` (item, dim) or (item, dim, y, x),
        ``status``, ``reason`` and quality layers.

    Raises
    ------
    SpecError, UnknownNameError
        If an argument is invalid, whether or not there is anything to do.
    PlanError
        If the request cannot be run at all.
    StoreMismatchError
        If the store at `out` was made by another request, has an id at another place, or a place under another id; or
        if it is being computed in parts, and other places or models, or another number of parts, are asked for.
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
    place = None if out is None else located(out, storage_options)
    share = Part.of(part, place)
    if place is None:
        with tempfile.TemporaryDirectory(prefix="rs-embed-dask-") as folder:
            target = Path(folder) / "result.zarr"
            tree = compute_embeddings(
                spatials, models, temporal, out=target, client=client, progress=progress, wait=wait, **options
            )
            return tree.load()
    request, sizes = request_of(models, options), _sizes(options)
    items = _items(spatials, temporal, options)
    _compute(items, request, sizes, out=place, client=client, progress=progress, wait=wait, part=share)
    return selected(open_store(place), Store.open(place).rows_of(items), request.labels)


@showing(MapOptions, RequestOptions)
def plan(
    spatials: PlacesLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    client: Connection = None,
    probe: bool = False,
    **options: Unpack[RequestOptions],
) -> Plan:
    """Return what `compute_embeddings` would do with the same arguments, without reading a pixel.

    Parameters
    ----------
    spatials, models, temporal, **options
        As `compute_embeddings`.
    client : distributed.Client, or a function, optional
        The cluster whose workers the time is estimated for. A function is not called: as by default, the time is that
        of the local cluster which a run creates for itself.
    probe : bool, default False
        Ask the provider's catalogue for the scenes of up to 16 places, one of each part of them, the same ones each
        time: scenes, requests and bytes then come from what it lists, and the plan states how long a search took.

    Returns
    -------
    Plan
        Prints reads, requests, bytes, batches, the size of the store, and how long that takes. Times come from what
        earlier runs of this user on this machine have measured of the same source and models; without any they are
        unknown (``plan.figures.times``, of None), until a run has ended.

    Raises
    ------
    SpecError, UnknownNameError, PlanError
        As `compute_embeddings`.
    ProviderError
        If the catalogue does not answer a probe.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> place = rs.PointBuffer(4.5, 50.7, buffer_m=160)
    >>> print(rs.plan(place, "bandstats", rs.TemporalSpec.year(2022), provider="synthetic"))  # doctest: +SKIP
    """
    from distributed import Client

    from rs_embed_dask.engine.clusters import check_client
    from rs_embed_dask.engine.plan import make_plan, probed
    from rs_embed_dask.engine.watch import Workers, current_workers

    flag("probe", probe, fix="give True or False")
    check_client(client)
    request, sizes = request_of(models, options), _sizes(options)
    items = _items(spatials, temporal, options)
    check_places(items.places)
    made = make_plan(items, request, sizes=sizes)
    if isinstance(client, Client):
        made = replace(made, figures=made.figures.on(Workers.of(current_workers(client)).crew))
    return probed(made) if probe else made


def resume(
    path: str | Path,
    *,
    only: Status | str | Iterable[Status | str] | None = None,
    provider: Provider | str | None = None,
    trust_hosts: Sequence[str] = (),
    client: Connection = None,
    progress: Progress = True,
    chunks: ChunkRange | None = None,
    part: tuple[int, int] | None = None,
    wait: float = 0.0,
    verify: bool = False,
    storage_options: StorageOptions | None = None,
) -> RunReport | MapReport:
    """Continue the run of a store, or of a map: compute what is pending or failed.

    Rows of chunks, and blocks of maps, whose files are missing are computed again, with a warning that names the files.

    Parameters
    ----------
    path : path or URL
        The store.
    only : str, Status, or a list of them, optional
        Compute only items, or blocks of a map, with these statuses, such as "read_failed"; "failed" is every kind of
        failure. Default: what is pending and what failed.
    provider : Provider or str, optional
        Replaces the provider of the stored request; needed if that one reads arrays in memory, or names a
        function for credentials or a key file, which a store may not do.
    trust_hosts : sequence of str, optional
        Hosts that the stored request may contact although neither this package knows them nor this user made the store
        on this machine.
    client, progress, wait, storage_options
        As `compute_embeddings`.
    chunks : (int, int), optional
        Compute only these chunks: the first, and the one after the last. Runs on chunks apart may go on at once. Not
        for maps.
    part : (int, int), optional
        Compute only part k of n, as in `compute_embeddings`. Not for maps, nor with `chunks` or `verify`.
    verify : bool, default False
        First verify and repair the store, which reads all of it; see the function `verify`.

    Returns
    -------
    RunReport or MapReport
        What happened; of places, also how it compares with the plan.

    Raises
    ------
    StoreError
        If there is no store, or if it cannot be read, or if its request names what only the caller may name (see
        ``docs/security.md``).
    StoreMismatchError
        If the store is being computed in another number of parts.
    StoreBusyError
        If another run is writing to these chunks; the message states who, and since when.
    SpecError, UnknownNameError
        If an argument is invalid, whether or not there is anything to do.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.resume("run.zarr", only="read_failed")  # doctest: +SKIP
    """
    from rs_embed_dask.engine.clusters import check_reach
    from rs_embed_dask.engine.driver import is_finished, nothing_left
    from rs_embed_dask.engine.plan import Sizes
    from rs_embed_dask.engine.stored import stored_request, trusted_hosts
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.providers import open_provider
    from rs_embed_dask.store import chunk_range, has_lost_chunks, verify as verify_store
    from rs_embed_dask.store.document import MAP, kind_of

    # Every argument is judged before the store is looked at, so that a finished one does not hide a mistake.
    statuses, span, wait = statuses_of(only), chunk_range(chunks), seconds_to_wait(wait)
    trusted_hosts(trust_hosts)
    source = None if provider is None else open_provider(provider)
    place = located(path, storage_options)
    share = Part.of(part, place, chunks=chunks, verify=verify)
    check_reach(place, client, comes_back=True)
    if verify:
        report = verify_store(place, repair=True, wait=wait)
        if not report.is_sound:
            warnings.warn(str(report), stacklevel=2)
    if kind_of(Location.of(place, read_only=True)) == MAP:
        check_map_options(chunks=chunks, part=part)
        options = Options(progress=progress, only=statuses)
        return resume_map(place, source, trust_hosts, client=client, options=options, wait=wait)
    store = Store.open(place, mode="r+")
    if share is not None:
        span = share.of_store(store)
    if is_finished(store, statuses, chunks=span) and not has_lost_chunks(store, store.labels, chunks=span):
        return nothing_left(store, Options(progress=progress))
    with held(store.location, share, chunks=span, wait=wait) as lease:
        store = Store.open(place, mode="r+")  # another run may have added to it
        request = stored_request(store, provider=source, trust_hosts=trust_hosts)  # a refusal leaves it untouched
        begin_part(share, store, lease)
        run_options = Options(progress=progress, only=statuses, chunks=lease.chunks, guard=lease.check)
        return _continued(store, request, Sizes(), client=client, options=run_options)


def _continued(store: Store, request: Request, sizes: Sizes, *, client: Connection, options: Options) -> RunReport:
    """Compute what is left of what a store holds, as it was decided when it was made; the caller has its lease."""
    from rs_embed_dask.engine.plan import StoredItems, make_plan
    from rs_embed_dask.engine.position_plan import settled_positions
    from rs_embed_dask.store import mend_lost_chunks

    mend_lost_chunks(store, chunks=options.chunks)
    chosen, settled = replace(sizes, chunk_items=store.chunk_items), settled_positions(store)
    todo = make_plan(StoredItems(store), request, sizes=chosen, stored=store.layouts, settled=settled)
    return _run(todo, store, client, options)


def _items(spatials: PlacesLike, temporal: SpansLike, options: RequestOptions) -> ItemColumns:
    """Pair every place with its span, or with all of them, and with its id."""
    from rs_embed_dask.engine.ids import check_unique
    from rs_embed_dask.store import ItemColumns

    told = labelled_places(spatials, options.get("crs"), buffer_m=options.get("buffer_m"), ids=options.get("ids"))
    named = seasons(temporal, len(told.column))
    if named is None:
        each = spans(temporal, len(told.column))
        items = ItemColumns(told.column, each, told.ids, columns=told.columns)
    else:
        items = ItemColumns.crossed(told.column, named, told.ids, columns=told.columns)
    check_unique(items)
    return items


def _sizes(options: RequestOptions) -> Sizes:
    from rs_embed_dask.engine.plan import Sizes

    return Sizes.of(options)


def _compute(
    items: ItemColumns,
    request: Request,
    sizes: Sizes,
    *,
    out: Target,
    client: Connection,
    progress: Progress,
    wait: float,
    part: Part | None,
) -> None:
    """Make or top up the store and compute what it lacks, under its lease; a finished one is only looked at."""
    from rs_embed_dask.engine.clusters import check_reach
    from rs_embed_dask.engine.driver import nothing_left
    from rs_embed_dask.engine.outlook import check_faults
    from rs_embed_dask.engine.recipe import choose
    from rs_embed_dask.engine.topup import finished_store
    from rs_embed_dask.engine.watch import Options

    wait = seconds_to_wait(wait)
    check_reach(out, client, comes_back=True)
    finished = finished_store(out, items, request, part=part)
    if finished is not None:
        nothing_left(finished, Options(progress=progress))
        return
    check_faults(choose(request), is_here=client is None)
    with _made(items, request, sizes, out=out, wait=wait, part=part) as (store, todo, lease):
        _run(todo, store, client, Options(progress=progress, chunks=lease.chunks, guard=lease.check))


@contextmanager
def _made(
    items: ItemColumns, request: Request, sizes: Sizes, *, out: Target, wait: float, part: Part | None
) -> Iterator[tuple[Store, Plan, Lease]]:
    """Make the store at `out`, or add to it what it lacks, and hold its lease, or that of a part."""
    from rs_embed_dask.engine.topup import keep_columns, lacks, new_plan, store_for

    new = new_plan(out, items, request, sizes=sizes, part=part)
    with held(Location.of(out), part, wait=wait, grows=partial(lacks, items, request)) as lease:
        store, todo = store_for(out, items, request, sizes=sizes, new=new, part=part)
        keep_columns(store, items)
        begin_part(part, store, lease)
        yield store, todo, lease


def embeddings_errand(
    spatials: PlacesLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    out: Target,
    progress: Progress = True,
    wait: float = 0.0,
    part: tuple[int, int] | None = None,
    **options: Unpack[RequestOptions],
) -> Errand:
    """Validate a call of `compute_embeddings` for a driver elsewhere: it continues the store that is made here."""
    from rs_embed_dask.engine.detached import Errand
    from rs_embed_dask.engine.outlook import check_faults
    from rs_embed_dask.engine.recipe import choose
    from rs_embed_dask.engine.topup import finished_store

    request, sizes, wait = request_of(models, options), _sizes(options), seconds_to_wait(wait)
    share = Part.of(part, out)
    items = _items(spatials, temporal, options)
    if finished_store(out, items, request, part=share) is None:
        check_faults(choose(request), is_here=False)
    return Errand(
        make=partial(_make, items, request, sizes, out=out, wait=wait, part=share),
        job=partial(_drive, Location.of(out), request, sizes, share),
        progress=progress,
    )


def _make(items: ItemColumns, request: Request, sizes: Sizes, *, out: Target, wait: float, part: Part | None) -> None:
    from rs_embed_dask.engine.topup import finished_store

    if finished_store(out, items, request, part=part) is None:
        with _made(items, request, sizes, out=out, wait=wait, part=part):
            pass


def _drive(
    place: Location,
    request: Request,
    sizes: Sizes,
    part: Part | None,
    *,
    client: Connection,
    options: Options,
    wait: float,
) -> RunReport:
    """Continue the store of a submitted call, or a part of it."""
    with held(place, part, wait=wait, guard=options.guard) as lease:
        store = Store.open(place, mode="r+")
        begin_part(part, store, lease)
        own = replace(options.guarded(lease.check), chunks=lease.chunks)
        return _continued(store, request, sizes, client=client, options=own)


def _run(todo: Plan, store: Store, client: Connection, options: Options) -> RunReport:
    """Compute what is left, and record in the receipt weights, and how it compares with the plan."""
    from rs_embed_dask.engine.driver import run_plan

    report = run_plan(todo, store, client, options=options)
    if report.chunks:
        weights = {"weights": report.weights} if report.weights else {}
        store.update_receipt(**{REPORT: report.against_plan.to_dict()}, **weights)
    return report
