"""What a store that may come from anyone makes `rs.resume` do: no code, no keys, no unknown host, no file."""

from __future__ import annotations

import json
import stat

import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine import stored
from rs_embed_dask.engine.plan import Sizes
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.engine.stored import stored_request
from rs_embed_dask.engine.topup import store_for
from rs_embed_dask.errors import PlanError, SpecError, StoreError, UnknownNameError
from rs_embed_dask.providers import registry
from rs_embed_dask.providers.earth_engine.session import ENDPOINTS, KINDS
from rs_embed_dask.providers.stac.planetary_computer import URL
from rs_embed_dask.store import ItemColumns, Store, seal
from tests.store.samples import fill_store, make_items

CALLED = []


def credentials():
    CALLED.append("ran")
    raise AssertionError("the store ran code")


class Plugin:
    """Somebody's provider, which does what its options say."""

    name = "plugin"

    def __init__(self, command=""):
        CALLED.append(command)


def made(path, provider="synthetic", models="bandstats"):
    request = request_of(models, {"provider": provider})
    return store_for(path, ItemColumns.of(make_items(3)), request, sizes=Sizes())[0]


def changed(path, change):
    """Change a store's request as somebody who has its files can."""
    root = path / "zarr.json"
    document = json.loads(root.read_text())
    change(document["attributes"]["request"])
    root.write_text(json.dumps(document))
    return Store.open(path, mode="r+")


@pytest.fixture(autouse=True)
def nothing_ran():
    CALLED.clear()
    yield
    assert CALLED == []


