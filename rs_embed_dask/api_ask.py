"""The verbs that ask a run or a map: search, statistics of zones, what labels say of the rest, change and classes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from rs_embed_dask.analysis.blocks import check_client, one_model
from rs_embed_dask.store.export.items import any_tree, is_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    from distributed import Client

    from rs_embed_dask.analysis.explorer import Explorer
    from rs_embed_dask.analysis.probe import Probe
    from rs_embed_dask.specs.places import PlacesLike
    from rs_embed_dask.store.document import Target

__all__ = ["change", "classes", "explore", "probe", "search", "zonal"]


def search(
    run: xr.DataTree | Target,
    like: Any,
    *,
    negatives: Any = None,
    k: int = 10,
    model: str | None = None,
    span: int | str | None = None,
    codes: str | Path | None = None,
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
    codes : path, optional
        Of a map: a folder with int8 codes of its vectors, made by the first call with it. They say of each vector how
        large its cosine can be at most; the few that may be among the best are read and compared. The result is the
        same. It pays beyond some ten million vectors of float16 or float32 that are searched again and again.
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
        If an example is none, examples cancel each other, or a setting is of another type.
    StoreMismatchError
        If `codes` are of another map, or of what it was before more was computed.

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
    from rs_embed_dask.analysis.codes import Codes
    from rs_embed_dask.analysis.search import Searched

    check_client(client)
    place = Codes.folder(codes)
    tree = any_tree(run)
    searched = Searched.of(tree, one_model(tree, model), span)
    _warn_of_positions(tree, searched.label, searched.fields)
    return searched.find(like, negatives, k=k, client=client, codes=place)


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


def explore(
    map: xr.DataTree | Target,  # noqa: A002 - what is shown
    *,
    model: str | None = None,
    span: int = 0,
    k: int = 10,
    codes: str | Path | None = None,
    client: Client | None = None,
    height: int = 560,
    basemap: Any = None,
) -> Explorer:
    """Show a map in a notebook: its colours, the vector of a click, what is like it, and what is like marked places.

    A click shows the token that it lies in, with its vector and its status, and finds the `k` most like it. *Like this*
    and *Not this* mark that token as a positive or a negative, and find what is like the marks by the rule of `search`;
    pressed again they take the mark off. *Save* writes marks and what was found as GeoJSON. All travels through the
    notebook's own connection to its kernel: no server is started, and nothing is fetched from elsewhere.

    Colours come in tiles of 512 pixels, of what is in view. A tile reads of each zone that it touches one window of the
    preview, of the zoom that fits: at most about 1,500 x 1,500 cells, 7 MB. While it is made it takes some 40 MB (two
    zones), and up to six are made at once, whatever the size of the map. The picture alone is warped to Web Mercator,
    each pixel by the cell that its middle lies in; vectors are read from the store as they are. A click reads one
    token's chunks, a search all vectors of the span, a block at a time, and tiles wait for it: give `codes` or `client`
    for large maps.

    Parameters
    ----------
    map : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path. Of a path with a preview (`build_preview`) the
        preview is shown; else up to 4,194,304 tokens are read once and coloured in memory, three bytes each and a
        third more.
    model : str, optional
        The model; needed where there are several.
    span : int, default 0
        The span, by its number along ``time``.
    k : int, default 10
        How many are found at once.
    codes, client
        As `search`.
    height : int, default 560
        Of the map, in pixels.
    basemap : lonboard.basemap.MaplibreBasemap, optional
        What lies below, which the browser fetches from its provider. Default: nothing, so that it works offline.

    Returns
    -------
    Explorer
        A notebook shows it. ``.state`` has the clicked ``token``, the ``marks`` and what was ``found``.

    Raises
    ------
    RsEmbedError
        If lonboard, ipywidgets or pmtiles, of the extra ``explore``, is not installed.
    StoreError
        If there are several models.
    UnknownNameError
        If there is no such model.
    SpecError
        If it is a run of places or a map of classes or values, there is no such span or no vector, or the map has more
        tokens than are coloured in memory and no preview, or a setting is of another type.

    Notes
    -----
    Web Mercator ends at 85 degrees. Where zones meet, ground up to half a token from the border may lie in no token:
    the picture shows it in the colour of the nearest, and a click there finds none.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> explorer = rs.explore("county.zarr")  # doctest: +SKIP
    >>> explorer.state.table().to_file("marks.geojson")  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.codes import Codes
    from rs_embed_dask.analysis.exploration import Exploration
    from rs_embed_dask.analysis.explorer import Explorer, checked_basemap, checked_extra
    from rs_embed_dask.specs.base import whole
    from rs_embed_dask.store import MapStore
    from rs_embed_dask.store.export.web_tiles import WebTiles

    checked_extra()
    checked_basemap(basemap)
    check_client(client)
    tall = whole("height", height, low=100, high=10_000)
    state = Exploration.of(any_tree(map), model, span=span, k=k, codes=Codes.folder(codes), client=client)
    view = None if isinstance(map, xr.DataTree) else MapStore.open(map)
    return Explorer(state, WebTiles.of(state.searched.fields, view), height=tall, basemap=basemap)


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
    check_client(client)
    table, areas = areas_of(polygons)
    return zone_table(fields_of(map_tree(map), model, span=span), table, areas, stat=stat, client=client)


