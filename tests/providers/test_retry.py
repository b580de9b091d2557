"""One table of transient statuses, one policy, one loop: the same for every client."""

from __future__ import annotations

import datetime as dt
import email.utils
import io
from types import SimpleNamespace

import pytest
import requests

from rs_embed_dask.errors import AccessError, ProviderError, SpecError, TransientError
from rs_embed_dask.providers import http, registry, retry
from rs_embed_dask.providers.earth_engine import session
from rs_embed_dask.providers.retry import TRANSIENT_STATUSES, GaveUpError, RetryPolicy, asked_wait_s, retried
from rs_embed_dask.providers.stac import search

STATUSES = {408: True, 425: True, 429: True, 500: True, 502: True, 503: True, 504: True, 522: True}
STATUSES |= {400: False, 403: False, 404: False, 422: False, 501: False, 505: False}
URL = "https://example.org/a.tif"


@pytest.fixture
def waits(monkeypatch):
    slept = []
    monkeypatch.setattr(retry, "sleep", slept.append)
    return slept


def pooled(monkeypatch, status, headers):
    """Answer every request of the connection pool."""
    monkeypatch.setattr(http, "_get", lambda *_, **__: http.Answer(status, headers, b"", is_cut=False))


def of_range(monkeypatch, status, headers):
    pooled(monkeypatch, status, headers)
    http.read_range(URL, 0, 1, access=http.Access())


def of_token(monkeypatch, status, headers):
    settings = SimpleNamespace(get=lambda: SimpleNamespace(sas_url="https://example.org", subscription_key=None))
    monkeypatch.setattr(http, "_client", lambda: SimpleNamespace(Settings=settings))
    pooled(monkeypatch, status, headers)
    http._TokenCache().token("account", "container")


def of_search(monkeypatch, status, headers):
    def answer(*_args, **_options):
        response = requests.Response()
        response.status_code, response.raw = status, io.BytesIO(b"no")
        response.headers.update(headers)
        return response

    monkeypatch.setattr(requests.Session, "request", answer)
    search._client.cache_clear()
    search._ask(search.Query("https://example.org", ("s2",), ((0, 0, 1, 1),), None))


def of_earth_engine(monkeypatch, status, headers):
    from rs_embed_dask.providers.earth_engine import read

    def refuse():
        error = session.fault_kinds()[0]("no")
        error.resp = {name.lower(): value for name, value in headers.items()}
        error.resp = type("Answer", (dict,), {"status": status})(error.resp)
        raise error

    monkeypatch.setattr(read, "open_session", lambda _access: None)
    read.ask(session.EarthAccess(), refuse, what="image")


CLIENTS = {of_range: 6, of_token: 5, of_search: 6, of_earth_engine: 5}


@pytest.mark.parametrize(("client", "attempts"), CLIENTS.items())
@pytest.mark.parametrize(("status", "transient"), STATUSES.items())
def test_every_client_judges_a_status_alike(client, attempts, status, transient, monkeypatch, waits):
    assert (status in TRANSIENT_STATUSES) is transient
    with pytest.raises(ProviderError) as raised:
        client(monkeypatch, status, {})
    assert isinstance(raised.value, TransientError) is transient
    assert isinstance(raised.value, AccessError) is (status == 403)
    assert raised.value.__context__ is None or not transient
    assert len(waits) == (attempts - 1) * transient
    assert (f"after {attempts} attempts" in raised.value.reason) is transient


@pytest.mark.parametrize(("client", "attempts"), CLIENTS.items())
def test_every_client_waits_as_long_as_it_is_asked_to(client, attempts, monkeypatch, waits):
    with pytest.raises(TransientError) as raised:
        client(monkeypatch, 429, {"Retry-After": "25"})
    assert raised.value.retry_after_s == 25
    assert len(waits) == attempts - 1
    assert all(25 <= wait <= 30 for wait in waits)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_leaves_a_longer_wait_to_its_caller(client, monkeypatch, waits):
    with pytest.raises(TransientError) as raised:
        client(monkeypatch, 503, {"Retry-After": "901"})
    assert (raised.value.retry_after_s, waits) == (901, [])


@pytest.mark.parametrize(("status", "transient"), STATUSES.items())
def test_errors_of_other_libraries_are_judged_alike(status, transient):
    read = SimpleNamespace(grid=SimpleNamespace(center_lonlat=(0.0, 0.0)), sensor="s2")
    fault = registry._fault(SimpleNamespace(name="files"), read, ValueError(f"HTTP {status}"))
    assert isinstance(fault, TransientError) is transient


def busy(asked_s=None):
    raise TransientError("service", value=503, reason="busy", fix="wait", retry_after_s=asked_s)


def test_waits_double_up_to_the_longest():
    policy = RetryPolicy(attempts=9, first_wait_s=1.0, longest_wait_s=10.0)
    for attempt, full in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)):
        assert full / 2 <= policy.wait_s(attempt) <= full


def test_a_seed_spreads_reads_and_gives_the_same_waits_everywhere():
    policy = RetryPolicy(first_wait_s=1.0)
    seeded = [policy.wait_s(1, seed=f"{index}/s2") for index in range(100)]
    assert len(set(seeded)) == 100
    assert seeded[3] == policy.wait_s(1, seed="3/s2")
    assert 0.7 < sum(seeded) / 100 < 0.8


def test_what_the_service_asks_for_is_honoured_up_to_a_bound():
    policy = RetryPolicy(first_wait_s=1.0, longest_asked_s=900.0)
    assert 30.0 <= policy.wait_s(1, 30.0, seed="a") <= 36.0
    assert 900.0 <= policy.wait_s(1, 1e9, seed="a") <= 1080.0
    assert policy.wait_s(1, 0.0, seed="a") < 1.0


def test_it_survives_json():
    assert RetryPolicy.from_json(RetryPolicy(3, 0.1, 2.0).to_json()) == RetryPolicy(3, 0.1, 2.0)


def test_a_policy_without_an_attempt_is_refused():
    with pytest.raises(SpecError, match=r"RetryPolicy.attempts = 0"):
        RetryPolicy(attempts=0)


def test_loops_within_each_other_do_not_multiply(waits):
    attempts = []
    with pytest.raises(GaveUpError, match="busy, after 3 attempts"):
        retried(lambda: retried(lambda: attempts.append(1) or busy(), RetryPolicy(3)), RetryPolicy(5))
    assert (len(attempts), len(waits)) == (3, 2)


def test_retry_after_is_a_number_or_a_date():
    assert [asked_wait_s(text) for text in ("7", "0.5", "", None, "soon", "²")] == [7.0, 0.5, None, None, None, None]
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    assert 55 < asked_wait_s(email.utils.format_datetime(soon, usegmt=True)) <= 60
    assert asked_wait_s(email.utils.format_datetime(soon - dt.timedelta(days=1))) == 0
