"""Maps at services of three protocols: what a folder holds, under faults, by two writers, repaired."""

from __future__ import annotations

import pickle
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from rs_embed_dask.errors import StoreBusyError, StoreError, UnknownNameError
from rs_embed_dask.store import Location, Status, Store, leased, open_store, status, verify
from rs_embed_dask.store.map_layout import Asked, BlockKey
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.services import open_service
from rs_embed_dask.store.target import located
from tests.services.object_store import ObjectService
from tests.services.other_stores import AzureService, GoogleService
from tests.store.map_samples import (
    BYTES,
    NEXT,
    TINY,
    YEAR,
    assert_same_block,
    block_content,
    fill_map,
    group_of,
    make_map,
    result_of,
    square,
)
from tests.store.samples import POOLED, assert_same, content, fill_store, make_store
from tests.store.test_verify_maps import AT, PATHS, compute

SERVICES = {"s3": ObjectService, "gs": GoogleService, "az": AzureService}
FAULTS = {"busy": 0.06, "slow": 0.06, "lost": 0.06, "dropped": 0.06}


@pytest.fixture(params=SERVICES)
def service(request, monkeypatch):
    made = SERVICES[request.param](seed=3)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    soon = timedelta(milliseconds=1)
    waits = {"init_backoff": soon, "base": 2, "max_backoff": soon}
    monkeypatch.setattr("rs_embed_dask.store.services._RETRY", {"max_retries": 8, "backoff": waits})
    made.scheme = request.param
    yield made
    made.close()


def place_at(service, name):
    return located(f"{service.scheme}://{service.bucket}/runs/{name}", service.options())


def grown(target):
    """A map that was made, filled, topped up by a span, a model and blocks, and filled again."""
    store = make_map(target, blocks=square(82, 10, 1, 2))
    fill_map(store)
    store.top_up([Asked(one, (YEAR, NEXT), {group_of("utm31", one): square(82, 10, 1, 2)}) for one in (TINY, BYTES)])
    store.keep_positions("tiny", np.ones((3, 4, 4), "float32"), measured="here")
    fill_map(store, status=Status.PARTIAL, reason="half of it")
    store.update_receipt(note="kept")
    return MapStore.open(target)


def assert_scores_of_an_overtaken_run_stay_out(store):
    store.keep_scores("tiny", b"first", over=None)
    store.keep_scores("tiny", b"first", over=None)  # as after an answer that was lost
    store.keep_scores("tiny", b"second", over=b"first")
    for late in (None, b"first"):
        with pytest.raises(StoreBusyError, match=r"tiny/scores\.npz.*another run has written there meanwhile"):
            store.keep_scores("tiny", b"late", over=late)
    assert store.scores("tiny") == b"second"


def test_scores_of_an_overtaken_run_stay_out_of_a_folder(tmp_path):
    assert_scores_of_an_overtaken_run_stay_out(make_map(tmp_path / "map.zarr"))


def test_scores_of_an_overtaken_run_stay_out_of_a_service(service):
    store = make_map(place_at(service, "map.zarr"))
    service.rates = FAULTS
    assert_scores_of_an_overtaken_run_stay_out(store)


