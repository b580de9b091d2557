"""The verbs for a few places, in this process: what can run, one embedding, a few, and what a model would see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rs_embed_dask.api import plan
from rs_embed_dask.engine.request import MapOptions, RequestOptions
from rs_embed_dask.engine.signature import showing
from rs_embed_dask.errors import SpecError
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.specs.places import places
from rs_embed_dask.specs.when import seasons

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.engine.suitability import Suitability
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.inference.arrays import PixelsLike
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.specs.model import ModelLike
    from rs_embed_dask.specs.places import PlacesLike
    from rs_embed_dask.specs.when import SpanLike, SpansLike

__all__ = ["can_run", "get_embedding", "get_embeddings_batch", "inspect_input"]


def can_run(
    source: PlacesLike | PixelsLike | Provider | Sequence[str | PathLike[str]],
    temporal: SpanLike | None = None,
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


@showing(MapOptions, RequestOptions)
def get_embedding(
    model: ModelLike, spatial: PlacesLike, temporal: SpanLike, **options: Unpack[RequestOptions]
) -> Embedding:
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
    if len(seasons(temporal, 1) or [1]) > 1:
        fix, reason = "use get_embeddings_batch or compute_embeddings for several", "exactly one span is needed"
        raise SpecError("temporal", value=temporal, reason=reason, fix=fix)
    if len(spatials) != 1:
        fix = "use get_embeddings_batch or compute_embeddings for several"
        reason = "exactly one place is needed"
        raise SpecError("spatial", value=counted(len(spatials), "place"), reason=reason, fix=fix)
    return get_embeddings_batch(model, spatials=spatials, temporal=temporal, **options)[0]


@showing(MapOptions, RequestOptions)
def get_embeddings_batch(
    model: ModelLike, spatials: PlacesLike, temporal: SpansLike, **options: Unpack[RequestOptions]
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


@showing(MapOptions, RequestOptions)
def inspect_input(
    model: ModelLike, spatial: PlacesLike, temporal: SpanLike, **options: Unpack[RequestOptions]
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