@pytest.fixture(autouse=True)
def this_user(tmp_path_factory, monkeypatch):
    """A user of this test alone, whatever the home of the one who runs it."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setattr(seal, "state_folder", lambda: folder)


@pytest.fixture
def hostile(tmp_path):
    """``hostile(provider={...})`` is a store whose request somebody else wrote."""

    def of(provider=None, options=None):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        made(path)

        def change(request):
            request["provider"] = provider or request["provider"]
            request["models"][0]["options"] = options or {}

        return changed(path, change)

    return of


FUNCTION = f"{__name__}:credentials"


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ({"name": "earth_engine", "credentials": FUNCTION}, "credentials='tests.engine"),
        ({"name": "earth_engine", "credentials": "os:system"}, "credentials='os:system'"),
        ({"name": "earth_engine", "credentials": ["user"]}, "credentials="),
        ({"name": "earth_engine", "credentials": "service_account", "key_file": "/keys/a.json"}, "key_file='/keys"),
        ({"name": "gee", "credentials": FUNCTION}, "credentials="),
        ({"name": "plugin", "command": "rm"}, "the provider 'plugin'"),
        ({"name": "my_plugin"}, "the provider 'my_plugin'"),
        ("plugin", "the provider 'plugin'"),
        ({"name": "planetary_computer", "fallback": "plugin"}, "the provider 'plugin'"),
        ({"name": "planetary_computer", "fallback": {"name": "stac", "key_file": "/keys/a"}}, "key_file='/keys"),
        ({"name": "planetary_computer", "fallback": {"name": "stac", "url": "https://evil.example"}}, "https://evil"),
        ({"name": "files", "source": ["/mnt/me/private"], "sensor": "s2"}, "files such as"),
        ({"name": "Files", "source": ["/mnt/me/private"], "sensor": "s2"}, "the provider 'Files'"),
        ({"name": "earth_engine", "endpoint": "https://evil.example"}, r"https://evil\.example"),
        ({"name": "earth_engine", "endpoint": "http://earthengine.googleapis.com"}, "http://earthengine"),
        ({"name": "earth_engine", "endpoint": "https://earthengine.googleapis.com:444"}, "com:444"),
        ({"name": "earth_engine", "endpoint": "https://earthengine.googleapis.com@evil.example"}, "https://evil"),
        ({"name": "stac", "url": "https://evil.example/stac"}, r"https://evil\.example"),
        ({"name": "planetary_computer", "url": "http://169.254.169.254/stac"}, "http://169"),
        ({"name": "stac", "url": "https://a.example", "assets": {"red": "https://b.example"}}, "a.example, https://b"),
    ],
)
def test_a_store_from_someone_else_is_refused(hostile, provider, words, monkeypatch):
    monkeypatch.setitem(registry._REGISTERED, "plugin", Plugin)
    store = hostile(provider)
    with pytest.raises(StoreError, match=words):
        stored_request(store)
    monkeypatch.setattr("rs_embed_dask.store.mend_lost_chunks", None)  # nothing is written before the refusal
    with pytest.raises(StoreError, match=words):
        rs.resume(store.target)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": "/mnt/me", "cache_gb": 1e-9}, "cache='/mnt/me' of tessera"),
        ({"base_url": "/mnt/me/private"}, "base_url='/mnt/me/private' of tessera"),
        ({"base_url": "file:///mnt/me"}, "file://"),
        ({"base_url": "https://evil.example/tiles"}, r"https://evil\.example"),
    ],
)
def test_the_options_of_models_are_judged_too(hostile, options, words, tmp_path):
    store = made(tmp_path / "tiles.zarr", models="tessera")
    store = changed(tmp_path / "tiles.zarr", lambda request: request["models"][0].update(options=options))
    with pytest.raises(StoreError, match=words):
        stored_request(store)
    with pytest.raises(StoreError, match=words):
        stored_request(store, provider=rs.open_provider("synthetic"))


def test_what_is_known_needs_no_trust(hostile):
    for provider in (
        {"name": "synthetic", "seed": 3},
        {"name": "planetary_computer", "threads": 4},
        {"name": "stac", "url": "https://earth-search.aws.element84.com/v1"},
        {"name": "earth_engine", "project": "p", "endpoint": "high_volume", "credentials": "application_default"},
        {"name": "earth_engine", "endpoint": "https://earthengine.googleapis.com"},
    ):
        assert stored_request(hostile(provider)).provider.name == provider["name"]


def test_known_hosts_and_kinds_are_those_of_the_providers():
    assert {*ENDPOINTS.values(), URL.removesuffix("/api/stac/v1")} < stored._KNOWN
    assert {*KINDS, "environment"} == stored._CREDENTIALS  # of Earth Engine, and of private buckets
    assert set(registry._OURS) == stored._OURS


def test_hosts_are_trusted_one_by_one(hostile):
    store = hostile({"name": "stac", "url": "https://stac.example:8443/v1"})
    with pytest.raises(StoreError, match=r"trust_hosts=\['stac\.example:8443'\]"):
        stored_request(store)
    for hosts in (["stac.example"], ["STAC.example:8443"], ("a.example", "stac.example")):
        assert stored_request(store, trust_hosts=hosts).provider.url == "https://stac.example:8443/v1"
    for hosts in (["example"], ["stac.example:443"], ["tac.example"], ["a.stac.example"], []):
        with pytest.raises(StoreError, match="would contact https://stac"):
            stored_request(store, trust_hosts=hosts)


@pytest.mark.parametrize(
    "hosts", [True, "stac.example", ["*"], ["*.example"], [""], [None], ["https://stac.example/v1"]]
)
def test_there_is_no_blanket_switch(hostile, hosts):
    with pytest.raises(SpecError, match="trust_hosts"):
        stored_request(hostile({"name": "stac", "url": "https://stac.example"}), trust_hosts=hosts)


def test_ones_own_store_is_trusted_as_it_was_made(tmp_path):
    provider = rs.open_provider("stac", url="https://stac.example/v1")
    store = made(tmp_path / "run.zarr", provider)
    assert stored_request(Store.open(store.target)).provider == provider
    topped = store_for(
        tmp_path / "run.zarr",
        ItemColumns.of(make_items(5)),
        request_of(["bandstats", "rcf"], {"provider": provider}),
        sizes=Sizes(),
    )
    assert topped[0].labels == ("bandstats", "rcf")
    assert stored_request(Store.open(store.target)).provider == provider
    forged = changed(tmp_path / "run.zarr", lambda request: request["provider"].update(url="https://evil.example/v1"))
    with pytest.raises(StoreError, match="https://evil"):
        stored_request(forged)


def test_another_user_or_machine_does_not_trust_it(tmp_path, monkeypatch):
    store = made(tmp_path / "run.zarr", rs.open_provider("stac", url="https://stac.example/v1"))
    monkeypatch.setattr(seal, "state_folder", lambda: tmp_path / "other")
    with pytest.raises(StoreError, match="this user did not make it on this machine"):
        stored_request(store)
    assert not (tmp_path / "other").exists()


def test_topping_up_somebody_elses_store_does_not_make_it_ones_own(tmp_path, monkeypatch):
    provider = rs.open_provider("stac", url="https://stac.example/v1")
    made(tmp_path / "run.zarr", provider)
    monkeypatch.setattr(seal, "state_folder", lambda: tmp_path / "other")
    request = request_of(["bandstats", "rcf"], {"provider": provider})
    store, _ = store_for(tmp_path / "run.zarr", ItemColumns.of(make_items(3)), request, sizes=Sizes())
    with pytest.raises(StoreError, match=r"stac\.example"):
        stored_request(store)


def test_not_even_ones_own_store_runs_code_or_opens_keys(tmp_path):
    for name, options in (
        ("function", {"credentials": FUNCTION}),
        ("key", {"credentials": "service_account", "key_file": "keys/a.json"}),
    ):
        provider = rs.open_provider("earth_engine", **options)
        store = made(tmp_path / f"{name}.zarr", provider)
        with pytest.raises(StoreError, match="pass provider=open_provider"):
            stored_request(store)
        assert stored_request(store, provider=provider).provider is provider


def test_the_key_is_private_and_a_readable_one_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(seal, "state_folder", lambda: tmp_path / "state" / "deep")
    store = made(tmp_path / "run.zarr", rs.open_provider("stac", url="https://stac.example/v1"))
    key = tmp_path / "state" / "deep" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == ["key"]
    assert key.read_bytes().hex() not in json.dumps(store.receipt)
    assert stored_request(store).provider.url == "https://stac.example/v1"
    key.chmod(0o640)
    with pytest.raises(StoreError, match=r"stac\.example"):
        stored_request(store)


def test_a_home_that_cannot_be_written_makes_stores_without_a_seal(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(seal, "state_folder", lambda: tmp_path / "file" / "state")
    store = made(tmp_path / "run.zarr", rs.open_provider("stac", url="https://stac.example/v1"))
    assert "seal" not in store.receipt
    with pytest.raises(StoreError, match="trust_hosts"):
        stored_request(store)


def test_all_that_is_refused_is_in_one_error(tmp_path):
    made(tmp_path / "run.zarr", models=["bandstats", "tessera"])

    def change(request):
        request["provider"] = {
            "name": "earth_engine",
            "credentials": FUNCTION,
            "key_file": "/keys/a",
            "endpoint": "https://evil.example",
        }
        request["models"][1]["options"] = {"cache": "/mnt/me", "base_url": "https://tiles.example:81/x"}

    store = changed(tmp_path / "run.zarr", change)
    with pytest.raises(StoreError) as caught:
        stored_request(store)
    for each in ("credentials='tests.engine", "key_file='/keys", "cache='/mnt/me' of tessera", "https://evil.example"):
        assert each in caught.value.reason
    assert "https://tiles.example:81" in caught.value.reason
    assert "pass provider=open_provider(...)" in caught.value.fix
    assert "repeat the call that made the store" in caught.value.fix
    assert "trust_hosts=['evil.example', 'tiles.example:81']" in caught.value.fix
    assert "--trust-host evil.example --trust-host tiles.example:81" in caught.value.fix
    with pytest.raises(StoreError) as caught:
        stored_request(store, trust_hosts=["evil.example", "tiles.example"])
    assert "would contact" not in str(caught.value)
    with pytest.raises(StoreError) as caught:
        stored_request(store, provider=rs.open_provider("synthetic"))
    assert "evil" not in str(caught.value)
    assert "trust_hosts=['tiles.example:81']" in caught.value.fix


BAD = {
    "wait below 0": {"wait": -1},
    "wait of NaN": {"wait": float("nan")},
    "wait as text": {"wait": "60"},
    "wait as a truth": {"wait": True},
    "client": {"client": "tcp://127.0.0.1:8786"},
    "progress": {"progress": "noisy"},
}
BAD_OF_RESUME = BAD | {
    "chunks backwards": {"chunks": (5, 2)},
    "no chunks": {"chunks": (2, 2)},
    "chunks below 0": {"chunks": (-1, 2)},
    "chunks of one end": {"chunks": (3,)},
    "one chunk": {"chunks": 3},
    "half a chunk": {"chunks": (0, 1.5)},
    "hosts as text": {"trust_hosts": "stac.example"},
    "hosts with a path": {"trust_hosts": ["https://stac.example/v1"]},
    "only": {"only": "undone"},
    "provider": {"provider": "no_such_provider"},
    "provider that is none": {"provider": 7},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seal, "state_folder", lambda: tmp_path_factory.mktemp("state"))
        store = made(tmp_path_factory.mktemp("finished") / "run.zarr")
    fill_store(store)
    return store.target


@pytest.mark.parametrize("options", BAD_OF_RESUME.values(), ids=BAD_OF_RESUME)
def test_resume_judges_its_options_where_nothing_is_left_to_do(finished, options):
    assert rs.resume(finished, progress=False).chunks == 0
    (name,) = options
    for verify in (False, True):
        with pytest.raises((SpecError, UnknownNameError), match=name if name != "only" else "status"):
            rs.resume(finished, verify=verify, **({"progress": False} | options))


@pytest.mark.parametrize(
    "options", [*BAD.values(), {"chunk_items": 0}, {"batch_items": -1}, {"ids": ["a"]}, {"buffer_m": -5}]
)
def test_a_call_that_finds_its_store_finished_judges_its_options(finished, options):
    items = make_items(3)
    where = [(item.spatial.lon, item.spatial.lat) for item in items]
    asked = {"provider": "synthetic", "out": finished, "progress": False, "buffer_m": 260}
    tree = rs.compute_embeddings(where, "bandstats", items[0].temporal, **asked)
    assert tree["items"].sizes["item"] == 3
    with pytest.raises((SpecError, PlanError), match=next(iter(options))):
        rs.compute_embeddings(where, "bandstats", items[0].temporal, **(asked | options))


def test_options_that_are_right_pass(finished):
    for options in ({"wait": float("inf")}, {"chunks": (0, None)}, {"chunks": [0, 9]}, {"trust_hosts": ("a.example",)}):
        assert rs.resume(finished, progress=False, **options).chunks == 0
    with pytest.raises(SpecError, match="wait = -1"):
        rs.verify(finished, wait=-1)
