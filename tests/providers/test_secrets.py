"""No token in logs, representations, graphs, plans, stores and reasons."""

from __future__ import annotations

import json
import logging
import pickle
import traceback

import cloudpickle
import numpy as np
import pytest

from rs_embed_dask import errors
from rs_embed_dask.engine.plan import Sizes
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.topup import store_for
from rs_embed_dask.errors import AccessError, ProviderError, RsEmbedError, SpecError, is_key_like, redact
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.products.mirror import Mirror
from rs_embed_dask.providers import load, open_provider
from rs_embed_dask.providers.http import Access, KeyedLinks, read_range
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac import search
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.store import ItemColumns
from tests.services.gateway import Gateway
from tests.services.scenes import grid, s2_scene
from tests.services.scripted import ScriptedServer, Told
from tests.store.samples import make_items

KEY = "PLAK5f1d7e84c1a24b0e9d3c"
ONCE = RetryPolicy(attempts=1)
JUNE = Span("2022-06-01", "2022-07-01")
READ = Read(grid(size=8), "sentinel-2-l2a", ("red",), (JUNE,), FetchSpec(mask="none"))


@pytest.fixture(autouse=True)
def no_secrets_kept(monkeypatch):
    monkeypatch.setattr(errors, "_SECRETS", set())


@pytest.fixture
def keyed(plain, tmp_path):
    """A catalogue and its files behind a key, and the provider that names the key's file."""
    service = plain(s2_scene("S2A_1", "2022-06-01T10:00:00", dn=1234))
    path = tmp_path / "gateway.key"
    path.write_text(f"{KEY}\n")
    with Gateway(f"http://127.0.0.1:{service.port}", KEY) as gateway:
        url = f"{gateway.url}/{{key}}/api/stac/v1"
        yield gateway, open_provider("stac", url=url, source="planetary_computer", key_file=path, retry=ONCE)


