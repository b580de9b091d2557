"""What arrives is bounded: a body is unpacked piece by piece and left where it becomes too long."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import http
from rs_embed_dask.providers.addresses import AddressError
from rs_embed_dask.providers.connections import body_of
from rs_embed_dask.providers.earth_engine import session
from rs_embed_dask.providers.http import AbsentError, Access, PlanetaryComputerTokens, read_range
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac import search
from rs_embed_dask.providers.stac.search import Query, find
from rs_embed_dask.providers.tiff import TiffLimits
from tests.services.fixtures import new_process
from tests.services.scripted import ScriptedServer, Told

__all__ = ["new_process"]

pytestmark = pytest.mark.usefixtures("new_process")

QUICK = RetryPolicy(2, first_wait_s=0.01, timeout_s=10.0)
MIB = 2**20
BOMB = Told(200, gzip.compress(bytes(64 * MIB)), {"Content-Encoding": "gzip"})
PAGE = json.dumps({"type": "FeatureCollection", "features": [], "links": []}).encode()


def access(most):
    return Access(retry=QUICK, limits=TiffLimits(whole_bytes=most))


@pytest.fixture
def server():
    with ScriptedServer() as scripted:
        yield scripted


@pytest.mark.parametrize(
    ("pieces", "most", "expected"),
    [
        ([b"abc", b"de"], 5, (b"abcde", False)),
        ([b"abc", b"de"], 4, (b"abcd", True)),
        ([b"abc"], 0, (b"", True)),
        ([], 0, (b"", False)),
    ],
)
def test_a_body_is_joined_as_far_as_it_may_be(pieces, most, expected):
    assert body_of(iter(pieces), most) == expected


def test_what_comes_after_the_limit_is_never_asked_for():
    pieces = iter([b"abc", b"de", b"f"])
    assert body_of(pieces, 4) == (b"abcd", True)
    assert list(pieces) == [b"f"]


def test_a_whole_file_may_be_as_long_as_stated_and_no_longer(server):
    server.answers["/a.tif"] = Told(200, b"0123456789" * 100)
    assert read_range(f"{server.url}/a.tif", 5, 10, access=access(1000)).data == b"5678901234"
    with pytest.raises(ProviderError, match=r"longer than 999 bytes.*whole_bytes") as raised:
        read_range(f"{server.url}/a.tif", 5, 10, access=access(999))
    assert not isinstance(raised.value, TransientError)
    assert len(server.asked) == 2


def test_a_bomb_is_not_unpacked(server):
    server.answers["/a.tif"] = BOMB
    tracemalloc.start()
    try:
        with pytest.raises(ProviderError, match=r"longer than 1048576 bytes"):
            read_range(f"{server.url}/a.tif", 0, 10, access=access(MIB))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


def test_a_part_that_is_longer_than_was_asked_for_is_a_passing_fault(server):
    server.answers["/a.tif"] = Told(206, b"0" * 5000, {"Content-Range": "bytes 0-9/5000"})
    with pytest.raises(TransientError, match=r"more than 10 bytes arrived, after 2 attempts"):
        read_range(f"{server.url}/a.tif", 0, 10, access=access(MIB))


def test_an_endless_message_does_not_hide_what_the_status_says(server):
    server.answers["/a.tif"] = Told(404, gzip.compress(bytes(64 * MIB)), {"Content-Encoding": "gzip"})
    with pytest.raises(AbsentError, match="answered 404"):
        read_range(f"{server.url}/a.tif", 0, 10, access=access(MIB))


def test_a_token_that_is_no_token_but_a_bomb_is_a_passing_fault(server, monkeypatch):
    server.answers["/sas/account/container"] = BOMB
    monkeypatch.setattr(http, "TOKEN_RETRY", QUICK)
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.url}/sas")
    with pytest.raises(TransientError, match="token for container"):
        PlanetaryComputerTokens().sign("https://account.blob.core.windows.net/container/a.tif")


def ask(server, page):
    landing = {"conformsTo": [], "links": [{"rel": "search", "href": f"{server.url}/search"}]}
    server.answers |= {"/": Told(200, json.dumps(landing).encode()), "": Told(200, json.dumps(landing).encode())}
    server.answers["/search"] = page
    box = ((4.0, 51.0, 4.1, 51.1),)
    return find(Query(server.url, ("sentinel-2-l2a",), box, Span("2022-06-01", "2022-07-01"), retry=QUICK))


def test_a_page_may_be_as_long_as_stated_and_no_longer(server, monkeypatch):
    monkeypatch.setattr(search, "MOST_ANSWER_BYTES", 2000)
    assert ask(server, Told(200, PAGE.ljust(2000))) == ()
    search._ANSWERS._answers.clear()
    with pytest.raises(ProviderError, match="its answer is longer than 2000 bytes") as raised:
        ask(server, Told(200, PAGE.ljust(2001)))
    assert not isinstance(raised.value, TransientError)


def test_a_page_that_is_a_bomb_is_not_unpacked(server):
    tracemalloc.start()
    try:
        with pytest.raises(ProviderError, match="its answer is longer than 33554432 bytes"):
            ask(server, BOMB)
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


def test_brackets_without_end_are_no_page(server):
    with pytest.raises(TransientError, match=r"not JSON \(RecursionError\)"):
        ask(server, Told(200, b'{"features": ' + b"[" * 200_000))


def test_a_geometry_of_brackets_is_an_item_that_cannot_be_understood():
    nested = 3.0
    for _ in range(100_000):
        nested = [nested]
    item = {"id": "deep", "properties": {"datetime": "2022-06-01T10:00:00Z"}, "geometry": {"coordinates": nested}}
    with pytest.raises(ProviderError, match=r"STAC item deep.*cannot be understood.*RecursionError"):
        search._parsed(item)


@pytest.fixture
def transport():
    made = session.Transport(10.0, 2)
    yield made
    made.close()


def test_what_earth_engine_sends_is_bounded(server, transport, monkeypatch):
    monkeypatch.setattr(session, "MOST_ANSWER_BYTES", 1000)
    server.answers |= {"/fits": Told(200, b"x" * 1000), "/long": Told(200, b"x" * 1001), "/bomb": BOMB}
    answer, content = transport.request(f"{server.url}/fits")
    assert (answer.status, content) == (200, b"x" * 1000)
    for path in ("/long", "/bomb"):
        with pytest.raises(ValueError, match="longer than 1000 bytes"):
            transport.request(f"{server.url}{path}")


@pytest.mark.parametrize("place", ["http://169.254.169.254/computeMetadata/v1/", "http://100.100.100.200/"])
def test_a_redirect_of_earth_engine_is_judged_as_a_link_of_a_catalogue_is(server, transport, place):
    server.answers["/v1"] = Told(302, b"", {"Location": place})
    with pytest.raises(AddressError, match=r"it has a link-local address, and 127\.0\.0\.1 has not"):
        transport.request(f"{server.url}/v1")
    server.answers["/v1"] = Told(302, b"", {"Location": "file:///etc/passwd"})
    with pytest.raises(ConnectionError, match="InvalidSchema"):
        transport.request(f"{server.url}/v1")


def test_a_redirect_of_earth_engine_to_another_server_goes_without_the_token(transport):
    with ScriptedServer() as first, ScriptedServer({"/v1": Told(200, b"there")}) as second:
        first.answers["/v1"] = Told(307, b"", {"Location": f"{second.url}/v1".replace("127.0.0.1", "localhost")})
        _, content = transport.request(f"{first.url}/v1", headers={"Authorization": "Bearer secret"})
        assert content == b"there"
        assert "Authorization" in first.asked[0][1]
        assert "Authorization" not in second.asked[0][1]
