"""Searching a STAC API: unsigned, page by page, once for the same query, in one order.

The server's filters are applied again here, because servers that do not support a filter return everything or nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

import numpy as np
import pystac
import pystac_client
import pystac_client.exceptions
import pystac_client.stac_api_io
import requests

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, redact
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.providers.addresses import JudgedAdapter, absolute, judge
from rs_embed_dask.providers.http import KeyedLinks
from rs_embed_dask.providers.retry import REFUSED_STATUSES, TRANSIENT_STATUSES, RetryPolicy, asked_wait_s, retried
from rs_embed_dask.specs.ground import project

__all__ = ["Asset", "Query", "StacItem", "find", "newest", "parse_item", "touches"]

Box = tuple[float, float, float, float]
DATASTRIP_START: Final = re.compile(r"_S(\d{8}T\d{6})")
EDGE_POINTS: Final = 9
TURN: Final = 360.0


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an item: its plain link, and where it lies as far as the catalogue states."""

    href: str
    media: str = ""
    crs: str | None = None
    box: Box | None = None
    origin: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class StacItem:
    """One scene of a catalogue, with what a read needs of it."""

    id: str
    collection: str
    time: dt.datetime
    box: Box
    properties: Mapping[str, Any] = field(hash=False)
    assets: Mapping[str, Asset] = field(hash=False)

    def first(self, names: Iterable[str]) -> Any:
        """Return the first property of `names` that is there, or None."""
        return next((self.properties[n] for n in names if self.properties.get(n) is not None), None)


def parse_item(item: Mapping[str, Any]) -> StacItem:
    """Return a STAC item dictionary as a `StacItem`."""
    # Accepts ``proj:epsg``, ``proj:code``, ``proj:wkt2`` and ``proj:projjson`` on the item or on an asset, and
    # transforms of six or nine numbers.
    properties = item["properties"]
    box = [float(v) for v in item["bbox"]]
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])  # noqa: PLR2004 - 3-D boxes
    return StacItem(
        id=str(item["id"]),
        collection=str(item["collection"]),
        time=_time(properties),
        box=(west, south, east + TURN if east < west else east, north),
        properties={k: v for k, v in properties.items() if isinstance(v, str | int | float | bool)},
        assets={name: _asset(asset, properties) for name, asset in item["assets"].items()},
    )


def _time(properties: Mapping[str, Any]) -> dt.datetime:
    if properties.get("datetime"):
        return _utc(properties["datetime"])
    first, last = _utc(properties["start_datetime"]), _utc(properties["end_datetime"])
    return first + (last - first) / 2


