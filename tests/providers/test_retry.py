"""Every client judges an HTTP status by the one table."""

from types import SimpleNamespace

import pytest
import requests
import urllib3

from rs_embed_dask.errors import AccessError, ProviderError, TransientError
from rs_embed_dask.providers import http, registry
from rs_embed_dask.providers.earth_engine import session
from rs_embed_dask.providers.retry import TRANSIENT_STATUSES
from rs_embed_dask.providers.stac import search

STATUSES = {408: True, 425: True, 429: True, 500: True, 502: True, 503: True, 504: True, 522: True}
STATUSES |= {400: False, 403: False, 404: False, 422: False, 501: False, 505: False}


def of_range(status):
    try:
        http._judge("file", "https://example.org/a.tif", urllib3.HTTPResponse(status=status))
    except ProviderError as error:
        return error
    return TransientError("file", reason="a fault that is tried again", fix="none")


def of_token(status):
    response = requests.Response()
    response.status_code = status
    return http._refusal("account/container", response)


def of_search(status):
    return search._failed(SimpleNamespace(url="https://example.org", collections=("s2",)), status, "")


def of_library(status):
    read = SimpleNamespace(grid=SimpleNamespace(center_lonlat=(0.0, 0.0)), sensor="s2")
    return registry._fault(SimpleNamespace(name="files"), read, ValueError(f"HTTP {status}"))


def of_earth_engine(status):
    return session._answered(status, "", "image", advice="", asked_s=None)


@pytest.mark.parametrize("judge", [of_range, of_token, of_search, of_library, of_earth_engine])
@pytest.mark.parametrize(("status", "transient"), STATUSES.items())
def test_every_client_agrees(judge, status, transient):
    assert (status in TRANSIENT_STATUSES) is transient
    assert isinstance(judge(status), TransientError) is transient


@pytest.mark.parametrize("judge", [of_token, of_search, of_library, of_earth_engine])
def test_a_refusal_is_about_access(judge):
    assert isinstance(judge(403), AccessError)


def test_the_search_tries_again_after_each_status_of_the_table(monkeypatch):
    opened = []
    monkeypatch.setattr(search.pystac_client.Client, "open", lambda _url, *, stac_io: opened.append(stac_io))
    search._client.__wrapped__("https://example.org")
    retry = opened[0].session.get_adapter("https://example.org").max_retries
    assert all(retry.is_retry("POST", status) == transient for status, transient in STATUSES.items())
