"""Searching a STAC API: unsigned, page by page, once for the same query, in one order.

The server's filters are applied again here, because servers that do not support a filter return everything or nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import pystac_client
import pystac_client.exceptions
import requests
import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, redact
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import vicinity
from rs_embed_dask.providers.addresses import JudgedAdapter, absolute, joined, judge
from rs_embed_dask.providers.connections import PIECE_BYTES, body_of
from rs_embed_dask.providers.http import KeyedLinks
from rs_embed_dask.providers.reach import no_connection
from rs_embed_dask.providers.registry import gate
from rs_embed_dask.providers.retry import REFUSED_STATUSES, TRANSIENT_STATUSES, RetryPolicy, asked_wait_s, retried
from rs_embed_dask.providers.stac.areas import Areas
from rs_embed_dask.providers.stac.items import WORLD, Box, StacItem, distinct, parse_item
from rs_embed_dask.providers.stac.pages import Ask, SearchStep, landing_fault, page_fault, pages, search_step
from rs_embed_dask.providers.stac.query import Query
from rs_embed_dask.providers.vicinity import SearchMade

__all__ = ["Query", "document", "find", "sample"]

PAGE: Final = 250
MOST_ANSWERS: Final = 256
MOST_ITEMS: Final = 50_000
ANSWER_LASTS_S: Final = 600.0
SEARCHES_AT_ONCE: Final = 16
"""Areas of one run that its processes search at a time, together."""
# an item that lies across the antimeridian may be listed on either side of it; the widest tiles here reach so far
NEAR_ANTIMERIDIAN_DEG: Final = 12.0
SLIVER_DEG: Final = 1e-3
WITHOUT_POST: Final = frozenset(
    {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
CONNECT_S: Final = 10.0
MOST_ANSWER_BYTES: Final = 2**25
"""Of one unpacked answer; a full page of the most talkative catalogues takes a third of it."""


def find(query: Query) -> tuple[StacItem, ...]:
    """Return the items that answer a query, each once, in order of time and id."""
    area = _planned(query) or _AREAS.around(query)
    return _ANSWERS.get(query) if area is None else _AREAS.among(area, _ANSWERS.get(area), query.boxes[0])


def _planned(query: Query) -> Query | None:
    """Return the search for the area that a run has planned around a place."""
    area = vicinity.current()
    is_inside = area is not None and len(query.boxes) == 1 and area.holds(query.boxes[0])
    return replace(query, boxes=(area.box,), board=area.board) if area is not None and is_inside else None


def sample(
    url: str, collection: str, *, retry: RetryPolicy, keyed: KeyedLinks | None
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return the document of a collection, empty where the API shows none, and one of its items, if it has any."""
    ask, step, _ = _client(url, retry, keyed)
    described = document(url, f"{url}/collections/{quote(collection, safe='')}", retry=retry, keyed=keyed)
    for method in dict.fromkeys((step.method, "GET")):
        search = pystac_client.ItemSearch(url, method=method, collections=[collection], limit=1)
        try:
            page = ask(replace(step, method=method, parameters=search.get_parameters()), page_fault)
        except pystac_client.exceptions.APIError as error:
            if method != "GET" and getattr(error, "status_code", None) in WITHOUT_POST:
                continue
            whole = Span(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
            status = getattr(error, "status_code", None)
            raise _failed(Query(url, (collection,), (), whole), status, str(error)) from None
        return described, next(iter(page["features"]), None)
    return described, None


def document(origin: str, address: str, *, retry: RetryPolicy, keyed: KeyedLinks | None = None) -> Mapping[str, Any]:
    """Return a JSON object of a catalogue; an empty one where it shows none at that address."""
    with contextlib.suppress(pystac_client.exceptions.APIError):
        return _Requests(origin, retry, keyed)(SearchStep(address), lambda _: "")
    return {}


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
                    stored = (time.monotonic(), _asked_by_one(query))
                    self._keep(query, stored)
                return stored[1]
        finally:
            with self._guard:
                self._asking.pop(query, None)

    def _keep(self, query: Query, answer: tuple[float, tuple[StacItem, ...]]) -> None:
        with self._guard:
            self._answers[query] = answer
            self._answers.move_to_end(query)
            while len(self._answers) > 1 and self._is_full():
                self._answers.popitem(last=False)

    def _is_full(self) -> bool:
        return len(self._answers) > MOST_ANSWERS or sum(len(a) for _, a in self._answers.values()) > MOST_ITEMS


_ANSWERS: Final = _Answers()
_AREAS: Final = Areas()


def _asked_by_one(query: Query) -> tuple[StacItem, ...]:
    """Ask, or take the answer that another process of the run has left, or is about to."""
    if query.board is None:
        return _ask(query)
    with gate(f"searches {int(query.digest, 16) % SEARCHES_AT_ONCE}", 1):
        items: tuple[StacItem, ...] | None = query.board.get(query.digest)
        if items is None:
            items = _ask(query)
            query.board.put(query.digest, items)
    return items


def _ask(query: Query) -> tuple[StacItem, ...]:
    fault: ProviderError
    boxes = _sides(query.boxes)
    try:
        answers = [page for box in boxes for page in _search(query, box)]
    except pystac_client.exceptions.APIError as error:
        fault = _failed(query, getattr(error, "status_code", None), str(error))
    else:
        _note(query, boxes, answers)
        items = (_understood(item, query) for page in answers for item in page)
        return distinct(item for item in items if item.fault or _fits(item, query))
    raise fault


def _note(query: Query, boxes: tuple[Box, ...], answers: list[list[Any]]) -> None:
    days, listed = (str(query.span.start), str(query.span.end)), sum(map(len, answers))
    vicinity.note(SearchMade(query.url, query.collections, boxes, *days, items=listed, pages=len(answers)))


def _understood(item: Any, query: Query) -> StacItem:
    """Return an item of a page; one that cannot be understood holds why."""
    collection = query.collections[0] if len(query.collections) == 1 else ""
    try:
        return _parsed(item, collection, query.url)
    except ProviderError as fault:
        unknown = dt.datetime.combine(query.span.start, dt.time(), dt.UTC)
        return StacItem(fault.what, collection, unknown, WORLD, {}, {}, fault.with_traceback(None))


@functools.lru_cache(maxsize=32)
def _client(url: str, retry: RetryPolicy, keyed: KeyedLinks | None) -> tuple[Ask, SearchStep, bool]:
    """Return what asks an API, how it is searched, and whether it filters by properties."""
    ask = _Requests(url, retry, keyed)
    return ask, *search_step(ask(SearchStep(url), landing_fault), url)


class _Requests:
    """The requests to one API; a search changes nothing, so its POST may be sent again too."""

    def __init__(self, url: str, retry: RetryPolicy, keyed: KeyedLinks | None) -> None:
        self._url, self._retry, self._keyed, self._session = url, retry, keyed, requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, JudgedAdapter(url))

    def __call__(self, step: SearchStep, fault: Callable[[Mapping[str, Any]], str]) -> Mapping[str, Any]:
        address = judge(joined(f"{self._url}/", step.href), origin=self._url, what="STAC API")
        signed = replace(step, href=address if self._keyed is None else self._keyed.sign(address))
        return retried(lambda: self._once(signed, fault), self._retry)

    def _once(self, step: SearchStep, fault: Callable[[Mapping[str, Any]], str]) -> Mapping[str, Any]:
        body: dict[str, Any] = {"json" if step.method == "POST" else "params": step.parameters}
        timeouts = CONNECT_S, self._retry.timeout_s
        retry_after_s, asked = None, time.monotonic()
        try:
            with self._session.request(
                step.method, step.href, headers=step.headers, timeout=timeouts, stream=True, **body
            ) as answer:
                content, is_cut = body_of(answer.iter_content(PIECE_BYTES), MOST_ANSWER_BYTES)
        except requests.RequestException as error:
            reason = no_connection(error) or _broken(error, time.monotonic() - asked)
        else:
            if is_cut:
                reason = f"its answer is longer than {MOST_ANSWER_BYTES} bytes"
                raise ProviderError("STAC API", value=self._url, reason=reason, fix="report it to the catalogue")
            if answer.ok:
                document, reason = _document(content, fault, self._keyed)
                if not reason:
                    return document
                kind = answer.headers.get("Content-Type", "an unknown type")
                reason = f"it answered {answer.status_code} with {kind}, and {reason}: {_text(content)}"
            elif answer.status_code not in TRANSIENT_STATUSES:
                refusal = pystac_client.exceptions.APIError(_text(content))
                refusal.status_code = answer.status_code
                raise refusal
            else:
                reason = f"it answered {answer.status_code}: {_text(content)}".removesuffix(": ")
                retry_after_s = asked_wait_s(answer.headers.get("Retry-After"))
        raise _later(self._url, reason, retry_after_s)