def _utc(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _asset(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Asset:
    own = {k: v for k, v in asset.items() if k.startswith("proj:") and v is not None}
    stated = {k: v for k, v in properties.items() if k.startswith("proj:") and v is not None}
    shape, transform = (own.get(k, stated.get(k)) for k in ("proj:shape", "proj:transform"))
    crs = _crs(own) or _crs(stated)
    plain = Asset(href=str(asset["href"]), media=str(asset.get("type") or ""), crs=crs)
    if crs is None:
        return plain
    if shape is not None and transform is not None:
        a, b, c, d, e, f = (float(v) for v in transform[:6])
        columns, rows = np.array([0, shape[1], 0, shape[1]]), np.array([0, 0, shape[0], shape[0]])
        x, y = c + a * columns + b * rows, f + d * columns + e * rows
        box = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        return Asset(plain.href, plain.media, crs, box, (c, f), (abs(a), abs(e)))
    stated_box = own.get("proj:bbox", stated.get("proj:bbox"))
    if stated_box is None:
        return plain
    left, bottom, right, top = (float(v) for v in stated_box)
    return Asset(plain.href, plain.media, crs, (left, bottom, right, top))


def _crs(fields: Mapping[str, Any]) -> str | None:
    if fields.get("proj:epsg"):
        return f"EPSG:{int(fields['proj:epsg'])}"
    return next((fields[k] for k in ("proj:code", "proj:wkt2") if isinstance(fields.get(k), str) and fields[k]), None)


def touches(item: StacItem, asset: Asset, grid: Grid) -> bool:
    """Return whether a file can hold pixels of a grid."""
    # The grid's outline is moved into the file's own system, where the file is a rectangle: that holds across
    # zones and the antimeridian, where boxes in degrees do not. Where the catalogue states no footprint, its box
    # in degrees is taken, shifted by whole turns.
    if asset.crs is not None and asset.box is not None:
        x, y = project(grid.crs, asset.crs, *_outline(grid))
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            bounds = float(x[finite].min()), float(y[finite].min()), float(x[finite].max()), float(y[finite].max())
            return _overlap(bounds, asset.box)
    west, south, east, north = item.box
    return any(
        _overlap(box, (west + turn, south, east + turn, north))
        for box in grid.lonlat_boxes
        for turn in (-TURN, 0.0, TURN)
    )


def _outline(grid: Grid) -> tuple[Any, Any]:
    left, bottom, right, top = grid.bounds
    along_x, along_y = np.linspace(left, right, EDGE_POINTS), np.linspace(bottom, top, EDGE_POINTS)
    x = np.concatenate([along_x, along_x, np.full(EDGE_POINTS, left), np.full(EDGE_POINTS, right)])
    y = np.concatenate([np.full(EDGE_POINTS, bottom), np.full(EDGE_POINTS, top), along_y, along_y])
    return x, y


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def newest(items: Iterable[StacItem], names: PropertyNames) -> tuple[StacItem, ...]:
    """Return the items in order of time and id, without repeats."""
    # An id counts once. Of scenes with the same tile, time, platform and datastrip start, which are one
    # acquisition processed more than once, the one that was generated last counts. Two datastrips of one tile are
    # two halves: both stay.
    newest_by_key: dict[tuple[Any, ...], StacItem] = {}
    for item in items:
        key = _acquisition(item, names)
        if key not in newest_by_key or _processed(item, names) > _processed(newest_by_key[key], names):
            newest_by_key[key] = item
    return tuple(sorted(newest_by_key.values(), key=lambda item: (item.time, item.id)))


def _acquisition(item: StacItem, names: PropertyNames) -> tuple[Any, ...]:
    tile = item.first(names.tile)
    if tile is None:
        return item.collection, item.id
    strip = DATASTRIP_START.search(str(item.first(names.datastrip) or ""))
    return item.collection, tile, item.time, item.first(names.platform), strip.group(1) if strip else ""


def _processed(item: StacItem, names: PropertyNames) -> tuple[str, str]:
    stamp = item.first(names.generated)
    return (_utc(stamp).isoformat(timespec="microseconds") if stamp else "", item.id)


PAGE: Final = 250
MOST_ANSWERS: Final = 256
ANSWER_LASTS_S: Final = 600.0
# an item that lies across the antimeridian may be listed on either side of it; the widest tiles here reach so far
NEAR_ANTIMERIDIAN_DEG: Final = 12.0
SLIVER_DEG: Final = 1e-3
CONNECT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. Frozen and hashable: the same query is asked once."""

    url: str
    collections: tuple[str, ...]
    boxes: tuple[Box, ...]
    span: Span
    cloud: str | None = None
    most_cloud: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy, compare=False)
    keyed: KeyedLinks | None = None


def find(query: Query) -> tuple[StacItem, ...]:
    """Return the items that answer a query, each once, in order of time and id."""
    return _ANSWERS.get(query)


class _Answers:
    """The answers of the last ten minutes; while one thread searches, others with the same query wait for it."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Query, tuple[float, tuple[StacItem, ...]]] = OrderedDict()
        self._guard = threading.Lock()
        self._asking: defaultdict[Query, threading.Lock] = defaultdict(threading.Lock)

    def get(self, query: Query) -> tuple[StacItem, ...]:
        with self._guard:
            lock = self._asking[query]
        try:
            with lock:
                stored = self._answers.get(query)
                if stored is None or time.monotonic() - stored[0] > ANSWER_LASTS_S:
                    stored = (time.monotonic(), _ask(query))
                    self._keep(query, stored)
                return stored[1]
        finally:
            with self._guard:
                self._asking.pop(query, None)

    def _keep(self, query: Query, answer: tuple[float, tuple[StacItem, ...]]) -> None:
        with self._guard:
            self._answers[query] = answer
            self._answers.move_to_end(query)
            while len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)


_ANSWERS: Final = _Answers()


def _ask(query: Query) -> tuple[StacItem, ...]:
    fault: ProviderError
    try:
        client = _client(query.url, query.retry, query.keyed)
        items = (item for box in _sides(query.boxes) for item in _search(client, query, box))
        listed = [_located(item, query.url) for item in items]
    except pystac_client.exceptions.APIError as error:
        fault = _failed(query, getattr(error, "status_code", None), str(error))
    else:
        matching = {item.id: item for item in map(_parsed, listed) if _fits(item, query)}
        return tuple(sorted(matching.values(), key=lambda item: (item.time, item.id)))
    raise fault


@functools.lru_cache(maxsize=32)
def _client(url: str, retry: RetryPolicy, keyed: KeyedLinks | None) -> pystac_client.Client:
    return pystac_client.Client.open(url, stac_io=_Requests(url, retry, keyed))


class _Requests(pystac_client.stac_api_io.StacApiIO):
    """The client's requests; a search changes nothing, so its POST may be sent again too."""

    def __init__(self, url: str, retry: RetryPolicy, keyed: KeyedLinks | None) -> None:
        super().__init__(max_retries=None)
        self._url, self._retry, self._keyed = url, retry, keyed
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, JudgedAdapter(url))

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read a page: never a local file, which the client would open where a link names one."""
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def request(self, href: str, *args: Any, **kwargs: Any) -> str:
        address = judge(urljoin(f"{self._url}/", href), origin=self._url, what="STAC API")
        if self._keyed is None:
            return retried(lambda: self._once(address, *args, **kwargs), self._retry)
        signed = self._keyed.sign(address)
        return self._keyed.without_key(retried(lambda: self._once(signed, *args, **kwargs), self._retry))

    def _once(self, href: str, method: str | None = None, headers: Any = None, *, parameters: Any = None) -> str:
        body = {"json" if method == "POST" else "params": parameters}
        retry_after_s = None
        try:
            deadline = CONNECT_S, self._retry.timeout_s
            answer = self.session.request(method or "GET", href, headers=headers, timeout=deadline, **body)
        except requests.RequestException as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            if answer.ok:
                return answer.content.decode()
            if answer.status_code not in TRANSIENT_STATUSES:
                raise pystac_client.exceptions.APIError.from_response(answer)
            reason = f"it answered {answer.status_code}: {answer.text}"
            retry_after_s = asked_wait_s(answer.headers.get("Retry-After"))
        raise _later(self._url, reason, retry_after_s)


def _later(url: str, reason: str, retry_after_s: float | None = None) -> TransientError:
    fix = "try again later, or check the address"
    return TransientError("STAC API", value=url, reason=_line(reason), fix=fix, retry_after_s=retry_after_s)


def _line(text: str) -> str:
    return redact(" ".join(text.split()))[:200]


def _search(client: pystac_client.Client, query: Query, box: Box) -> Any:
    last = query.span.end - dt.timedelta(days=1)
    limits = None
    if query.most_cloud is not None and query.cloud is not None and client.conforms_to("QUERY"):
        limits = {query.cloud: {"lte": query.most_cloud}}
    search = client.search(
        collections=list(query.collections),
        bbox=list(box),
        datetime=f"{query.span.start.isoformat()}T00:00:00Z/{last.isoformat()}T23:59:59Z",
        query=limits,
        limit=PAGE,
    )
    return search.items_as_dicts()


def _sides(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return the boxes to search, with slivers at the antimeridian where an item may reach over it."""
    west, east = min(b[0] for b in boxes), max(b[2] for b in boxes)
    south, north = min(b[1] for b in boxes), max(b[3] for b in boxes)
    near = west < NEAR_ANTIMERIDIAN_DEG - 180.0 or east > 180.0 - NEAR_ANTIMERIDIAN_DEG
    if not near:
        return boxes
    slivers = ((180.0 - SLIVER_DEG, south, 180.0, north), (-180.0, south, -180.0 + SLIVER_DEG, north))
    return (*boxes, *(s for s in slivers if not any(b[0] <= s[0] and b[2] >= s[2] for b in boxes)))


