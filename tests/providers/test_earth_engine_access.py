"""Credentials: found by each process, once, under a lock; in no graph, pickle, store, log or message (R20, R21)."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import ee
import google.auth
import google.oauth2.credentials
import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from rs_embed_dask.errors import AccessError, SpecError, TransientError
from rs_embed_dask.providers import load
from rs_embed_dask.providers.earth_engine import session as access
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.registry import gate, share_by
from tests.providers.earth_truth import DAYS, read, spot
from tests.services.earth import world

pytestmark = pytest.mark.usefixtures("new_session")
TOKEN = "ya29.secret-token-0123456789"
HERE = f"{__name__}:"


class Held(Credentials):
    """Credentials with a token that must not be seen anywhere."""

    def __init__(self):
        super().__init__()
        self.token = TOKEN

    @property
    def expired(self):
        return False

    def refresh(self, request):
        raise RefreshError(f"the token {TOKEN} is not taken any more")


def held():
    return Held()


def expired():
    return google.oauth2.credentials.Credentials(
        None,
        refresh_token="1//secret-refresh-token-abcdefghij",
        token_uri="http://127.0.0.1:9/token",
        client_id="c",
        client_secret="s",
    )


@pytest.fixture
def scene(earth):
    earth.serve(world.s2("brussels", DAYS[0]))
    return earth


def one():
    return read(spot(), ("red",))


def test_r20_sixteen_threads_that_start_together_open_one_session(scene):
    start = threading.Barrier(16)

    def begin(n):
        start.wait()
        return load(scene.provider(), read(spot(offset=(900.0 + 10 * n, 900.0)), ("red",)))

    with ThreadPoolExecutor(16) as threads:
        cubes = list(threads.map(begin, range(16)))
    assert all(np.isfinite(cube.values).all() for cube in cubes)
    counts = scene.report()["counts"]
    assert counts == {"discovery": 2, "algorithms": 1, "pixels": 16}


def test_another_account_opens_a_session_of_its_own(scene):
    for project in ("first", "first", "second"):
        load(scene.provider(project=project), one())
    assert scene.report()["counts"] == {"discovery": 4, "algorithms": 1, "pixels": 3}
    assert scene.report()["headers"][-1]["X-Goog-User-Project"] == "second"


@pytest.mark.filterwarnings("ignore:The data type")  # zarr's, of texts
def test_r21_a_token_reaches_the_service_and_nothing_else(scene, caplog, tmp_path):
    scene.set(token=TOKEN)
    provider = scene.provider(credentials=f"{HERE}held")
    caplog.set_level(logging.DEBUG)
    lazy = provider.cube(one())
    cube = load(provider, one())
    assert np.isfinite(cube.values).all()
    lazy.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    pickles = [pickle.dumps(thing) for thing in (provider, lazy, cube, dict(lazy.pixels.data.__dask_graph__()))]
    files = [path.read_bytes() for path in (tmp_path / "cube.zarr").rglob("*") if path.is_file()]
    texts = [repr(provider), str(provider.describe()), repr(lazy), caplog.text]
    assert scene.report()["headers"][-1]["authorization"] == f"Bearer {TOKEN}"
    for held_in in (*pickles, *files, *(text.encode() for text in texts)):
        assert TOKEN.encode() not in held_in
        assert b"secret" not in held_in


def test_r21_a_message_holds_no_token(scene):
    scene.set(token="another")
    with pytest.raises(AccessError) as raised:
        load(scene.provider(credentials=f"{HERE}held"), one())
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    scene.set(token=None)
    said = f'Bearer {TOKEN} "-----BEGIN PRIVATE KEY-----MII-----END PRIVATE KEY-----" 1//secret-refresh-token-abcdef'
    scene.faults({"status": 400, "message": said})
    with pytest.raises(Exception, match="answered 400") as told:
        load(scene.provider(), one())
    assert "secret" not in str(told.value)
    assert "MII" not in str(told.value)
    assert b"secret" not in pickle.dumps(told.value)


def test_r21_credentials_themselves_are_refused_as_an_option():
    with pytest.raises(SpecError, match="never travel") as raised:
        EarthEngine(credentials=Held())
    assert "secret" not in str(raised.value)


def test_missing_user_credentials_say_what_to_run(earth, monkeypatch):
    def nothing():
        raise ee.EEException(
            "Please authorize access to your Earth Engine account by running\n\nearthengine authenticate"
        )

    monkeypatch.setattr(ee.data, "get_persistent_credentials", nothing)
    with pytest.raises(AccessError, match=r"Fix: run `earthengine authenticate`"):
        load(earth.provider(credentials="user"), one())
    assert earth.report()["counts"] == {}


def test_a_missing_project_says_what_to_run(earth, monkeypatch):
    monkeypatch.setattr(ee.data, "get_persistent_credentials", AnonymousCredentials)
    monkeypatch.setattr(ee.oauth, "project_number_from_credentials", lambda credentials: None)
    with pytest.raises(AccessError, match="set_project"):
        load(earth.provider(credentials="user", project=None), one())


def test_missing_application_default_credentials_say_what_to_run(earth, monkeypatch):
    def nothing(**_):
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", nothing)
    with pytest.raises(AccessError, match="gcloud auth application-default login"):
        load(earth.provider(credentials="application_default"), one())


def test_application_default_credentials_are_used_with_the_scopes_of_earth_engine(scene, monkeypatch):
    asked = []

    def found(scopes):
        asked.extend(scopes)
        return Held(), "project"

    monkeypatch.setattr(google.auth, "default", found)
    scene.set(token=TOKEN)
    assert np.isfinite(load(scene.provider(credentials="application_default"), one()).values).all()
    assert any(scope.endswith("/auth/earthengine") for scope in asked)


@pytest.mark.parametrize("content", [None, "no json", '{"type": "service_account"}'])
def test_a_missing_or_bad_key_of_a_service_account_says_so(earth, tmp_path, content):
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    with pytest.raises(AccessError, match="key_file="):
        load(earth.provider(credentials="service_account", key_file=str(key)), one())
    assert earth.report()["counts"] == {}


def test_a_service_account_signs_in_with_its_key(earth, tmp_path):
    """A key made for this test: it is read here, and what it signs is sent to its token server, which knows it not."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "client_email": "a@b.example",
        "token_uri": f"{earth.url}/token",
        "private_key": private.decode(),
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    with pytest.raises(AccessError, match="no credentials that Earth Engine accepts"):
        load(earth.provider(credentials="service_account", key_file=str(tmp_path / "key.json")), one())
    assert earth.counts("other") >= 1  # the token was asked for


