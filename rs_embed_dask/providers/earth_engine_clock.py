"""Listening to what Earth Engine answers, and timing it, for the live check."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers.earth_engine_access import ENDPOINTS, open_session
from rs_embed_dask.providers.earth_engine_http import Transport
from rs_embed_dask.providers.earth_engine_image import image_of
from rs_embed_dask.providers.earth_engine_read import ask, pixel_grid

if TYPE_CHECKING:
    from rs_embed_dask.providers.earth_engine import EarthEngine
    from rs_embed_dask.providers.earth_engine_access import EarthAccess
    from rs_embed_dask.providers.earth_engine_orders import Order

__all__ = ["heard", "timings"]

_EECU: Final = re.compile(r"^\s*([\d.]+)\s", re.MULTILINE)


@contextlib.contextmanager
def heard(access: EarthAccess) -> Iterator[list[Mapping[str, str]]]:
    """Collect the headers of all answers while the block runs.

    Parameters
    ----------
    access : EarthAccess
        The session.

    Yields
    ------
    list of mapping
        One an answer, with its status; no answer's body, and no request's headers.
    """
    open_session(access)
    found: list[Mapping[str, str]] = []
    Transport.listeners.append(found.append)
    try:
        yield found
    finally:
        Transport.listeners.remove(found.append)


def timings(provider: EarthEngine, orders: Mapping[str, Order]) -> str:
    """Time orders at each endpoint, and read their cost off the service's profile where it tells one.

    Parameters
    ----------
    provider : EarthEngine
        Who asks; an address of its own is the only endpoint then.
    orders : mapping of str to Order
        By name.

    Returns
    -------
    str
        For people.
    """
    endpoints = tuple(ENDPOINTS) if provider.endpoint in ENDPOINTS else (provider.endpoint,)
    lines = []
    for endpoint in endpoints:
        access = replace(provider.access, endpoint=endpoint)
        for name, order in orders.items():
            open_session(access)
            image = image_of(order, provider.table(order.sensor))
            asked = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": pixel_grid(order.grid)}
            lines.append(f"{endpoint} {name}: {_timed(access, asked)}")
    open_session(provider.access)
    return "; ".join(lines)


def _timed(access: EarthAccess, asked: Mapping[str, Any]) -> str:
    import ee

    profiles: list[str] = []

    def request() -> Any:
        with ee.data.profiling(profiles.append):
            return ee.data.computePixels(dict(asked))

    def cost() -> Any:
        return ee.ApiFunction.lookup("Profile.getProfiles").call(ids=profiles).getInfo()

    started = time.perf_counter()
    try:
        ask(access, request, what="a timed request")
        took = f"{time.perf_counter() - started:.2f} s"
        if not profiles:
            return f"{took}, no profile"
        told = ask(access, cost, what="the profile of a request")
    except ProviderError as error:
        return error.reason[:80]
    return f"{took}, {sum(float(number) for number in _EECU.findall(told)):.2f} EECU s"
