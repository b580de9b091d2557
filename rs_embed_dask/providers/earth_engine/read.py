"""Asking Earth Engine for an order: one request, tried again where that helps, split where it is too much."""

from __future__ import annotations

import random
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.providers.earth_engine.image import image_of
from rs_embed_dask.providers.earth_engine.session import TooMuchError, as_ours, fault_kinds, open_session
from rs_embed_dask.providers.registry import gate

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.providers.earth_engine.orders import Order
    from rs_embed_dask.providers.earth_engine.session import EarthAccess

__all__ = [
    "ask",
    "order_task",
    "pixel_grid",
]

_LONGEST_ASKED_S: Final = 900.0


def order_task(order: Order) -> npt.NDArray[np.float32]:
    """Bring the pixels of an order, in parts where the service cannot do it at once."""
    try:
        found: npt.NDArray[np.float32] = ask(order.provider.access, lambda: _pixels(order), what=_named(order))
    except TooMuchError:
        halves = order.halves()
        if halves is None:
            raise
    else:
        return found
    axis, parts = halves
    return np.concatenate([order_task(part) for part in parts], axis=axis)


def ask(
    access: EarthAccess, request: Callable[[], Any], *, what: str, sleep: Callable[[float], None] = time.sleep
) -> Any:
    """Make a request, again after faults that pass."""
    retry = access.retry
    for attempt in range(retry.attempts):
        try:
            open_session(access)
            with gate(access.gate_name, access.at_once):
                return _once(request, what, access)
        except TransientError as fault:
            if attempt + 1 == retry.attempts:
                raise
            asked_s = min(fault.retry_after_s or 0.0, _LONGEST_ASKED_S)
        # what was asked for, and a little more, so that those who were told the same do not come together
        spread_s = asked_s * random.uniform(1.0, 1.2)  # noqa: S311 - spreads clients, guards nothing
        sleep(max(retry.wait_s(attempt), spread_s))
    raise ProviderError(what, value=retry.attempts, reason="no attempt is allowed", fix="allow one or more")


def _once(request: Callable[[], Any], what: str, access: EarthAccess) -> Any:
    try:
        return request()
    except fault_kinds() as error:
        fault = as_ours(error, what, advice=access.advice)
    raise fault  # out here, for an error's context travels with it when it is pickled, and may hold a token


def _named(order: Order) -> str:
    lon, lat = order.grid.center_lonlat
    return f"earth_engine: {order.sensor} at {lon:.4f}, {lat:.4f}"


def _pixels(order: Order) -> npt.NDArray[np.float32]:
    """Read an order through xee's store, which is told what it would otherwise ask for."""
    import ee

    rows, cols = order.grid.shape
    image = image_of(order, order.provider.table(order.sensor))
    store = _store()(
        ee.ImageCollection([image]),
        crs=order.grid.crs,
        crs_transform=order.grid.transform,
        shape_2d=(cols, rows),
        getitem_kwargs={"max_retries": 0, "initial_delay": 0},
    )
    found: npt.NDArray[np.float32] = store.image_to_array(image, grid=pixel_grid(order.grid), dtype=np.float32)
    if found.shape != (order.depth, rows, cols):
        raise ValueError(f"{found.shape} values came where {(order.depth, rows, cols)} were asked for")
    return found.astype(np.float32, copy=False)


@lru_cache(maxsize=1)
def _store() -> Any:
    """Return xee's store with what one multi-band float image is, so that opening it asks nothing."""
    import xee

    band = {"id": "known", "data_type": {"type": "PixelType", "precision": "float"}}
    info = {"size": 1, "props": {}, "properties": [[], []], "first": {"type": "Image", "bands": [band]}}
    return type("KnownStore", (xee.EarthEngineStore,), {"get_info": info})


def pixel_grid(grid: Grid) -> dict[str, Any]:
    """Return a grid as a pixel request has it: negative step in y, so row 0 is north."""
    rows, cols = grid.shape
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    place = {"crsCode": grid.crs} if grid.epsg is not None else {"crsWkt": _wkt(grid.crs)}
    return {
        "dimensions": {"width": cols, "height": rows},
        "affineTransform": dict(zip(names, grid.transform, strict=True)),
        **place,
    }


@lru_cache(maxsize=64)
def _wkt(crs: str) -> str:
    from pyproj import CRS
    from pyproj.enums import WktVersion

    return CRS.from_user_input(crs).to_wkt(WktVersion.WKT1_GDAL)
