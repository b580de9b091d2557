"""Listing Earth Engine's scenes of a place: one request for their names, times and cloud cover."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from rs_embed_dask.imagery.scenes import Scene, ordered
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers.earth_engine_access import open_session
from rs_embed_dask.providers.earth_engine_image import collection_of
from rs_embed_dask.providers.earth_engine_orders import Layer, Look, Order
from rs_embed_dask.providers.earth_engine_read import ask

if TYPE_CHECKING:
    from rs_embed_dask.fetch import FetchSpec
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid_types import Grid
    from rs_embed_dask.providers.earth_engine import EarthEngine

__all__ = ["scenes_of"]


def scenes_of(provider: EarthEngine, sensor: str, grid: Grid, *, span: Span, fetch: FetchSpec) -> tuple[Scene, ...]:
    """List the scenes that touch a grid.

    Parameters
    ----------
    provider : EarthEngine
        Who asks.
    sensor : str
        A sensor by any name.
    grid : Grid
        Where.
    span : Span
        When.
    fetch : FetchSpec
        Its cloud limit.

    Returns
    -------
    tuple of Scene
        In order of time.

    Raises
    ------
    AccessError, TransientError, ProviderError
        If the service refuses or is out of order.
    """
    source = provider.table(sensor)
    cloud = source.properties.cloud
    look = Look((source.assets[0][0],), fetch.max_cloud_pct if cloud else None, None, "median", plain=True)
    of = sensor_named(sensor)
    bands = ("vv",) if of.kind == "radar" else look.bands
    layer = Layer(look._replace(bands=bands), span.start.toordinal(), span.end.toordinal())
    order = Order(provider, of.id, grid, (layer,), layer.start, 1)
    columns = ["system:index", "system:time_start", *cloud[:1]]

    def listed() -> Any:
        import ee

        found = collection_of(order, layer.look, source)
        return found.reduceColumns(ee.Reducer.toList(len(columns)), columns).get("list").getInfo()

    open_session(provider.access)
    rows = ask(provider.access, listed, what=f"earth_engine: scenes of {of.id}")
    return ordered(_scene(row) for row in rows)


def _scene(row: list[Any]) -> Scene:
    name, milliseconds, *cover = row
    when = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return Scene(str(name), when, float(cover[0]) if cover else None)
