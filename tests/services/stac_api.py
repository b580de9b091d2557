"""The STAC side of the service: which items a search finds, in pages, as plain dictionaries.

Nothing here knows about sockets. Matching is as literal as that of a real STAC API: a box is compared with the item's
own box, longitudes are not wrapped, and an item without a property fails every test of that property.
"""

from __future__ import annotations

import datetime as dt
import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import shapely
import shapely.geometry

Json = dict[str, Any]
Query = Mapping[str, Any]

ROOT = "/api/stac/v1"
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
)
QUERY_CONFORMANCE = "https://api.stacspec.org/v1.0.0/item-search#query"
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, allowed: value in allowed,
}
DEFAULT_LIMIT = 100


@dataclass(frozen=True)
class StacApi:
    """The documents of a STAC API over a list of items.

    Parameters
    ----------
    items, collections
        Plain STAC dictionaries, hrefs as clients shall see them.
    page_size
        The largest page that is served, whatever a client asks for.
    supports_query
        Whether the API says that it understands ``query``. One that does not ignores it, as real ones do.
    arrange
        Reorders (or repeats) the found items before they are cut into pages; None keeps newest first.
    """

    items: tuple[Json, ...]
    collections: tuple[Json, ...]
    page_size: int = 250
    supports_query: bool = True
    arrange: Callable[[list[Json]], list[Json]] | None = field(default=None, compare=False)

    def landing(self, base: str) -> Json:
        """Return the landing page of the API that lives at `base`."""
        conforms = [*CONFORMANCE, *([QUERY_CONFORMANCE] if self.supports_query else [])]
        search = [
            {"rel": "search", "href": f"{base}/search", "type": "application/geo+json", "method": method}
            for method in ("GET", "POST")
        ]
        return {
            "type": "Catalog",
            "id": "rs-embed-dask-demo",
            "stac_version": "1.0.0",
            "description": "A made landscape served on this machine.",
            "conformsTo": conforms,
            "links": [
                {"rel": "root", "href": base},
                {"rel": "self", "href": base},
                {"rel": "data", "href": f"{base}/collections"},
                {"rel": "conformance", "href": f"{base}/conformance"},
                *search,
            ],
        }

    def collection(self, name: str) -> Json | None:
        """Return the collection called `name`, or None."""
        return next((c for c in self.collections if c["id"] == name), None)

    def item(self, collection: str, name: str) -> Json | None:
        """Return one item of `collection`, or None."""
        return next((i for i in self.items if i["collection"] == collection and i["id"] == name), None)

    def search(self, query: Query, *, base: str, method: str) -> Json:
        """Return one page of what `query` finds, with the link to the next page."""
        items = sorted(self._matching(query), key=lambda item: str(middle(item)), reverse=True)
        if self.arrange is not None:
            items = self.arrange(items)
        start = int(query.get("token") or 0)
        stop = start + min(int(query.get("limit") or DEFAULT_LIMIT), self.page_size)
        features = [{**item, "links": item_links(item, base)} for item in items[start:stop]]
        links = [{"rel": "root", "href": base}, {"rel": "self", "href": f"{base}/search"}]
        if stop < len(items):
            links.append(next_link({**query, "token": str(stop)}, base=base, method=method))
        return {"type": "FeatureCollection", "features": features, "links": links}

    def _matching(self, query: Query) -> Iterable[Json]:
        tests = [
            matches_names(query.get("collections"), "collection"),
            matches_names(query.get("ids"), "id"),
            matches_place(query.get("bbox"), query.get("intersects")),
            matches_time(query.get("datetime")),
        ]
        if self.supports_query:
            tests.append(matches_properties(query.get("query") or {}))
        return (item for item in self.items if all(test(item) for test in tests))


def from_query_string(arguments: Mapping[str, str]) -> Json:
    """Return the body that a POST search would have for the `arguments` of a GET search."""
    query: Json = dict(arguments)
    for key in ("collections", "ids"):
        if key in query:
            query[key] = query[key].split(",")
    if "bbox" in query:
        query["bbox"] = [float(v) for v in query["bbox"].split(",")]
    for key in ("query", "intersects"):
        if key in query:
            query[key] = json.loads(query[key])
    return query


def next_link(query: Json, *, base: str, method: str) -> Json:
    """Return the link to the next page, in the method of the search itself."""
    link = {"rel": "next", "type": "application/geo+json", "method": method, "href": f"{base}/search"}
    if method == "POST":
        return {**link, "body": query}
    flat = {k: v if isinstance(v, str) else ",".join(map(str, v)) for k, v in query.items() if not isinstance(v, dict)}
    flat |= {k: json.dumps(v) for k, v in query.items() if isinstance(v, dict)}
    return {**link, "href": f"{base}/search?{urlencode(flat)}"}


def item_links(item: Json, base: str) -> list[Json]:
    """Return the links that tie an item to its collection."""
    collection = f"{base}/collections/{item['collection']}"
    return [
        {"rel": "collection", "href": collection, "type": "application/json"},
        {"rel": "self", "href": f"{collection}/items/{item['id']}", "type": "application/geo+json"},
        {"rel": "root", "href": base, "type": "application/json"},
    ]


def instant(text: str) -> dt.datetime | None:
    """Return an RFC 3339 text as a time in UTC; None for an open end."""
    if text in ("", ".."):
        return None
    moment = dt.datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def extent(item: Json) -> tuple[dt.datetime, dt.datetime]:
    """Return the first and last instant of an item."""
    properties = item["properties"]
    texts = (
        (properties["datetime"],) * 2
        if properties.get("datetime")
        else (properties["start_datetime"], properties["end_datetime"])
    )
    first, last = (instant(t) for t in texts)
    if first is None or last is None:
        msg = f"item {item['id']!r} has an open time"
        raise ValueError(msg)
    return first, last


def middle(item: Json) -> dt.datetime:
    """Return the middle of an item's time."""
    first, last = extent(item)
    return first + (last - first) / 2


def matches_names(allowed: Iterable[str] | None, key: str) -> Callable[[Json], bool]:
    """Return a test for an item's id or collection."""
    names = frozenset(allowed or ())
    return lambda item: not names or item[key] in names


def matches_place(bbox: list[float] | None, geometry: Json | None) -> Callable[[Json], bool]:
    """Return a test for overlap of an item's own box (or footprint) with a box or a geometry."""
    if geometry is not None:
        area = shapely.geometry.shape(geometry)
        return lambda item: bool(shapely.intersects(area, shapely.geometry.shape(item["geometry"])))
    if bbox is None:
        return lambda _: True
    west, south, east, north = bbox

    def test(item: Json) -> bool:
        left, bottom, right, top = item["bbox"]
        sides = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
        return any(a <= east and b >= west for a, b in sides) and bottom <= north and top >= south

    return test


def matches_time(interval: str | None) -> Callable[[Json], bool]:
    """Return a test for overlap of an item's time with a closed interval."""
    if not interval:
        return lambda _: True
    start, _, stop = interval.partition("/")
    low, high = instant(start), instant(stop or start)

    def test(item: Json) -> bool:
        first, last = extent(item)
        return (low is None or last >= low) and (high is None or first <= high)

    return test


def matches_properties(query: Mapping[str, Mapping[str, Any]]) -> Callable[[Json], bool]:
    """Return a test for properties; an item without the property fails it."""
    tests = [(name, OPERATORS[op], value) for name, ops in query.items() for op, value in ops.items()]
    return lambda item: all(
        item["properties"].get(name) is not None and test(item["properties"][name], value)
        for name, test, value in tests
    )