def probe(
    run: xr.DataTree | Target,
    labels: Any,
    *,
    model: str | None = None,
    kind: Literal["ridge", "logistic", "forest"] | None = None,
    column: str | None = None,
    span: int | None = None,
) -> Probe:
    """Fit a small model to labelled vectors, to predict the labels of a run or a map.

    Vectors are standardised; a number that varies by no more than float32 rounds is left out. How right it is, is not
    asked here: predict places that it was not fitted to.

    Parameters
    ----------
    run : DataTree, path or URL
        A run with one vector per item, or a map.
    labels : str, Series, dict, sequence or GeoDataFrame
        Of a run: the name of a column that came with its places, labels by id, or one for each item in order. Of a map:
        a GeoDataFrame of points (their token) and polygons (the mean vector inside) with a column of labels. Numbers
        are values, text and booleans are classes; numbers that stand for classes are given as text. Places without a
        vector or a label are left out.
    model : str, optional
        The model; needed where there are several.
    kind : {"ridge", "logistic", "forest"}, optional
        Ridge regression, whose penalty is chosen by leaving out one by one (values); logistic regression (classes); a
        random forest of 200 trees (both). Default: the first two.
    column : str, optional
        Of a GeoDataFrame with several columns: the one that holds the labels.
    span : int, optional
        Of a map with several spans: the one that the labels are of.

    Returns
    -------
    Probe
        ``.predict(map, out)`` makes a map of classes or values with their uncertainty, and ``.predict(run)`` a table.

    Raises
    ------
    RsEmbedError
        If scikit-learn, of the extra ``analysis``, is not installed.
    SpecError
        If there are not two different labels, `kind` does not fit them, or a setting is of another type.
    UnknownNameError
        If there is no such model, column or kind.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> probe = rs.probe("fields.zarr", "crop", model="rcf")  # doctest: +SKIP
    >>> rs.to_cog(probe.predict("county.zarr", "crops.zarr"), "crops.tif")  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.probe import KINDS, fitted
    from rs_embed_dask.analysis.search import Searched
    from rs_embed_dask.analysis.training import TrainingSet
    from rs_embed_dask.analysis.vectors import needed
    from rs_embed_dask.errors import SpecError
    from rs_embed_dask.specs.base import choice, text

    needed("sklearn.pipeline")
    if kind is not None:
        choice("kind", kind, KINDS)
    if column is not None:
        text("column", column, fix="name the column of the labels")
    tree = any_tree(run)
    chosen = Searched.of(tree, one_model(tree, model), span)
    if chosen.table is not None:
        return fitted(chosen.label, TrainingSet.of_run(tree, chosen.table, labels), kind)
    spans = {one.time for one in chosen.fields}
    if len(spans) > 1:
        raise SpecError("span", value=None, reason=f"the map has {len(spans)} spans", fix="give span= of the labels")
    return fitted(chosen.label, TrainingSet.of_map(chosen.fields, labels, column), kind)


def change(
    run: xr.DataTree | Target,
    out: Target | None = None,
    *,
    model: str | None = None,
    client: Client | None = None,
) -> gpd.GeoDataFrame | xr.DataTree:
    """Measure how much each place differs from its own other years, for every span.

    Distances (one less the cosine) are not comparable between places, so each place is its own measure. A span is
    compared with the medoid of the same season's other years: the one that is nearest to all of them. How far these
    years lie from each other is measured in the same way, leaving out each in turn; their median is what is usual, and
    their median deviation the unit of ``z``. Spans are of the same season if they begin and end on the same days.

    Parameters
    ----------
    run : DataTree, path or URL
        A run whose places have several spans, or a map with several spans; the same span in at least four years.
    out : path or URL, optional
        Of a map: where the new map is written. If it was begun by the same call, it goes on.
    model : str, optional
        The model; needed where there are several.
    client : distributed.Client, optional
        Of a map: where its blocks are computed and written. Default: in this process.

    Returns
    -------
    GeoDataFrame or DataTree
        Of a run one row per item, of a map bands of each span, ``tree["change"][group].embedding``: ``z``, the distance
        less what is usual, in robust standard deviations (at least a tenth of what is usual, for a few years may agree
        by chance, and 1e-6); ``distance`` to the medoid of the other
        years; ``usual``, the median distance of these years; ``seasons``, how far the seasons of one year lie apart
        (the mean of pairs, the median over years), NaN where a year has one span. NaN where fewer than three other
        years have a vector.

    Raises
    ------
    SpecError
        If no span has its season in three other years, `out` is missing, or a setting is of another type.
    StoreError
        If there are several models, or items with grids.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> years = [rs.TemporalSpec.year(year) for year in range(2018, 2025)]
    >>> rs.change(rs.compute_embeddings("fields.gpkg", "rcf", years, out="run.zarr"))["z"]  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.change import BANDS, Seasons, changes_of_run
    from rs_embed_dask.analysis.derived import Derivation
    from rs_embed_dask.analysis.sources import MapSource
    from rs_embed_dask.errors import SpecError
    from rs_embed_dask.store.document import Location

    check_client(client)
    if out is not None:
        Location.of(out)  # refuses what is no place
    tree = any_tree(run)
    label = one_model(tree, model)
    if is_run(tree):
        return changes_of_run(tree, label)
    if out is None:
        raise SpecError("out", value=None, reason="a map is written to a store", fix="give out='change.zarr'")
    source = MapSource.of(run, label)
    seasons = Seasons.of(source.view.spans)
    facts = {"by": "change", "of": label, "bands": list(BANDS), "digest": repr(seasons.same)}
    return Derivation("change", facts, seasons.bands, together=True).write(source, out, client)


