"""Which addresses a worker opens: of links, of redirects, by what names resolve to."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from rs_embed_dask.errors import ProviderError, TransientError
from rs_embed_dask.providers import addresses, http
from rs_embed_dask.providers.addresses import AddressError, absolute, judge
from rs_embed_dask.providers.http import Access, read_range
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac import search
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.conftest import guarded_getaddrinfo
from tests.services.scripted import ScriptedServer, Told

PUBLIC = "https://catalogue.example/stac"
ITEM = {"id": "a", "collection": "s2"}
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def names(monkeypatch, new_process):
    """``names["host"] = [address, ...]`` makes a name resolve to these, one after the other, the last one for ever."""
    known = {"catalogue.example": ["93.184.216.34"]}

    def resolve(host, *args, **kwargs):
        if host not in known:
            return guarded_getaddrinfo(host, *args, **kwargs)
        number = known[host][0] if len(known[host]) == 1 else known[host].pop(0)
        return guarded_getaddrinfo(number, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.fixture
def proxied(monkeypatch, new_process):
    """Let a server of this machine be the proxy for every name, as in many institutes."""
    with ScriptedServer() as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        addresses._proxy.cache_clear()
        yield server
    addresses._proxy.cache_clear()


HOSTILE = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "/etc/passwd",
    "etc/passwd",
    "../../etc/passwd",
    "/proc/self/environ",
    "/vsicurl/http://catalogue.example/a.tif",
    "/vsis3/bucket/a.tif",
    "s3://bucket/a.tif",
    "ftp://catalogue.example/a.tif",
    "gopher://catalogue.example/",
    "data:image/tiff;base64,SUkqAA==",
    "C:\\secrets\\a.tif",
    "\\\\server\\share\\a.tif",
    "",
    "http:///a.tif",
    "http://%5Bbad/a.tif",
    "http://%31%32%37.0.0.1/a.tif",
    "http://user%40x:word@%31%32%37.0.0.1/a.tif",
    "http://",
    "http://evil.example\\.blob.core.windows.net/c/a.tif",
    "http://evil.example .blob.core.windows.net/c/a.tif",
    "http://127.0.0.1/a.tif",
    "http://127.255.0.9:8786/a.tif",
    "https://127.0.0.1/a.tif",
    "http://user:word@127.0.0.1/a.tif",
    "http://2130706433/a.tif",
    "http://0x7f.1/a.tif",
    "http://0177.0.0.1/a.tif",
    "http://127.1/a.tif",
    "http://0/a.tif",
    "http://0.0.0.0:8787/a.tif",
    "http://0.1.2.3/a.tif",
    "http://[::1]/a.tif",
    "http://[::]/a.tif",
    "http://[::ffff:127.0.0.1]/a.tif",
    "http://[::ffff:7f00:1]/a.tif",
    "http://[::127.0.0.1]/a.tif",
    "http://[64:ff9b::127.0.0.1]/a.tif",
    "http://[64:ff9b:1::127.0.0.1]/a.tif",
    "http://[::ffff:0:127.0.0.1]/a.tif",
    "http://[2001:0:0:0:0:0:80ff:fffe]/a.tif",
    "http://[2002:7f00:1::]/a.tif",
    "http://localhost/a.tif",
    "http://LOCALHOST./a.tif",
    "http://worker.localhost/a.tif",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://[fe80::1]/a.tif",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://224.0.0.1/a.tif",
    "http://255.255.255.255/a.tif",
]


@pytest.mark.parametrize("address", HOSTILE)
def test_a_catalogue_on_the_network_cannot_name(address, names):
    for tail in ("", "\t", "\n", "\x00"):
        with pytest.raises(AddressError, match="asset B04"):
            judge(address + tail, origin=PUBLIC, what="asset B04")
    with pytest.raises(AddressError, match="asset B04"):
        read_range(f"{address}#asset%20B04", 0, 10, access=Access(retry=ONCE, origin=PUBLIC))


@pytest.mark.parametrize(
    "address",
    [
        "https://catalogue.example/a.tif",
        "http://files.example:8080/a.tif?x=1",
        "https://93.184.216.34/a.tif",
        "https://[2606:2800:220:1::1]/a.tif",
        "https://s2.blob.core.windows.net/c/a.tif",
        "http://10.1.2.3/a.tif",
        "https://files.example/with a space/and\\a backslash.tif",
    ],
)
def test_a_catalogue_on_the_network_can_name(address, names):
    assert judge(address, origin=PUBLIC) == address


def test_the_user_may_name_anything(tmp_path, new_process):
    path = tmp_path / "a.tif"
    path.write_bytes(b"pixels")
    assert read_range(str(path), 1, 3, access=Access()).data == b"ixe"
    assert read_range(path.as_uri(), 1, 3, access=Access()).data == b"ixe"
    with ScriptedServer({"/a.tif": Told(200, b"pixels")}) as server:
        assert read_range(f"{server.url}/a.tif", 1, 3, access=Access()).data == b"ixe"
        assert read_range(f"http://localhost:{server.port}/a.tif", 1, 3, access=Access()).data == b"ixe"


def test_a_catalogue_on_loopback_may_use_loopback_and_no_more(new_process):
    with ScriptedServer({"/a.tif": Told(200, b"pixels")}) as server:
        of_loopback = Access(retry=ONCE, origin=f"{server.url}/stac")
        assert read_range(f"http://localhost:{server.port}/a.tif", 1, 3, access=of_loopback).data == b"ixe"
        for address in ("http://169.254.169.254/latest", "file:///etc/passwd", "/etc/passwd"):
            with pytest.raises(AddressError):
                read_range(address, 0, 1, access=of_loopback)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "cannot read file: addresses"),
        ("/etc/passwd\x00", "404"),
        ("ftp://127.0.0.1/a", "cannot read ftp:// addresses"),
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://[fe80::1]/a", "link-local"),
        ("//169.254.169.254/a", "link-local"),
    ],
)
def test_a_redirect_is_judged_as_a_link_is(location, words, new_process):
    if "404" in words:
        location = "/missing"  # a relative redirect stays on the server, whatever it looks like
    with ScriptedServer({"/a.tif": Told(302, b"", {"Location": location})}) as server:
        for access in (Access(retry=ONCE), Access(retry=ONCE, origin=server.url)):
            with pytest.raises(ProviderError, match=words) as caught:
                read_range(f"{server.url}/a.tif#asset%20B04", 0, 10, access=access)
            assert "asset B04" in str(caught.value)
            assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/a", "http://localhost:{port}/a", "http://0x7f.1:{port}/"]
)
def test_a_redirect_from_the_network_to_loopback_is_refused(location, proxied):
    with ScriptedServer({"/a": Told(200, b"secret")}) as inside:
        target = location.format(port=inside.port)
        proxied.answers["http://files.example/a.tif"] = Told(302, b"", {"Location": target})
        with pytest.raises(AddressError, match="loopback"):
            read_range("http://files.example/a.tif", 0, 10, access=Access(retry=ONCE))
        assert [path for path, _ in proxied.asked] == ["http://files.example/a.tif"]
        assert inside.connections == 0


def test_redirects_are_followed_and_counted(new_process):
    hops = {f"/{n}": Told(302, b"", {"Location": f"/{n + 1}"}) for n in range(9)}
    with ScriptedServer({**hops, "/9": Told(200, b"pixels")}) as server:
        assert read_range(f"{server.url}/4", 1, 3, access=Access(retry=ONCE)).data == b"ixe"
        with pytest.raises(ProviderError, match="more than 5 redirects"):
            read_range(f"{server.url}/3", 1, 3, access=Access(retry=ONCE))


def test_a_key_does_not_follow_a_redirect_to_another_server(new_process):
    with ScriptedServer({"/t": Told(200, b"{}")}) as other:
        with ScriptedServer({"/t": Told(307, b"", {"Location": f"{other.url}/t"})}) as server:
            http._get(f"{server.url}/t", {"Ocp-Apim-Subscription-Key": "SECRET", "Range": "bytes=0-1"}, 5.0)
        assert server.asked[0][1]["Ocp-Apim-Subscription-Key"] == "SECRET"
        assert other.asked[0][1]["Range"] == "bytes=0-1"
        assert "SECRET" not in str(other.asked)


def test_names_are_judged_by_what_they_resolve_to(names):
    with ScriptedServer({"/a.tif": Told(200, b"secret")}) as inside:
        names["files.example"] = ["127.0.0.1"]
        address = f"http://files.example:{inside.port}/a.tif#asset%20B04"
        with pytest.raises(AddressError, match=r"asset B04.*leads to files\.example: it has a loopback address"):
            read_range(address, 0, 10, access=Access(retry=ONCE, origin=PUBLIC))
        assert inside.connections == 0


def test_a_name_that_changes_between_judging_and_connecting_gets_no_request(names):
    with ScriptedServer({"/a.tif": Told(200, b"secret")}) as inside:
        names["files.example"] = ["93.184.216.34", "127.0.0.1"]
        address = f"http://files.example:{inside.port}/a.tif"
        with pytest.raises(AddressError, match="loopback"):
            read_range(address, 0, 10, access=Access(retry=ONCE, origin=PUBLIC))
        assert inside.asked == []


def test_a_catalogue_whose_own_name_moves_to_loopback_is_refused(names):
    with ScriptedServer({"/a.tif": Told(200, b"secret")}) as inside:
        of_catalogue = Access(retry=ONCE, origin=PUBLIC)
        judge("http://127.0.0.2/", origin="http://127.0.0.1/")
        with pytest.raises(AddressError):
            judge("http://127.0.0.2/", origin=PUBLIC)
        names["catalogue.example"] = ["127.0.0.1"]
        with pytest.raises(AddressError, match="had a public address and now has a loopback one"):
            read_range(f"http://catalogue.example:{inside.port}/a.tif", 0, 10, access=of_catalogue)
        assert inside.connections == 0


def test_connections_are_not_shared_between_origins(names):
    with ScriptedServer({"/a.tif": Told(200, b"pixels")}) as inside:
        names["files.example"] = ["127.0.0.1"]
        address = f"http://files.example:{inside.port}/a.tif"
        assert read_range(address, 0, 3, access=Access(retry=ONCE, origin=inside.url)).data == b"pix"
        with pytest.raises(AddressError):
            read_range(address, 0, 3, access=Access(retry=ONCE, origin=PUBLIC))


@pytest.mark.parametrize(
    ("href", "links", "result"),
    [
        ("https://files.example/a.tif", [], "https://files.example/a.tif"),
        ("B04.tif", [], f"{PUBLIC}/collections/s2/items/B04.tif"),
        ("./B04.tif", [{"rel": "self", "href": "https://x.example/s/a/a.json"}], "https://x.example/s/a/B04.tif"),
        ("../B04.tif", [{"rel": "self", "href": "https://x.example/s/a/a.json"}], "https://x.example/s/B04.tif"),
        ("/etc/passwd", [{"rel": "self", "href": "https://x.example/s/a/a.json"}], "https://x.example/etc/passwd"),
        ("B04.tif", [{"rel": "self", "href": "items/a.json"}], f"{PUBLIC}/items/B04.tif"),
        ("B04.tif", [{"rel": "self", "href": None}, "odd", {"rel": "root"}], f"{PUBLIC}/collections/s2/items/B04.tif"),
        ("B04.tif", [{"rel": "self", "href": "file:///data/a.json"}], "file:///data/B04.tif"),
        ("//169.254.169.254/a", [], "https://169.254.169.254/a"),
        ("B04.tif", 3, f"{PUBLIC}/collections/s2/items/B04.tif"),
        ("http://[bad/B04.tif", [], "http://%5Bbad/B04.tif"),
        ("B04.tif", [{"rel": "self", "href": "http://[bad/a.json"}], "http://%5Bbad/B04.tif"),
    ],
)
def test_links_count_from_the_items_own_address(href, links, result):
    assert absolute(href, {**ITEM, "links": links}, url=PUBLIC) == result


def test_relative_links_of_a_catalogue_are_read(plain):
    from tests.providers.test_stac_access import noisy, pixels

    service = plain(noisy())
    assert str(service.port) in service.api.items[0]["assets"]["B04"]["href"]
    item = service.api.items[0]
    item["assets"]["B04"]["href"] = urlsplit(item["assets"]["B04"]["href"]).path
    (parsed,) = search._ask(search.Query(service.url, (item["collection"],), ((-180, -90, 180, 90),), _june()))
    assert parsed.assets["B04"].href.startswith(f"http://127.0.0.1:{service.port}/blobs/")
    provider = StacProvider(service.url, source="planetary_computer")
    assert provider.access.origin == service.url
    assert pixels(parsed.assets["B04"].href, provider.access).shape == (4, 5)


def _june():
    from rs_embed_dask.imagery.dates import Span

    return Span("2022-06-01", "2022-07-01")


@pytest.mark.parametrize(
    ("href", "words"),
    [
        ("file:///etc/hostname", "cannot read file: addresses"),
        ("file://localhost/etc/hostname", "cannot read file: addresses"),
        ("/etc/hostname", "404"),
        ("http://169.254.169.254/page2", "link-local"),
        ("ftp://example.org/", "cannot read ftp://"),
        ("http://[bad/page2", "cannot read http:// addresses"),
    ],
)
def test_the_next_page_is_judged_too(href, words, new_process):
    features = {"type": "FeatureCollection", "features": [{"id": "a"}], "links": [{"rel": "next", "href": href}]}
    with ScriptedServer() as server:
        landing = {
            "type": "Catalog",
            "id": "x",
            "stac_version": "1.0.0",
            "description": "x",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [
                {"rel": "search", "href": f"{server.url}/search", "type": "application/geo+json", "method": "POST"}
            ],
        }
        server.answers |= {
            path: Told(200, json.dumps(page).encode(), {"Content-Type": "application/geo+json"})
            for path, page in {"/": landing, "": landing, "/search": features}.items()
        }
        with pytest.raises(ProviderError, match=words):
            search._ask(search.Query(server.url, ("s2",), ((0, 0, 1, 1),), _june(), retry=ONCE))
        assert server.asked[1][0] == "/search"


def test_a_redirect_that_cannot_be_parsed_is_refused(new_process):
    malformed = {"/a.tif": Told(302, b"", {"Location": "http://[bad/a.tif"})}
    with ScriptedServer(malformed) as server, pytest.raises(AddressError, match=r"leads to http://%5Bbad/a\.tif"):
        read_range(f"{server.url}/a.tif", 0, 10, access=Access(retry=ONCE))


def test_a_drip_through_a_proxy_ends_at_the_deadline(proxied):
    slow = Told(206, b"0123456789" * 5, {"Content-Range": "bytes 0-49/50"}, pause_s=0.2)
    proxied.answers["http://files.example/a.tif"] = slow
    soon = RetryPolicy(attempts=3, first_wait_s=0.01, deadline_s=0.6)
    began = time.monotonic()
    with pytest.raises(TransientError, match="deadline is over"):
        read_range("http://files.example/a.tif", 0, 50, access=Access(retry=soon, origin=PUBLIC))
    assert 0.5 < time.monotonic() - began < 8.0
    proxied.answers["http://files.example/a.tif"] = replace(slow, pause_s=0.0)
    assert read_range("http://files.example/a.tif", 0, 50, access=Access(retry=ONCE)).data == slow.body


def test_the_search_follows_no_redirect_off_the_network(proxied):
    with ScriptedServer({"/": Told(200, b"{}")}) as inside:
        proxied.answers["http://api.example/"] = Told(302, b"", {"Location": f"{inside.url}/"})
        with pytest.raises(AddressError, match="loopback"):
            search._ask(search.Query("http://api.example", ("s2",), ((0, 0, 1, 1),), _june(), retry=ONCE))
        assert inside.connections == 0


def test_a_bucket_in_another_region_is_read_there(proxied):
    elsewhere = Told(301, b"<Error><Code>PermanentRedirect</Code></Error>", {"x-amz-bucket-region": "eu-central-1"})
    proxied.answers["http://cogs.s3.amazonaws.com/a.tif"] = elsewhere
    proxied.answers["http://cogs.s3.eu-central-1.amazonaws.com/a.tif"] = Told(
        206, b"0123456789", {"Content-Range": "bytes 0-9/50"}
    )
    access = Access(retry=ONCE, origin=PUBLIC)
    assert read_range("http://cogs.s3.amazonaws.com/a.tif", 0, 10, access=access).data == b"0123456789"
    proxied.answers["http://cogs.s3.amazonaws.com/a.tif"] = Told(301, b"", {"x-amz-bucket-region": "no region/"})
    with pytest.raises(ProviderError, match="answered 301"):
        read_range("http://cogs.s3.amazonaws.com/a.tif", 0, 10, access=access)