def blocks_of(store):
    return {
        key: block_content(store, key)
        for label in store.labels
        for time in range(len(store.spans))
        for at in store.asked(label, "utm31", time)
        for key in [BlockKey(label, "utm31", time, *at)]
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return grown(tmp_path_factory.mktemp("map") / "map.zarr")


def test_a_map_at_a_faulty_service_is_what_one_in_a_folder_is(service, local):
    service.rates = dict(FAULTS)
    with leased(place_at(service, "map.zarr")) as lease:
        remote = grown(place_at(service, "map.zarr"))
        assert lease.renew()
    assert all(service.counts[name] > 1 for name in FAULTS), service.counts
    service.rates = {}
    here, there = blocks_of(local), blocks_of(pickle.loads(pickle.dumps(remote)))
    assert here.keys() == there.keys()
    assert len(here) == 8
    for key, block in here.items():
        assert_same_block(there[key], block)
    assert status(remote.location).counts == status(local.location).counts
    assert status(remote.location).counts["tiny"] == {Status.OK: 2, Status.PARTIAL: 2}
    assert remote.receipt == local.receipt == {"note": "kept"}
    np.testing.assert_array_equal(remote.positions("tiny"), np.ones((3, 4, 4), "float32"))
    assert verify(remote.location).is_sound
    tree, other = open_map(remote.location), open_map(local.location)
    np.testing.assert_array_equal(tree["bytes/utm31"].embedding, other["bytes/utm31"].embedding)


def test_places_at_a_faulty_service_are_what_they_are_in_a_folder(service, tmp_path):
    service.rates = dict(FAULTS)
    remote, here = (
        make_store(place_at(service, "run.zarr"), 6, models=[POOLED]),
        make_store(tmp_path / "s", 6, models=[POOLED]),
    )
    for store in (remote, here):
        fill_store(store)
    service.rates = {}
    assert_same(content(Store.open(remote.location)), content(here))
    assert open_store(remote.location)["galileo"]["embedding"].shape == (6, 5)
    assert verify(remote.location).is_sound


def test_conditions_are_asked_for_in_each_services_own_words(service):
    fill_map(make_map(place_at(service, "map.zarr"), blocks=square(82, 10, 1, 1)))
    with leased(place_at(service, "map.zarr")) as lease:
        assert lease.renew()
    asked = {
        "s3": ("If-None-Match", "If-Match", "unconditional"),
        "gs": ("if generation is 0", "if generation matches", "if generation is any"),
        "az": ("If-None-Match", "If-Match", "unconditional"),
    }[service.scheme]
    new, same, free = (service.counts[name] for name in asked)
    assert new + same + free == service.counts["PUT"]
    assert free == 0
    assert new > 20
    # The lease, the root's claim and its commits, the block's status and its copies.
    assert same >= 5


@pytest.mark.parametrize("service", ["s3"], indirect=True)
def test_a_damaged_map_at_a_service_is_repaired_through_lost_answers(service, tmp_path):
    path = tmp_path / "map.zarr"
    make_map(path, layouts=(TINY,), spans=(YEAR, NEXT))
    compute(path)
    whole = blocks_of(MapStore.open(path))
    damaged = Path(shutil.copytree(path, tmp_path / "damaged.zarr"))
    (damaged / PATHS["embedding"]).unlink()
    (damaged / "zarr.json").write_bytes(b"{")
    (damaged / PATHS["checksum"]).write_bytes(b"noise")
    stray = damaged / "tiny" / "utm31" / "status" / AT.replace("82/10", "1/1")
    stray.parent.mkdir(parents=True)
    shutil.copy(damaged / PATHS["status"], stray)
    service.upload(damaged, "runs/map.zarr")
    place = place_at(service, "map.zarr")
    assert [one.where for one in verify(place).damages] == [one.where for one in verify(damaged).damages] != []
    service.rates = dict(FAULTS)
    assert not verify(place, repair=True).is_lasting
    compute(place)
    service.rates = {}
    assert verify(place).damages == ()
    for key, block in blocks_of(MapStore.open(place)).items():
        assert_same_block(block, whole[key])


@pytest.mark.parametrize("service", ["s3"], indirect=True)
def test_two_writers_of_a_map_lose_nothing_and_an_overtaken_one_is_refused(service):
    place = place_at(service, "map.zarr")
    first = make_map(place)
    second = MapStore.open(place, "r+")
    first.update_receipt(a=1)
    second.update_receipt(b=2)
    first.keep_positions("tiny", np.zeros((3, 4, 4), "float32"))
    assert MapStore.open(place).receipt == {"a": 1, "b": 2}
    with first._changing() as (inside, document):
        second.update_receipt(c=3)
        with pytest.raises(StoreBusyError, match="another run has written there meanwhile"):
            document.save(inside)
    assert MapStore.open(place).receipt == {"a": 1, "b": 2, "c": 3}
    assert MapStore.open(place).positions("tiny") is not None
    key = BlockKey("tiny", "utm31", 0, 82, 10)
    with leased(place), pytest.raises(StoreBusyError, match="is writing to it"), leased(place):
        pass
    second.write_block(key, result_of(TINY, key))
    with pytest.raises(StoreError, match="a finished store already"):
        make_map(place)


SECRETS = (
    ("s3://bucket/a", {"secret_access_key": "hush"}),
    ("s3://bucket/a", {"AWS_SESSION_TOKEN": "hush"}),
    ("gs://bucket/a", {"service_account_key": "hush"}),
    ("az://bucket/a", {"account_key": "hush"}),
    ("az://bucket/a", {"sas_key": "hush"}),
    ("s3://bucket/a", {"endpoint": "https://key:hush@host"}),
    ("az://bucket/a", {"endpoint": "https://host/?sig=hush"}),
    ("s3://key:hush@bucket/a", {}),
    ("az://bucket/a?sig=hush", {}),
)


@pytest.mark.parametrize(("url", "options"), SECRETS)
def test_secrets_in_an_address_or_in_options_are_refused_and_not_repeated(url, options):
    with pytest.raises(StoreError) as caught:
        located(url, options)
    assert "hush" not in f"{caught.value} {caught.value!r}"
    assert "environment" in f"{caught.value}"


def test_options_that_no_service_has_are_refused():
    with pytest.raises(UnknownNameError, match="regoin"):
        located("s3://bucket/a", {"regoin": "eu-central-1"})
    with pytest.raises(UnknownNameError, match="conditional_put"):
        located("s3://bucket/a", {"conditional_put": "disabled"})
    with pytest.raises(StoreError, match="only object stores"):
        located("folder/a", {"region": "eu-central-1"})
    with pytest.raises(StoreError, match="not a dictionary"):
        located("s3://bucket/a", "eu-central-1")
    with pytest.raises(StoreError, match="not a text, a number"):
        located("s3://bucket/a", {"region": ["eu-central-1"]})


def test_a_number_is_told_as_a_text():
    opened = open_service("az://container/a", (("account_name", 1234), ("timeout", "5s")))
    assert (opened.config["account_name"], opened.client_options) == ("1234", {"timeout": "5s"})


def test_options_travel_with_the_place():
    place = located("abfss://container@account.dfs.core.windows.net/a", {"use_azure_cli": True, "timeout": "5s"})
    assert pickle.loads(pickle.dumps(place)) == place
    assert place.options == (("timeout", "5s"), ("use_azure_cli", True))
    assert Location.of(place, read_only=True).options == place.options
    assert located("folder/a", None) == "folder/a"
    assert place.name == "abfss://container@account.dfs.core.windows.net/a"