def classes(
    map: xr.DataTree | Target,  # noqa: A002 - what it is of
    out: Target,
    *,
    k: int = 12,
    like: xr.DataTree | Target | None = None,
    model: str | None = None,
    span: int | None = None,
    client: Client | None = None,
) -> xr.DataTree:
    """Sort the tokens of a map into classes of alike vectors, by k-means, as a new map.

    Middles are found by mini-batches from a sample of up to 50,000 vectors of all zones and spans, as directions. Alike
    classes have alike colours. A neighbouring map, or another year, that is made with ``like=`` has the same classes,
    numbers and colours, so that the two fit together.

    Parameters
    ----------
    map : DataTree, path or URL
        What `compute_map` or `open_map` returned, or a map's path.
    out : path or URL
        Where the new map is written, on the same lattice. If it was begun by the same call, it goes on.
    k : int, default 12
        How many classes, 2 to 255; the first is the most frequent one.
    like : DataTree, path or URL, optional
        A map that this function made: its classes are used, and `k` is not.
    model : str, optional
        The model; needed where there are several.
    span : int, optional
        Only this span, by its number along ``time``; default all.
    client : distributed.Client, optional
        Where blocks are computed and written. Default: in this process.

    Returns
    -------
    DataTree
        ``tree["classes"][group].embedding`` with two bands along ``dim``: the number of the class from 0, and how
        undecided it is, the distance to its middle over that to the second nearest, 0 to 1. See `Probe.predict`.

    Raises
    ------
    RsEmbedError
        If scikit-learn, of the extra ``analysis``, is not installed.
    SpecError
        If there are fewer different vectors than classes, `like` has none, or those of another length, or a setting is
        of another type.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.classes("west.zarr", "west-classes.zarr", k=8)  # doctest: +SKIP
    >>> rs.classes("east.zarr", "east-classes.zarr", like="west-classes.zarr")  # doctest: +SKIP
    """
    from rs_embed_dask.analysis.clusters import LABEL, Clusters
    from rs_embed_dask.analysis.sources import MapSource
    from rs_embed_dask.errors import SpecError
    from rs_embed_dask.specs.base import whole
    from rs_embed_dask.store.document import Location
    from rs_embed_dask.store.export.fields import fields_of

    count = whole("k", k, low=2, high=255)
    Location.of(out)  # refuses what is no place, before classes are sought
    check_client(client)
    label = one_model(any_tree(map), model)
    source = MapSource.of(map, label, span)
    found = Clusters.fitted(source.fields, count) if like is None else Clusters.of(fields_of(any_tree(like))[0])
    if found.middles.shape[1] != source.fields[0].dim:
        reason = f"its classes are of vectors of {found.middles.shape[1]} numbers, and those of {label} have others"
        raise SpecError("like", value=LABEL, reason=reason, fix="give a map of classes of the same model")
    return found.derivation(label).write(source, out, client)
