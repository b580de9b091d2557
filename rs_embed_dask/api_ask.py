"""The verbs that ask a run or a map: search, and statistics of zones."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

from rs_embed_dask.analysis.blocks import one_model, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from distributed import Client

    from rs_embed_dask.specs.places import PlacesLike
    from rs_embed_dask.store.document import Target

__all__ = ["search", "zonal"]


def search(
    run: xr.DataTree | Target,
    like: Any,
    *,
    negatives: Any = None,
    k: int = 10,
    model: str | None = None,
    span: int | str | None = None,
    client: Client | None = None,
) -> gpd.GeoDataFrame:
    """Find the places of a run, or the tokens of a map, whose vectors are most like some examples.

    Every vector is compared, by the cosine of the angle between the two; nothing is left out or estimated.

    Parameters
    ----------
    run : DataTree, path or URL
        A run or a map: what `compute_embeddings`, `compute_map`, `open_store` or `open_map` returned, or a store.
    like : place, str, vector, or a list of them
        One example or several (positives). A place is a `BBox`, `PointBuffer`, `Polygon`, a shapely geometry, GeoJSON
        or a pair (longitude, latitude). Of a map it stands for the mean vector inside it, a point for the token that it
        lies in; of a run, for the items that its middle lies in. Text is the id of an item. A vector has the model's
        length, such as an `Embedding` of `get_embedding`. A GeoDataFrame counts as the list of its geometries.
    negatives : as `like`, optional
        What is not meant. The query is then twice the mean direction of the positives less that of the negatives.
    k : int, default 10
        How many are returned.
    model : str, optional
        The model; needed where there are several.
    span : int or str, optional
        Only this span: its number along ``time`` of a map, its number or name in a run. Default: all of them.
    client : distributed.Client, optional
        Compare on its workers, chunk by chunk. Default: in this process, a chunk at a time.

    Returns
    -------
    geopandas.GeoDataFrame
        The k nearest by ``score``, the cosine with the query, from 1 down; the examples themselves among them. Of items
        indexed by ``id`` and ``span``, with their outlines; of tokens with ``group``, ``span``, ``x``, ``y``, ``crs``,
        ``lon`` and ``lat`` of the middle. Items and tokens without a vector are never found.

    Raises
    ------
    StoreError
        If there are several models, or no vector of an example.
    UnknownNameError
        If there is no such model, item or span.
    SpecError
        If an example is none, or examples cancel each other.

    Warns
    -----
    UserWarning
        Where positions of the network's windows are still in the tokens: what is nearest may then be what lies at the
        same place of its window.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.search("county.zarr", like=(4.35, 50.85), k=100).to_file("like.geojson")  # doctest: +SKIP
    >>> rs.search("fields.zarr", like=["field-3", "field-8"], negatives=["field-5"])  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.search import Searched

    tree = opened(run)
    searched = Searched.of(tree, one_model(tree, model), span)
    _warn_of_positions(tree, searched.label, searched.fields)
    return searched.find(like, negatives, k=k, client=client)


def _warn_of_positions(tree: xr.DataTree, label: str, fields: tuple[Any, ...]) -> None:
    """Warn where what is nearest may be what lies at the same place of its window."""
    from rs_embed_dask.analysis.search import positions_kept

    if statement := positions_kept(fields):
        lattice = _lattice(tree, label)
        share = "" if lattice is None else f", and explain {lattice:.1%} of what varies in this map"
        message = (
            f"positions of the window are still in the tokens of {label} ({statement}){share}: the nearest tokens may "
            f"be those at the same place of their window. Compute it with positions='removed' to search the ground"
        )
        warnings.warn(message, UserWarning, stacklevel=3)


def _lattice(tree: xr.DataTree, label: str) -> float | None:
    """Return the share of a map's variance that the position in the window explains, as its scores have it."""
    from rs_embed_dask.maps.kept import scores_frame
    from rs_embed_dask.store import MapStore
    from rs_embed_dask.store.map_reader import SOURCE

    if SOURCE not in tree.encoding:
        return None
    scores = scores_frame(MapStore.open(tree.encoding[SOURCE])).to_dict("index")[label]
    return float(scores["lattice"]) if scores["tokens"] else None


def zonal(
    map: xr.DataTree | Target,  # noqa: A002 - what it is of
    polygons: PlacesLike,
    *,
    stat: Literal["mean", "sum"] = "mean",
    model: str | Sequence[str] | None = None,
    span: int | None = None,
    client: Client | None = None,
) -> gpd.GeoDataFrame:
    """Compute means or sums of a map over polygons, each token weighted by the exact share of it that lies inside.

    Sums and counts of polygons that make up a larger one add up to its own. A block is read once, whatever the number
    of polygons in it, and one that none touches is not read.

    Parameters
    ----------
    map : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path; also a map made of one, such as one of classes.
    polygons : GeoDataFrame, path of a vector file, BBox, Polygon, shapely polygon, or a list of these
        In any reference system. Edges bend with the projection, to 1 cm.
    stat : {"mean", "sum"}, default "mean"
        Of the vectors' numbers, over tokens that have a vector.
    model : str or list of str, optional
        Default: all.
    span : int, optional
        Only this span, by its number along ``time``; default all.
    client : distributed.Client, optional
        As `search`.

    Returns
    -------
    geopandas.GeoDataFrame
        The polygons with their own columns, in their order, for each span, indexed by theirs and ``span``. For each
        model ``MODEL_tokens``, the count of tokens with a vector, each by its share (0 where there is none), and
        ``MODEL_0001`` and so on, NaN as a mean of none. Of a map of classes ``MODEL_CLASS``: the share of the tokens
        that have this class, or with "sum" their count; of other bands ``MODEL_BAND``.

    Raises
    ------
    SpecError
        If a polygon has no area or is not simple, or an argument is invalid.
    UnknownNameError
        If the map has no such model.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.zonal("county.zarr", "tracts.gpkg")["rcf_tokens"]  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.areas import areas_of
    from rs_embed_dask.analysis.zones import MEAN, SUM, zone_table
    from rs_embed_dask.specs.base import choice
    from rs_embed_dask.store.export.fields import fields_of, map_tree

    choice("stat", stat, (MEAN, SUM))
    table, areas = areas_of(polygons)
    return zone_table(fields_of(map_tree(map), model, span=span), table, areas, stat=stat, client=client)
