"""The verbs of maps: plan, compute, open, and how seamless they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, cast

from rs_embed_dask.engine.request import MapOptions, RequestOptions, request_of
from rs_embed_dask.engine.signature import showing
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs.when import layers
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from rs_embed_dask.engine.clusters import Connection
    from rs_embed_dask.engine.detached import Errand
    from rs_embed_dask.engine.watch import Options, Progress
    from rs_embed_dask.maps.plan import MapPlan
    from rs_embed_dask.maps.region import RegionLike
    from rs_embed_dask.maps.report import MapReport
    from rs_embed_dask.maps.request import MapRun
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.specs.accepted import CrsLike
    from rs_embed_dask.specs.model import ModelsLike
    from rs_embed_dask.specs.output import Positions
    from rs_embed_dask.specs.when import SpansLike
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.services import StorageOptions

__all__ = ["check_map_options", "compute_map", "map_errand", "map_scores", "open_map", "plan_map", "resume_map"]


@showing(MapOptions)
def compute_map(
    region: RegionLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    out: str | Path,
    crs: CrsLike = "utm",
    overlap: float = 1 / 12,
    positions: Positions = "auto",
    dtype: str = "float16",
    dims: int | None = None,
    client: Connection = None,
    progress: Progress = True,
    wait: float = 0.0,
    storage_options: StorageOptions | None = None,
    preview: bool = True,
    **options: Unpack[MapOptions],
) -> xr.DataTree:
    """Embed a whole region: a seamless field per model, on a lattice that all maps share.

    Parameters
    ----------
    region : BBox, Polygon, GeoDataFrame, shapely geometry or path of a vector file
        Where; land and sea alike, in any reference system.
    models : str, ModelSpec, dict, or a list of them
        As `compute_embeddings`. A token is the model's own: its patch times the pixel size.
    temporal : TemporalSpec, or a list of them
        One layer along ``time`` each.
    out : path or URL
        The Zarr store. If it exists, the map continues: what is done stays, and spans, models and neighbouring regions
        are added without moving anything.
    crs : "utm" or str or int or CRS, default "utm"
        One group per UTM zone, or one projection in metres for all. A product in cells of degrees has a group
        ``lonlat`` of its own, whatever the others have.
    overlap : float, default 1/12
        Share of a window's side that the next window covers too, rounded to whole tokens.
    positions : {"auto", "removed", "kept"}, array, path or PositionTable, default "auto"
        Whether what the position in the window adds to a vector is measured and taken away; "auto" does so where it
        explains more than 1 % of the variance. A table (dim, row, column), or the path of a map or store that has
        one of the model (``position_mean``), is used as it is: maps of several regions are then comparable.
    dtype : {"float16", "float32", "int8"}, default "float16"
        How vectors are stored; int8 has a scale per token.
    dims : int, optional
        Keep the first numbers of each vector only, of models that were trained for it.
    client, progress, wait, storage_options
        As `compute_embeddings`.
    preview : bool, default True
        Draw the map into its store once it is computed, as `build_preview` does: this process reads all vectors again.
        `resume` does so too, of a map that was asked for with a preview.
    **options
        See `MapOptions`.

    Returns
    -------
    xarray.DataTree
        ``tree[model][group].embedding`` (time, dim, y, x) with quality layers, cropped to the computed blocks; lazy.

    Raises
    ------
    SpecError, UnknownNameError
        If an argument is invalid.
    PlanError
        If a model cannot be mapped: a product at another resolution or in another projection than its own, or
        modalities of different pixel sizes.
    StoreMismatchError
        If the map at `out` was made in another way.
    StoreBusyError
        If another run is writing to the map at `out`; the message states who, and since when.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> region, year = rs.BBox(2.0, 50.9, 2.1, 51.0), rs.TemporalSpec.year(2022)
    >>> tree = rs.compute_map(region, "bandstats", year, out="map.zarr", provider="synthetic")  # doctest: +SKIP
    >>> tree["bandstats"]["utm31"].embedding  # doctest: +SKIP
    """
    from rs_embed_dask.engine.clusters import check_reach
    from rs_embed_dask.engine.watch import Options
    from rs_embed_dask.maps.compute import compute
    from rs_embed_dask.maps.estimate import plan_of
    from rs_embed_dask.store import seconds_to_wait

    wait = seconds_to_wait(wait)
    place = located(out, storage_options)
    check_reach(place, client)
    run = _map_run(region, models, temporal, (crs, overlap, dtype, positions, dims), options, has_preview=preview)
    planned = plan_of(run)
    planned.outlook.warn()
    compute(run, place, client=client, options=Options(progress=progress), plan=planned, wait=wait)
    return open_map(place)


def map_errand(
    region: RegionLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    out: Target,
    crs: CrsLike = "utm",
    overlap: float = 1 / 12,
    positions: Positions = "auto",
    dtype: str = "float16",
    dims: int | None = None,
    progress: Progress = True,
    wait: float = 0.0,
    preview: bool = True,
    **options: Unpack[MapOptions],
) -> Errand:
    """Validate a call of `compute_map` for a driver elsewhere: it continues the map that is made here."""
    from rs_embed_dask.engine.detached import Errand
    from rs_embed_dask.engine.outlook import check_faults
    from rs_embed_dask.maps.compute import compute
    from rs_embed_dask.maps.estimate import plan_of
    from rs_embed_dask.store import Location, seconds_to_wait

    wait = seconds_to_wait(wait)
    run = _map_run(region, models, temporal, (crs, overlap, dtype, positions, dims), options, has_preview=preview)
    plan_of(run).outlook.warn()
    check_faults(list(run.chosen.values()), is_here=False)
    job = partial(compute, run, Location.of(out))
    return Errand(make=partial(_make, run, out, wait), job=job, progress=progress)


def _make(run: MapRun, out: Target, wait: float) -> None:
    from rs_embed_dask.maps.compute import made_map

    with made_map(run, out, wait=wait):
        pass


@showing(MapOptions)
def plan_map(
    region: RegionLike,
    models: ModelsLike,
    temporal: SpansLike,
    *,
    crs: CrsLike = "utm",
    overlap: float = 1 / 12,
    positions: Positions = "auto",
    dtype: str = "float16",
    dims: int | None = None,
    **options: Unpack[MapOptions],
) -> MapPlan:
    """Return what `compute_map` would do with the same arguments, without reading a pixel.

    Parameters
    ----------
    region, models, temporal, crs, overlap, positions, dtype, dims, **options
        As `compute_map`.

    Returns
    -------
    MapPlan
        Prints blocks, windows, reads, bytes, what happens to positions, the size of the store and an estimate of the
        time.

    Raises
    ------
    SpecError, UnknownNameError, PlanError
        As `compute_map`.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> region, year = rs.BBox(2.0, 50.9, 2.1, 51.0), rs.TemporalSpec.year(2022)
    >>> rs.plan_map(region, "bandstats", year, provider="synthetic").models[0].blocks
    {'utm31': 9}
    """
    from rs_embed_dask.maps.estimate import plan_of

    planned = plan_of(_map_run(region, models, temporal, (crs, overlap, dtype, positions, dims), options))
    planned.outlook.warn()
    return planned


def map_scores(path: Target, *, storage_options: StorageOptions | None = None) -> pd.DataFrame:
    """Return how seamless a map is, from what passed by while it was computed.

    Parameters
    ----------
    path : path or URL
        The map.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Returns
    -------
    pandas.DataFrame
        One row per model:

        - ``blocks``: blocks that were scored, and ``tokens``, those of them that give the score lattice;
        - ``neighbours``: median of the cosine distance of neighbouring tokens that belong to the same window;
        - ``seam_median``, ``seam_p99``: that of neighbours in different windows, as a multiple; 1 is no seam;
        - ``block_median``, ``block_p99``: the same of neighbours in different blocks;
        - ``lattice``: share of the variance of the vectors that their position in the window explains, and
          ``lattice_chance``, the share that chance would explain;
        - ``zone_tokens``, ``zone_mean``, ``zone_least``: cosine of two UTM zones' vectors on the ground they share;
        - ``decay_1`` to ``decay_64``: mean cosine of vectors that many tokens apart.

    Raises
    ------
    StoreError
        If there is no map, or one that cannot be read.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.map_scores("county.zarr")[["seam_median", "lattice"]]  # doctest: +SKIP
    """
    from rs_embed_dask.maps.kept import scores_frame
    from rs_embed_dask.store import MapStore

    return scores_frame(MapStore.open(located(path, storage_options)))


def check_map_options(**given: object) -> None:
    """Refuse options of `resume` that a map does not have."""
    for name, value in given.items():
        if value:
            reason = "a map has no such option: it is continued whole"
            raise SpecError(name, value=value, reason=reason, fix=f"leave {name} out")


def resume_map(
    path: Target,
    source: Provider | None,
    trust_hosts: Sequence[str],
    *,
    client: Connection,
    options: Options,
    wait: float,
) -> MapReport:
    """Continue a map from what its store says; see `rs_embed_dask.api.resume`."""
    from rs_embed_dask.engine.stored import stored_request
    from rs_embed_dask.maps.compute import compute_store
    from rs_embed_dask.maps.kept import region_of
    from rs_embed_dask.maps.request import MapRequest, MapRun
    from rs_embed_dask.store import Location, MapStore, leased

    with leased(Location.of(path), wait=wait) as lease:
        store = MapStore.open(path, mode="r+")
        request = stored_request(store, provider=source, trust_hosts=trust_hosts)
        run = MapRun(region_of(store), MapRequest.from_dict(store.request, request))
        return compute_store(run, store, client=client, options=replace(options, guard=lease.check))


def _map_run(
    region: RegionLike,
    models: ModelsLike,
    temporal: SpansLike,
    field: tuple[Any, ...],
    options: MapOptions,
    *,
    has_preview: bool = False,
) -> MapRun:
    """Resolve a map's arguments; `field` are crs, overlap, dtype, positions and dims."""
    from rs_embed_dask.engine.plan import Sizes
    from rs_embed_dask.maps.region import Region
    from rs_embed_dask.maps.request import MapRequest, MapRun

    for name in options:
        if name not in MapOptions.__annotations__:
            raise UnknownNameError.among("option", name, MapOptions.__annotations__)
    wanted = MapRequest(request_of(models, cast("RequestOptions", options)), layers(temporal), *field)
    return MapRun(Region.of(region), wanted, sizes=Sizes.of(options), has_preview=has_preview)