def test_refused_and_unreachable_tokens_are_told_apart(scene, monkeypatch):
    with pytest.raises(TransientError):
        load(scene.provider(credentials=f"{HERE}expired"), one())  # its token server is not there
    monkeypatch.setattr(Held, "expired", True)
    monkeypatch.setattr(Held, "before_request", lambda self, request, *_: self.refresh(request))
    with pytest.raises(AccessError, match="check what"):
        load(scene.provider(credentials=f"{HERE}held"), one())
    assert not access._OPEN

    def down(self, request, *_):
        raise TransportError("no route")

    monkeypatch.setattr(Held, "before_request", down)
    with pytest.raises(TransientError):
        load(scene.provider(credentials=f"{HERE}held"), one())


@pytest.mark.parametrize("name", ["no.such.module:credentials", f"{HERE}no_such_function"])
def test_a_function_that_workers_cannot_import_is_refused(earth, name):
    with pytest.raises(SpecError, match="cannot be imported"):
        load(earth.provider(credentials=name), one())


def test_start_up_faults_that_pass_are_borne(scene):
    scene.faults({"of": "discovery", "status": 503}, {"of": "algorithms", "status": 429})
    assert np.isfinite(load(scene.provider(), one()).values).all()
    assert scene.counts("pixels") == 1


@pytest.mark.parametrize("library", ["ee", "xee"])
def test_a_library_that_is_not_installed_is_named_with_the_extra(earth, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(AccessError, match=r"rs-embed-dask\[earth_engine\]"):
        load(earth.provider(), one())


def test_the_endpoints_are_googles():
    assert EarthEngine().access.url == "https://earthengine.googleapis.com"
    assert EarthEngine(endpoint="high_volume").access.url == "https://earthengine-highvolume.googleapis.com"


def test_a_process_by_itself_keeps_its_own_cap(scene):
    scene.set(latency_s=0.03)
    provider = scene.provider(at_once=2)
    reads = [read(spot(offset=(900.0 + 10 * n, 900.0)), ("red",)) for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda each: load(provider, each), reads))
    assert scene.report()["peak"] == 2


def test_gates_are_shared_where_someone_says_how():
    shared = threading.Semaphore(1)
    share_by(None)
    own = gate("a", 3)
    try:
        share_by(lambda name, most: shared if name == "a" else None)
        assert gate("a", 3) is shared
        assert gate("b", 3) is not shared
    finally:
        share_by(None)
    assert gate("a", 3) is own