def _broken(error: requests.RequestException, seconds: float) -> str:
    """Say how a request broke off; a timeout names the seconds that were left for it, which may be fewer than set."""
    causes = (error, *error.args)
    if any(isinstance(cause, requests.Timeout | urllib3.exceptions.ReadTimeoutError) for cause in causes):
        return f"it sent nothing more within {seconds:.1f} s"
    return f"{type(error).__name__}: {error}"


def _text(content: bytes) -> str:
    return content[:2000].decode(errors="replace")


def _document(
    content: bytes, fault: Callable[[Mapping[str, Any]], str], keyed: KeyedLinks | None
) -> tuple[Mapping[str, Any], str]:
    """Return the JSON object of an answer, without a key, and what is wrong with it."""
    try:
        text = content.decode(json.detect_encoding(content))
        document = json.loads(text if keyed is None else keyed.without_key(text))
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError, or brackets without end
        return {}, f"it is not JSON ({type(error).__name__})"
    wrong = fault(document) if isinstance(document, dict) else "it is not a JSON object"
    return (document, "") if not wrong else ({}, wrong)


def _later(url: str, reason: str, retry_after_s: float | None = None) -> TransientError:
    fix = "try again later, or check the address"
    return TransientError("STAC API", value=url, reason=_line(reason), fix=fix, retry_after_s=retry_after_s)