def _located(item: dict[str, Any], url: str) -> dict[str, Any]:
    """Return an item whose links are absolute."""
    assets = item.get("assets")
    if not isinstance(assets, dict):
        return item
    absolute_assets = {
        name: {**asset, "href": absolute(asset["href"], item, url=url)}
        for name, asset in assets.items()
        if isinstance(asset, dict) and isinstance(asset.get("href"), str)
    }
    return {**item, "assets": assets | absolute_assets}


def _parsed(item: dict[str, Any]) -> StacItem:
    fault = ""
    try:
        return parse_item(item)
    except (KeyError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
    raise ProviderError(
        "STAC item",
        value=str(item.get("id")),
        reason=f"it cannot be understood ({fault})",
        fix="report it to the catalogue",
    )


def _fits(item: StacItem, query: Query) -> bool:
    """Check again what the server should have filtered by: day and cloud. Unknown cloud does not pass a limit."""
    if item.time.date() not in query.span:
        return False
    if query.most_cloud is None or query.cloud is None:
        return True
    cover = item.properties.get(query.cloud)
    return isinstance(cover, int | float) and cover <= query.most_cloud


def _failed(query: Query, status: int | None, text: str) -> ProviderError:
    reason = _line(text) or f"it answered {status}"
    if status in REFUSED_STATUSES:
        return AccessError("STAC API", value=query.url, reason=reason, fix="check the address and your credentials")
    if status is None:
        return _later(query.url, reason)
    return ProviderError(
        "STAC API",
        value=query.url,
        reason=f"{reason} (status {status})",
        fix=f"check that it has the collections {', '.join(query.collections)}",
    )
