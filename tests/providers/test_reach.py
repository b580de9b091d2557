"""What tells a service that nobody reaches from one that answers badly, and how soon that is said."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from dataclasses import replace

import pytest
import requests
import urllib3

from rs_embed_dask.errors import ProviderError, TransientError, UnreachableError
from rs_embed_dask.products import reader_for
from rs_embed_dask.providers import open_provider, reach, retry
from rs_embed_dask.providers.addresses import JudgedConnection
from rs_embed_dask.providers.reach import PROBE, check_services, no_connection, services_of
from rs_embed_dask.providers.retry import RetryPolicy, retried, tell_waits
from tests.services.scripted import ScriptedServer, Told

WAYS = {
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"): "its name cannot be resolved",
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"): "it refused the connection",
    TimeoutError("timed out"): "no connection was made in time",
    OSError(errno.ENETUNREACH, "Network is unreachable"): "no network leads to it",
    ConnectionResetError(errno.ECONNRESET, "reset"): "no connection was made",
}


@pytest.fixture
def nobody():
    """The address of a port of this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("fault", WAYS, ids=lambda fault: type(fault).__name__)
def test_what_happens_before_a_connection_is_told_in_words(monkeypatch, fault):
    def connect(*_, **__):
        raise fault

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    assert reach.reach("http://127.0.0.1:1") == WAYS[fault]


def test_a_certificate_that_is_not_accepted_is_told(monkeypatch):
    refusal = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.verify_message = "self-signed certificate"

    def connect(_):
        raise refusal

    monkeypatch.setattr(JudgedConnection, "connect", connect)
    assert reach.reach("http://127.0.0.1:1") == "its certificate is not accepted (self-signed certificate)"


def test_a_server_that_knows_no_encryption_is_not_reached():
    with ScriptedServer({"/": Told(200)}) as server:
        told = reach.reach(server.url.replace("http:", "https:"))
    assert told.startswith("no encrypted connection was made (")


PROXIES = {
    "refused": "it refused the connection",
    "407": "Tunnel connection failed: 407 Proxy Authentication Required",
    "502": "Tunnel connection failed: 502 Bad Gateway",
}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_that_leads_nowhere_is_named(monkeypatch, nobody, proxy):
    answers = {"example.org:443": Told(int(proxy))} if proxy.isdecimal() else {}
    with ScriptedServer(answers) as server:
        monkeypatch.setenv("https_proxy", server.url if answers else nobody)
        assert reach.reach("https://example.org") == f"the proxy leads nowhere: {PROXIES[proxy]}"


def test_a_name_server_that_is_silent_ends_with_the_attempt(monkeypatch):
    silence = threading.Event()
    monkeypatch.setattr(reach, "PROBE", replace(PROBE, timeout_s=0.01))
    monkeypatch.setattr(reach, "_GRACE_S", 0.0)
    monkeypatch.setattr(reach, "reach", lambda host: "" if host == "http://b" else str(silence.wait(20)))
    try:
        assert reach.ask_here(("http://a", "http://b"))["http://a"] == "no connection was made in time"
    finally:
        silence.set()


def test_a_port_without_a_listener(nobody):
    assert reach.reach(nobody) == "it refused the connection"
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(nobody, timeout=5)
    assert no_connection(caught.value) == "it refused the connection"


@pytest.mark.parametrize("status", [200, 302, 401, 404, 503])
def test_whatever_a_host_answers_it_is_reached(status):
    with ScriptedServer({"/": Told(status)}) as server:
        assert reach.reach(server.url) == ""
        assert server.connections == 1


def test_a_host_that_is_silent_is_reached():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert reach.reach(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.05) == ""


def asking(*answers):
    """Return an `Ask` that gives these answers one after the other, the last for ever, and what it was asked."""
    asked = []

    def ask(hosts):
        asked.append(hosts)
        return answers[min(len(asked), len(answers)) - 1]

    return ask, asked