def _line(text: str) -> str:
    return redact(" ".join(text.split()))[:200]


def _search(query: Query, box: Box) -> list[list[Any]]:
    """Return the pages of items that an API lists for a box; by GET where it does not take a POST."""
    ask, step, filters = _client(query.url, query.retry, query.keyed)
    for method in dict.fromkeys((step.method, "GET")):
        first = replace(step, method=method, parameters=_parameters(query, box, method, filters=filters))
        try:
            return list(pages(first, ask))
        except pystac_client.exceptions.APIError as error:
            if method == "GET" or getattr(error, "status_code", None) not in WITHOUT_POST:
                raise
    return []


def _parameters(query: Query, box: Box, method: str, *, filters: bool) -> dict[str, Any]:
    limits = None
    if query.most_cloud is not None and query.cloud is not None and filters:
        limits = {query.cloud: {"lte": query.most_cloud}}
    # Both ends of this interval count, so the midnight after the span is asked for too and left out by `_fits`.
    search = pystac_client.ItemSearch(
        query.url,
        method=method,
        collections=list(query.collections),
        bbox=list(box),
        datetime=f"{query.span.start.isoformat()}T00:00:00Z/{query.span.end.isoformat()}T00:00:00Z",
        query=limits,
        limit=PAGE,
    )
    return search.get_parameters()


def _sides(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Return the boxes to search, with slivers at the antimeridian where an item may reach over it."""
    west, east = min(b[0] for b in boxes), max(b[2] for b in boxes)
    south, north = min(b[1] for b in boxes), max(b[3] for b in boxes)
    near = west < NEAR_ANTIMERIDIAN_DEG - 180.0 or east > 180.0 - NEAR_ANTIMERIDIAN_DEG
    if not near:
        return boxes
    slivers = ((180.0 - SLIVER_DEG, south, 180.0, north), (-180.0, south, -180.0 + SLIVER_DEG, north))
    return (*boxes, *(s for s in slivers if not any(b[0] <= s[0] and b[2] >= s[2] for b in boxes)))


def _located(item: Any, url: str) -> Any:
    """Return an item whose links are absolute."""
    assets = item.get("assets") if isinstance(item, dict) else None
    if not isinstance(assets, dict):
        return item
    absolute_assets = {
        name: {**asset, "href": absolute(asset["href"], item, url=url)}
        for name, asset in assets.items()
        if isinstance(asset, dict) and isinstance(asset.get("href"), str)
    }
    return {**item, "assets": assets | absolute_assets}


def _parsed(item: Any, collection: str = "", url: str = "") -> StacItem:
    try:
        return parse_item(_located(item, url), collection=collection)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
    name = item.get("id") if isinstance(item, Mapping) else None
    raise ProviderError(
        f"STAC item {name or 'without an id'}",
        reason=f"it cannot be understood ({fault})",
        fix="report it to the catalogue",
    )


def _fits(item: StacItem, query: Query) -> bool:
    """Check again what the server should have filtered by: day and cloud. Unknown cloud does not pass a limit."""
    if item.time.date() not in query.span:
        return False
    if query.most_cloud is None or query.cloud is None:
        return True
    cover = item.number((query.cloud,))
    return cover is not None and cover <= query.most_cloud


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
