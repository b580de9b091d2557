"""A STAC API as it answers: how it is searched, and page after page, each checked to be one.

An answer with status 200 that holds something else, as a proxy or an overloaded server sends it, is a fault that
passes. Only a well-formed page without items says that there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pystac_client.conformance import ConformanceClasses

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers.addresses import joined

__all__ = ["Ask", "SearchStep", "landing_fault", "page_fault", "pages", "search_step"]

Json = Mapping[str, Any]
MOST_PAGES: Final = 1000
# some APIs filter a page after they have cut it, and others link to a next page behind the last
MOST_EMPTY_PAGES: Final = 3


@dataclass(frozen=True)
class SearchStep:
    """One request of a search."""

    href: str
    method: str = "GET"
    parameters: Json | None = None
    headers: Mapping[str, str] | None = None

    @property
    def mark(self) -> str:
        """The same for the same request."""
        return json.dumps([self.href, self.method, self.parameters], sort_keys=True)


class Ask(Protocol):
    """Makes a request and returns the JSON object of its answer, of which `fault` finds nothing to say."""

    def __call__(self, step: SearchStep, fault: Callable[[Json], str]) -> Json:
        """Raise TransientError where it stays wrong."""


def landing_fault(document: Json) -> str:
    """Return why a document is not the landing page of a catalogue."""
    is_landing = isinstance(document.get("links"), list) or isinstance(document.get("conformsTo"), list)
    return "" if is_landing else "it is not the landing page of a catalogue"


def page_fault(document: Json) -> str:
    """Return why a document is not a page of items."""
    return "" if isinstance(document.get("features"), list) else "it has no list of features"


def search_step(landing: Json, url: str) -> tuple[SearchStep, bool]:
    """Return how the API of a landing page is searched, and whether it filters by properties."""
    stated = landing.get("conformsTo")
    conformance = [str(uri) for uri in stated] if isinstance(stated, list) else []
    links = [link for link in _links(landing, "search") if isinstance(link.get("href"), str)]
    chosen = next((link for link in links if _method(link) == "POST"), links[0] if links else None)
    if chosen is not None:
        step = SearchStep(joined(f"{url}/", chosen["href"]), _method(chosen))
    elif any(ConformanceClasses.ITEM_SEARCH.value in uri for uri in conformance):
        step = SearchStep(f"{url}/search", "POST")
    else:
        reason = "it offers no search; a static catalogue or a single collection, which is only files, does not"
        fix = "give the address of a STAC API, or copy the images and read them with provider='files'"
        raise ProviderError("STAC API", value=url, reason=reason, fix=fix)
    return step, any(uri.endswith(ConformanceClasses.QUERY.value) for uri in conformance)


def pages(first: SearchStep, ask: Ask) -> Iterator[list[Any]]:
    """Yield the items of page after page, as they came."""
    step: SearchStep | None = first
    marks: set[str] = set()
    empty = 0
    while step is not None and empty < MOST_EMPTY_PAGES:
        if step.mark in marks or len(marks) == MOST_PAGES:
            reason = (
                "its next page is one that was read" if step.mark in marks else f"it has more than {MOST_PAGES} pages"
            )
            fix = "report it to the catalogue, or take a shorter span"
            raise ProviderError("STAC API", value=step.href, reason=reason, fix=fix)
        marks.add(step.mark)
        page = ask(step, page_fault)
        yield page["features"]
        empty = 0 if page["features"] else empty + 1
        step = _next(page, step)


def _next(page: Json, last: SearchStep) -> SearchStep | None:
    link = next((link for link in _links(page, "next") if link.get("href")), None)
    if link is None:
        return None
    href, method, body = joined(last.href, str(link["href"])), _method(link), link.get("body")
    given = body if isinstance(body, Mapping) else {}
    parameters = {**(last.parameters or {}), **given} if link.get("merge") else given
    headers = link.get("headers")
    return SearchStep(
        href, method, parameters if method == "POST" else None, headers if isinstance(headers, Mapping) else None
    )


def _links(document: Json, rel: str) -> list[Json]:
    links = document.get("links")
    listed = links if isinstance(links, list) else ()
    return [link for link in listed if isinstance(link, Mapping) and link.get("rel") == rel]


def _method(link: Json) -> str:
    return str(link.get("method") or "GET").upper()
