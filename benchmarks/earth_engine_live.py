"""What only the live service can settle: nine questions, asked with a few dozen small requests.

The rest of the package was tested against a stand-in. Where an answer here is not what the package relies on, the row
states it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import AccessError, ProviderError
from rs_embed_dask.imagery.composite import median
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid, grid_for
from rs_embed_dask.providers.earth_engine.image import collection_of, image_of, region_of
from rs_embed_dask.providers.earth_engine.orders import Order, OrderLayer, layers_of
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.earth_engine.read import ask, order_task, pixel_grid
from rs_embed_dask.providers.earth_engine.session import ENDPOINTS, Transport, open_session
from rs_embed_dask.providers.registry import Check
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.where import PointBuffer

if TYPE_CHECKING:
    from rs_embed_dask.providers.earth_engine.session import EarthAccess

__all__ = [
    "answers_of",
    "heard",
    "timings",
]

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
        One per answer, with its status; no answer's body, and no request's headers.
    """
    open_session(access)
    headers: list[Mapping[str, str]] = []
    Transport.listeners.append(headers.append)
    try:
        yield headers
    finally:
        Transport.listeners.remove(headers.append)


def timings(provider: EarthEngine, orders: Mapping[str, Order]) -> str:
    """Time orders at each endpoint, and read their cost off the service's profile where there is one.

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
            image = image_of(order, provider.settings.table(order.sensor))
            payload = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": pixel_grid(order.grid)}
            lines.append(f"{endpoint} {name}: {_timed(access, payload)}")
    open_session(provider.access)
    return "; ".join(lines)


def _timed(access: EarthAccess, payload: Mapping[str, Any]) -> str:
    import ee

    profiles: list[str] = []

    def request() -> Any:
        with ee.data.profiling(profiles.append):
            return ee.data.computePixels(dict(payload))

    def cost() -> Any:
        return ee.ApiFunction.lookup("Profile.getProfiles").call(ids=profiles).getInfo()

    started = time.perf_counter()
    try:
        ask(access, request, what="a timed request")
        took = f"{time.perf_counter() - started:.2f} s"
        if not profiles:
            return f"{took}, no profile"
        profile = ask(access, cost, what="the profile of a request")
    except ProviderError as error:
        return error.reason[:80]
    return f"{took}, {sum(float(number) for number in _EECU.findall(profile)):.2f} EECU s"


SOMEWHERE: Final = PointBuffer(4.6, 51.3, 160)
JUNE: Final = Span(dt.date(2022, 6, 1), dt.date(2022, 7, 1))
YEAR: Final = Span(dt.date(2022, 1, 1), dt.date(2023, 1, 1))
PLAIN: Final = FetchSpec(mask="none")
TOO_MANY: Final = 20
MOST_FRAMES: Final = 60
_Answer = tuple[str, bool | None]


def answers_of(provider: EarthEngine) -> list[Check]:
    """Ask the service the nine questions; one that cannot be asked has the reason as its answer."""
    return [_checked(number, *each, provider) for number, each in enumerate(QUESTIONS, 1)]


def _checked(number: int, question: str, answer: Callable[[EarthEngine], _Answer], provider: EarthEngine) -> Check:
    try:
        text, is_well = answer(provider)
    except AccessError:
        raise
    except ProviderError as error:
        text, is_well = f"could not be asked: {error}", None
    return Check(f"{number}. {question}", text, is_well)


def _order(provider: EarthEngine, bands: tuple[str, ...], *spans: Span, pixel: float = 10.0) -> Order:
    read = Read(grid_for(SOMEWHERE, pixel, snap_m=60), "sentinel-2-l2a", bands, spans, PLAIN)
    layers = layers_of(read, provider.settings.table(read.sensor), plain=provider.passes == "each")
    return Order.of(provider.settings, read, layers)


def _value(provider: EarthEngine, make: Callable[[], Any]) -> Any:
    return ask(provider.access, lambda: make().getInfo(), what="a value")


def _scenes(provider: EarthEngine, order: Order) -> Any:
    return collection_of(order, order.layers[0].look, provider.settings.table(order.sensor))


def _median_type(provider: EarthEngine) -> _Answer:
    order = _order(provider, ("red",), JUNE)
    described = _value(provider, lambda: _scenes(provider, order).select(["B4"]).median())
    return f"{described['bands'][0]['data_type']} (read as float32 whatever it is)", None


def _rectangle_edges(provider: EarthEngine) -> _Answer:
    import ee

    on = grid_for(SOMEWHERE, 10, crs="EPSG:3857")
    step, _, left, _, down, top = on.transform
    off = replace(on, transform=(step, 0.0, left + 3, 0.0, down, top - 3))
    lattice = ee.Projection("EPSG:3857", [10, 0, 0, 0, -10, 0])
    image = ee.Image.constant(1).setDefaultProjection(lattice)
    sizes = []
    for region in map(region_of, (on, off)):
        sampled = _value(provider, partial(image.sampleRectangle, region, None, 0))
        rows = sampled["properties"]["constant"]
        sizes.append(f"{len(rows)} x {len(rows[0])}")
    shape = " x ".join(map(str, on.shape))
    return f"requested {shape}: on the lattice {sizes[0]}, 3 m off it {sizes[1]} (parity mode reads {shape})", None


def _emptiness(provider: EarthEngine) -> _Answer:
    first = order_task(_order(provider, ("red",), Span(dt.date(1999, 1, 1), dt.date(1999, 2, 1)), JUNE))
    empty = bool(np.isnan(first[0]).all() and (first[1] == 0).all())
    sea = Read(grid_for(PointBuffer(-30.0, 40.0, 160), 10), "sentinel-2-l2a", ("red",), (JUNE,), PLAIN)
    layers = layers_of(sea, provider.settings.table(sea.sensor), plain=False)
    outside = order_task(Order.of(provider.settings, sea, layers))
    nowhere = bool(np.isnan(outside[0]).all() and (outside[1] == 0).all())
    return (
        f"an empty frame is NaN with count 0: {empty}; so is a place outside all scenes: {nowhere}",
        empty and nowhere,
    )


def _alignment(provider: EarthEngine) -> _Answer:
    repeats = []
    for band, size in (("red", 10), ("rededge1", 20), ("coastal", 60)):
        own = _order(provider, (band,), JUNE, pixel=float(size))
        stored = order_task(own)[0]
        left, _, _, top = own.grid.bounds
        rows, cols = (side * size // 10 for side in own.grid.shape)
        lattice = Grid(own.grid.crs, (10.0, 0.0, left, 0.0, -10.0, top), (rows, cols))
        fine = order_task(replace(own, grid=lattice))[0]
        repeated = np.repeat(np.repeat(stored, size // 10, axis=0), size // 10, axis=1)
        repeats.append(bool(np.array_equal(repeated, fine, equal_nan=True)))
    return f"10 m pixels repeat those of 10, 20 and 60 m: {repeats}", all(repeats)


def _refusals(provider: EarthEngine) -> _Answer:
    """More small requests at once than the account may have in flight."""
    import ee

    def one(_: int) -> str:
        try:
            ask(once.access, lambda: ee.Number(1).add(1).getInfo(), what="1 + 1")
        except ProviderError as error:
            return error.reason
        return ""

    retry = replace(provider.retry, attempts=1)
    once = replace(provider, retry=retry, at_once=provider.at_once + TOO_MANY)
    with heard(provider.access) as headers, ThreadPoolExecutor(once.at_once) as threads:
        refusals = [reason for reason in threads.map(one, range(once.at_once)) if reason]
    after = sorted({str(each.get("retry-after", "none")) for each in headers if each["status"] == "429"})
    if not refusals:
        return f"none came of {once.at_once} requests at once", None
    return f"{len(refusals)} of {once.at_once} refused: {refusals[0]}; Retry-After: {', '.join(after) or 'none'}", None


def _gzip(provider: EarthEngine) -> _Answer:
    with heard(provider.access) as headers:
        order_task(_order(provider, ("red",), JUNE))
    return f"content-encoding: {headers[-1].get('content-encoding', 'none')}", None


def _nulls(provider: EarthEngine) -> _Answer:
    import ee

    images = ee.ImageCollection([ee.Image.constant(1).set("system:time_start", 5)])
    columns = ["system:id", "system:time_start"]
    rows = _value(provider, lambda: images.reduceColumns(ee.Reducer.toList().repeat(2), columns).get("list"))
    return f"{rows}", None


def _large_medians(provider: EarthEngine) -> _Answer:
    year = _order(provider, ("red",), YEAR)
    small = replace(year, grid=replace(year.grid, shape=(8, 8)))
    scenes = provider.search(small.sensor, small.grid, YEAR, fetch=PLAIN)
    days = sorted({scene.datetime.date().toordinal() for scene in scenes})
    whole = order_task(small)[0]
    look = small.layers[0].look
    parts = [np.full((1, 8, 8), np.nan, np.float32)]
    for first in range(0, len(days), MOST_FRAMES):
        layers = tuple(OrderLayer(look, day, day + 1) for day in days[first : first + MOST_FRAMES])
        parts.append(order_task(replace(small, layers=layers))[:: look.depth])
    stack = np.concatenate(parts)
    observed = np.isfinite(stack)
    exact = median(stack[:, None], observed)[0]
    worst = float(np.nanmax(np.abs(whole - exact), initial=0.0))
    return (
        f"median of {int(observed.sum(0).max())} images differs by at most {worst:g} from the exact one",
        worst <= 1.0,
    )


def _pace(provider: EarthEngine) -> _Answer:
    bands = tuple(band for band, _ in provider.settings.table("sentinel-2-l2a").assets)
    spans = [Span(dt.date(2022, month, 1), dt.date(2022, month + 1, 1)) for month in range(1, 12)]
    spans.append(Span(dt.date(2022, 12, 1), dt.date(2023, 1, 1)))
    orders = {f"{count} x {len(bands)}": _order(provider, bands, *spans[:count]) for count in (1, 4, 12)}
    return timings(provider, orders), None


QUESTIONS: Final[tuple[tuple[str, Callable[[EarthEngine], _Answer]], ...]] = (
    ("of what type are the pixels of a median?", _median_type),
    ("which pixels does sampleRectangle include at edges?", _rectangle_edges),
    ("do empty frames and places come as missing?", _emptiness),
    ("is nearest sampling on aligned grids exact for bands of 10, 20 and 60 m?", _alignment),
    ("how does it refuse too many requests, and is Retry-After sent?", _refusals),
    ("are pixels compressed on the way?", _gzip),
    ("how long do 1, 4 and 12 frames of 12 bands take, at what cost, on each endpoint?", _pace),
    ("what becomes of null ids in reduceColumns?", _nulls),
    ("are medians of many images exact?", _large_medians),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, help="the cloud project that pays")
    provider = EarthEngine(project=parser.parse_args().project)
    for check in [*provider.checks(live=True), *answers_of(provider)]:
        print(f"{check.question}\n    {check.answer}{'' if check.is_well is not False else '  (NOT AS EXPECTED)'}")


if __name__ == "__main__":
    main()