def test_a_service_that_nobody_reaches_is_one_error_within_seconds():
    waits, words = [], []
    ask, asked = asking({"http://a": "it refused the connection"})

    def wait(seconds, reason):
        waits.append(seconds)
        words.append(reason)

    with pytest.raises(UnreachableError) as caught:
        check_services(["http://a", "http://b", "http://a"], ask, wait=wait)
    assert asked == [("http://a", "http://b"), ("http://a",), ("http://a",), ("http://a",)]
    assert [f"waiting for http://a: it refused the connection, attempt {n} of 4" for n in (1, 2, 3)] == words
    assert 2.8 <= sum(waits) <= 5.6
    error = caught.value
    assert error.value == "http://a"
    assert error.reason.startswith("it cannot be reached: it refused the connection, after 4 attempts")
    assert "rs-embed-dask doctor" in error.fix
    assert isinstance(error, ProviderError)
    assert not isinstance(error, TransientError)


def test_a_short_outage_at_the_start_is_no_error():
    ask, asked = asking({"http://a": "no network leads to it"}, {"http://a": "no network leads to it"}, {})
    check_services(["http://a"], ask, wait=lambda *_: None)
    assert len(asked) == 3
    check_services([], ask, wait=lambda *_: None)
    assert len(asked) == 3


def test_attempts_that_hang_end_in_time_too(monkeypatch):
    """Each attempt takes as long as it may: the run ends 15 s after its first question at the latest."""
    now = [0.0]
    monkeypatch.setattr(retry, "monotonic", lambda: now[0])

    def ask(hosts):
        now[0] += PROBE.timeout_s + 1.0
        return dict.fromkeys(hosts, "no connection was made in time")

    def wait(seconds, _):
        now[0] += seconds

    with pytest.raises(UnreachableError, match="no connection was made in time, after 2 attempts"):
        check_services(["http://a"], ask, wait=wait)
    assert 7.0 < now[0] < 12.0


def test_each_source_names_the_hosts_that_every_read_asks(tmp_path):
    catalogue = open_provider("stac", url="https://example.org/stac/v1", fallback="earth_search")
    assert services_of(catalogue) == ("https://example.org", "https://earth-search.aws.element84.com")
    assert services_of(open_provider("pc")) == ("https://planetarycomputer.microsoft.com",)
    engine = open_provider("gee", project="p", endpoint="high_volume")
    assert services_of(engine) == ("https://earthengine-highvolume.googleapis.com",)
    assert services_of(open_provider("synthetic")) == ()
    assert services_of(reader("gse", engine)) == ("https://earthengine-highvolume.googleapis.com",)
    assert services_of(reader("gse", base_url="https://mirror.example/gse")) == ("https://mirror.example",)
    assert services_of(reader("tessera", base_url="https://mirror.example/v1")) == ("https://mirror.example",)
    assert services_of(reader("copernicus", base_url="https://mirror.example/v1")) == ("https://mirror.example",)
    assert services_of(reader("tessera", base_url=str(tmp_path))) == ()


def reader(name, provider=None, **options):
    from rs_embed_dask.models import card
    from rs_embed_dask.specs import ModelSpec

    return reader_for(card(name), ModelSpec(name, options=options), provider)


def test_long_waits_are_told_and_short_ones_are_not():
    words = []
    tell_waits(words.append)
    faults = [TransientError("STAC API", value="https://example.org", reason="it answered 503", fix="wait")] * 2

    def request():
        if faults:
            raise faults.pop()
        return 7

    try:
        policy = RetryPolicy(attempts=5, first_wait_s=1.5, longest_wait_s=30.0)
        assert retried(request, policy, wait=lambda _: None, seed="long") == 7
        faults += [TransientError("earth_engine: read", reason="it answered 429", fix="wait")]
        assert retried(request, RetryPolicy(first_wait_s=0.25), wait=lambda _: None) == 7
        faults += [TransientError("earth_engine: read", reason="it answered 429", fix="wait", retry_after_s=9.0)]
        assert retried(request, RetryPolicy(attempts=3), wait=lambda _: None) == 7
    finally:
        tell_waits(None)
    assert words[-1] == "waiting for earth_engine: read: it answered 429, attempt 1 of 3"
    assert words[-2] == "waiting for https://example.org: it answered 503, attempt 2 of 5"
    assert len(words) in {2, 3}  # the first wait is between 0.75 and 1.5 s