def test_a_key_in_the_path_reads_and_travels_nowhere(keyed, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    gateway, provider = keyed
    assert np.unique(load(provider, READ).values).tolist() == [1234.0]
    assert len(gateway.paths) == 3
    assert all(path.startswith(f"/{KEY}/") for path in gateway.paths)
    lazy = provider.cube(READ)
    request = request_of("bandstats", {"provider": provider})
    store, plan = store_for(tmp_path / "run.zarr", ItemColumns.of(make_items(2)), request, sizes=Sizes())
    texts = {
        "repr": repr(provider) + repr(provider.access) + repr(provider.search("s2", READ.grid, JUNE, fetch=READ.fetch)),
        "pickle": repr(cloudpickle.dumps(provider)),
        "graph": repr(cloudpickle.dumps(lazy)) + repr(dict(lazy.pixels.data.dask)),
        "plan": str(plan) + json.dumps(plan.to_dict()),
        "store": "".join(path.read_bytes().hex() for path in (tmp_path / "run.zarr").rglob("*") if path.is_file()),
        "log": caplog.text,
    }
    assert "urllib3.connectionpool" in caplog.text
    assert [name for name, text in texts.items() if KEY in text or KEY.encode().hex() in text] == []
    assert store.request["provider"]["key_file"] == str(tmp_path / "gateway.key")
    assert pickle.loads(pickle.dumps(provider)) == provider == open_provider(provider.describe())


def test_faults_do_not_show_the_key(keyed, caplog):
    caplog.set_level(logging.DEBUG)
    gateway, provider = keyed
    for provider_, words in (
        (open_provider(provider.describe() | {"url": provider.url + "/nothing"}), "404"),
        (open_provider(provider.describe() | {"url": "http://127.0.0.1:1/{key}/stac"}), "refused the connection"),
    ):
        with pytest.raises(ProviderError, match=words) as caught:
            provider_.search("s2", READ.grid, JUNE, fetch=READ.fetch)
        error = caught.value
        shown = "".join(traceback.format_exception(error)[-1:]) + repr(vars(error)) + repr(pickle.dumps(error))
        assert KEY not in shown
    with pytest.raises(ProviderError, match="404") as caught:
        read_range(f"{gateway.url}/{{key}}/blobs/none.tif", 0, 9, access=provider.access)
    assert KEY not in str(caught.value) + caplog.text


def test_the_key_goes_to_its_own_server_alone(keyed, tmp_path):
    gateway, provider = keyed
    signer = provider.signer
    assert signer.sign(f"{gateway.url}/{{key}}/a.tif") == f"{gateway.url}/{KEY}/a.tif"
    for href in (
        "https://evil.example/{key}/a.tif",
        gateway.url.replace("http://", "https://") + "/{key}",
        gateway.url.replace("127.0.0.1", "127.0.0.2") + "/{key}",
        "http://127.0.0.1:1/{key}",
    ):
        assert signer.sign(href) == href


def test_a_key_that_is_not_there_is_a_refusal(tmp_path):
    links = KeyedLinks("https://x.example/{key}", str(tmp_path / "none"))
    with pytest.raises(AccessError, match="put the key into this file on every worker"):
        links.sign("https://x.example/{key}/a")
    (tmp_path / "none").write_text(" \n")
    with pytest.raises(AccessError, match="it is empty"):
        links.sign("https://x.example/{key}/a")


@pytest.mark.parametrize(
    "url",
    [
        f"https://api.example/{KEY}/stac",
        f"https://api.example/v1/{KEY}",
        "https://api.example/3fa85f64-5717-4562-b3fc-2c963f66afa6/stac",
        "https://api.example/stac?api_key=SECRET1",
        "https://me:SECRET1@api.example/stac",
        "https://api.example/stac#SECRET1",
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(url):
    for make in (
        lambda: open_provider("stac", url=url),
        lambda: open_provider("planetary_computer", url=url),
        lambda: open_provider("earth_engine", endpoint=url),
        lambda: Mirror(url),
    ):
        with pytest.raises(SpecError) as caught:
            make()
        shown = str(caught.value) + repr(vars(caught.value))
        assert not [secret for secret in (KEY, "SECRET1", "3fa85f64") if secret in shown]


@pytest.mark.parametrize(
    ("url", "key_file"), [("https://api.example/stac", "a.key"), ("https://api.example/{key}/stac", None)]
)
def test_key_and_file_go_together(url, key_file):
    with pytest.raises(SpecError, match="go together"):
        open_provider("stac", url=url, key_file=key_file)


def test_a_representation_shows_the_host_alone():
    stac = open_provider("stac", url="https://api.example/hidden/word")
    assert repr(stac) == "StacProvider(url='https://api.example/...')"
    planetary = open_provider("planetary_computer", url="https://api.example/hidden", threads=2)
    shown = "PlanetaryComputer(url='https://api.example/...', source='planetary_computer', threads=2)"
    assert repr(planetary) == shown


def test_credentials_do_not_travel_unencrypted():
    with pytest.raises(SpecError, match="unencrypted"):
        open_provider("earth_engine", endpoint="http://earth.example")
    assert open_provider("earth_engine", endpoint="http://127.0.0.1:8080").access.url == "http://127.0.0.1:8080"


def test_a_redirect_to_a_signed_link_is_not_logged(caplog, new_process):
    caplog.set_level(logging.DEBUG)
    with ScriptedServer({"/signed.tif": Told(200, b"pixels")}) as server:
        server.answers["/a.tif"] = Told(302, b"", {"Location": f"{server.url}/signed.tif?sig=SECRET1&se=2030"})
        server.answers["/stac"] = Told(302, b"", {"Location": f"{server.url}/stac2?sig=SECRET1"})
        assert read_range(f"{server.url}/a.tif", 0, 6, access=Access(retry=ONCE)).data == b"pixels"
        with pytest.raises(ProviderError):
            search._ask(search.Query(f"{server.url}/stac", ("s2",), ((0, 0, 1, 1),), JUNE, retry=ONCE))
    assert "/signed.tif" in caplog.text
    assert "SECRET1" not in caplog.text
    logging.getLogger("urllib3.poolmanager").info("Redirecting %s -> %s", "/a", "https://x.example/b?sig=SECRET1")
    assert "https://x.example/b" in caplog.text
    assert "SECRET1" not in caplog.text


@pytest.mark.parametrize("status", [400, 401, 403, 503])
def test_a_services_error_body_is_quoted_without_its_token(status, new_process):
    body = b'{"error": "bad", "access_token": "SECRET1x", "header": "Authorization: Bearer SECRET2.y"}'
    server = ScriptedServer({"/": Told(status, body), "": Told(status, body)})
    with server, pytest.raises(ProviderError, match="bad") as caught:
        search._ask(search.Query(server.url, ("s2",), ((0, 0, 1, 1),), JUNE, retry=ONCE))
    assert "SECRET" not in str(caught.value) + repr(pickle.dumps(caught.value))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("https://me:pa@ss@host/a", "https://host/a"),
        ("a Bearer abc.DEF-1_~+/=, then", "a Bearer ..., then"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ..."),
        ("{'authorization': 'Bearer abc'}", "{'authorization': 'Bearer ...'}"),
        ("ya29.a0AfH6SMB-x_y z", "... z"),
        ("x eyJhbGciOiJIUzI1NiIsInR5cCI6.e30.abc y", "x ... y"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- z", "... z"),
        ('"refresh_token": "1//0abc"', '"refresh_token": "..."'),
        ("client_secret=abc&x=1", "client_secret=...&x=1"),
        ("password: Hunter2x", "password: ..."),
        ("Ocp-Apim-Subscription-Key: 0123abcd", "Ocp-Apim-Subscription-Key: ..."),
        ("X-Amz-Signature=abc123", "X-Amz-Signature=..."),
        (f"Max retries exceeded with url: /{KEY}/search (Caused", "Max retries exceeded with url: /.../search (Caused"),
        (f"https://host/{KEY}/b.tif", "https://host/.../b.tif"),
        ("url h/a%3Fsig%3Dabc z", "url h/a z"),
        (r"h/a\u003fsig=abc z", "h/a z"),
        ("//me:pass@host/a", "//host/a"),
        ("BEARER:abc", "BEARER..."),
        ("Token 0a1b2c3d4e5f", "Token ..."),
        ("Cookie: session=abc; sid=d", "Cookie: ..."),
        ("{'Set-Cookie': 'sid=abc; Path=/'} z", "{'Set-Cookie': '...'} z"),
        ("Authorization: Digest username=a, response=b", "Authorization: Digest ..."),
        ("X-Amz-Credential=AbC123dEf456/2020", "X-Amz-Credential=.../2020"),
        ("AWSAccessKeyId=abc&x=1", "AWSAccessKeyId=...&x=1"),
        ("AccountKey=abc==;EndpointSuffix=x", "AccountKey=...;EndpointSuffix=x"),
        ('{"key": "0a1b2c3d4e5f"}', '{"key": "..."}'),
        ("https://h/a#jwt=0a1b2c3d4e5f", "https://h/a#jwt=..."),
        ("pwd=abc", "pwd=..."),
        ("hf_" + "aB3d" * 8, "..."),
        ("AKIAIOSFODNN7EXAMPLE z", "... z"),
        # what only looks alike
        ("credentials='user'", "credentials='user'"),
        ("store key = '/data/run2022/zarr.json'", "store key = '/data/run2022/zarr.json'"),
        ("key=run2022-06.zarr/items/c.json", "key=run2022-06.zarr/items/c.json"),
        ("cls token: averaged over all", "cls token: averaged over all"),
        (
            "token for container = 'a/b': the issuer answered 503",
            "token for container = 'a/b': the issuer answered 503",
        ),
        ("weights = '/cache/blobs/0a1b2c3d4e5f60718293a4b5'", "weights = '/cache/blobs/0a1b2c3d4e5f60718293a4b5'"),
    ],
)
def test_what_is_cut_out_of_a_text(text, result):
    assert redact(text) == result
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "segment",
    [
        "S2A_MSIL2A_20220601T103629_N0400_R008_T31UFS_20220601T140000",
        "LC08_L2SP_198024_20220601_20220610_02_T1",
        "HLS.S30.T31UFS.2022152T103629.v2.0",
        "S1A_IW_GRDH_1SDV_20220601T055750_20220601T055815_043467_0530C6_rtc",
        "MOD09A1.A2022153.h18v03.061.2022162041234",
        "sentinel-2-l2a-cogs",
        "global_0.1_degree_representation",
        "0123456789abcdef0123456789abcdef01234567",
        "earth-search",
    ],
)
def test_names_of_scenes_and_collections_are_no_keys(segment):
    assert not is_key_like(segment)


HOSTILE = "a\x1b[2J\x1b]0;x\x07b\r\x9b31m\u202egnp\u2028c\x00\x08"


def test_errors_hold_nothing_that_a_terminal_obeys():
    error = RsEmbedError(HOSTILE, value=HOSTILE, reason=HOSTILE, fix=HOSTILE)
    for text in (str(error), error.what, error.reason, error.fix, error.value):
        assert text.isprintable()
        assert "\\x1b[2J" in text
