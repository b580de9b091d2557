"""Searching a STAC API: unsigned, page by page, once for the same question, in one order.

What a server says it filtered is filtered again here, because servers that do not know a filter answer everything or
nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
import threading
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import pystac_client
import pystac_client.exceptions
import pystac_client.stac_api_io
import requests
import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError, redact
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers.stac_items import StacItem, parse_item

__all__ = ["Question", "find"]

Box = tuple[float, float, float, float]
PAGE: Final = 250
KEPT: Final = 256
KEPT_S: Final = 600.0
# an item that lies across the antimeridian may be listed on either side of it; the widest tiles here reach so far
NEAR_ANTIMERIDIAN_DEG: Final = 12.0
SLIVER_DEG: Final = 1e-3
REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
PASSING: Final = frozenset({429, 500, 502, 503, 504})
RETRIES: Final = 4
TIMEOUT_S: Final = (10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for. Frozen and hashable: the same question is asked once.

    Parameters
    ----------
    url
        Of the STAC API.
    collections
        Ids.
    boxes
        West, south, east and north in degrees, one or two.
    span
        Days, half-open.
    cloud
        Name of the property of cloud cover, or None.
    most_cloud
        Largest cloud cover in percent, or None.
    """

    url: str
    collections: tuple[str, ...]
    boxes: tuple[Box, ...]
    span: Span
    cloud: str | None = None
    most_cloud: float | None = None


def find(question: Question) -> tuple[StacItem, ...]:
    """Return the items that answer a question, each once, in order of time and id.

    Raises
    ------
    AccessError, TransientError, ProviderError
        If the API refuses, is out of order, or does not know the collection.
    """
    return _ANSWERS.get(question)


class _Answers:
    """The answers of the last ten minutes; while one thread asks, the others who want the same wait for it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Question, tuple[float, tuple[StacItem, ...]]] = OrderedDict()
        self._guard = threading.Lock()
        self._asking: defaultdict[Question, threading.Lock] = defaultdict(threading.Lock)

    def get(self, question: Question) -> tuple[StacItem, ...]:
        with self._guard:
            lock = self._asking[question]
        try:
            with lock:
                kept = self._kept.get(question)
                if kept is None or time.monotonic() - kept[0] > KEPT_S:
                    kept = (time.monotonic(), _ask(question))
                    self._keep(question, kept)
                return kept[1]
        finally:
            with self._guard:
                self._asking.pop(question, None)

    def _keep(self, question: Question, answer: tuple[float, tuple[StacItem, ...]]) -> None:
        with self._guard:
            self._kept[question] = answer
            self._kept.move_to_end(question)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        with self._guard:
            self._kept.clear()


_ANSWERS: Final = _Answers()


def forget_answers() -> None:
    """Drop kept answers and open connections, as a new process would have none."""
    _ANSWERS.clear()
    _client.cache_clear()


def _ask(question: Question) -> tuple[StacItem, ...]:
    fault: ProviderError
    try:
        client = _client(question.url)
        found = [item for box in _sides(question.boxes) for item in _search(client, question, box)]
    except pystac_client.exceptions.APIError as error:
        fault = _failed(question, getattr(error, "status_code", None), str(error))
    except requests.RequestException as error:
        fault = _failed(question, None, f"{type(error).__name__}: {error}")
    else:
        wanted = {item.id: item for item in map(_parsed, found) if _fits(item, question)}
        return tuple(sorted(wanted.values(), key=lambda item: (item.time, item.id)))
    raise fault


@functools.lru_cache(maxsize=32)
def _client(url: str) -> pystac_client.Client:
    patient = urllib3.Retry(
        total=RETRIES,
        backoff_factor=0.1,
        backoff_jitter=0.1,
        status_forcelist=PASSING,
        allowed_methods=None,  # a search changes nothing, so that its POST may be sent again
        raise_on_status=False,
    )
    talk = pystac_client.stac_api_io.StacApiIO(timeout=TIMEOUT_S, max_retries=patient)
    return pystac_client.Client.open(url, stac_io=talk)


def _search(client: pystac_client.Client, question: Question, box: Box) -> Any:
    last = question.span.end - dt.timedelta(days=1)
    limits = None
    if question.most_cloud is not None and question.cloud is not None and client.conforms_to("QUERY"):
        limits = {question.cloud: {"lte": question.most_cloud}}
    search = client.search(
        collections=list(question.collections),
        bbox=list(box),
        datetime=f"{question.span.start.isoformat()}T00:00:00Z/{last.isoformat()}T23:59:59Z",
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


def _fits(item: StacItem, question: Question) -> bool:
    """Tell again what the server should have told: day and cloud. Unknown cloud does not pass a limit."""
    if item.time.date() not in question.span:
        return False
    if question.most_cloud is None or question.cloud is None:
        return True
    cover = item.properties.get(question.cloud)
    return isinstance(cover, int | float) and cover <= question.most_cloud


def _failed(question: Question, status: int | None, text: str) -> ProviderError:
    reason = redact(" ".join(text.split()))[:200] or f"it answered {status}"
    if status in REFUSED:
        return AccessError("STAC API", value=question.url, reason=reason, fix="check the address and your credentials")
    passing = status is None or status in PASSING
    if passing:
        return TransientError(
            "STAC API", value=question.url, reason=reason, fix="try again later, or check the address"
        )
    return ProviderError(
        "STAC API",
        value=question.url,
        reason=f"{reason} (status {status})",
        fix=f"check that it has the collections {', '.join(question.collections)}",
    )
