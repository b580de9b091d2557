"""A store at an S3-like service: by its URL, under faults, by two runs at once."""

from __future__ import annotations

import pickle
import shutil
import warnings
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import MemoryStore

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.store import Location, Status, Store, leased, open_store, status, verify
from rs_embed_dask.store.swap import ObjectKey, lease_cell
from tests.services.object_store import ObjectService
from tests.store.samples import POOLED, assert_same, content, fill_store, make_items, make_store
from tests.store.test_verify import DAMAGES, compute, everything, make

URL = f"s3://{ObjectService.bucket}/runs/run.zarr"


@pytest.fixture
def service(monkeypatch):
    made = ObjectService()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def test_a_store_at_a_service_is_what_one_in_a_folder_is(service, tmp_path):
    remote, local = make_store(URL, 9, models=[POOLED]), make_store(tmp_path / "s", 9, models=[POOLED])
    for store in (remote, local):
        fill_store(store)
        store.append_items(make_items(4, first=9))
        fill_store(store)
    assert_same(content(pickle.loads(pickle.dumps(remote))), content(local))
    assert status(URL).counts == {"galileo": {Status.OK: 13}}
    assert open_store(URL)["galileo"]["embedding"].shape == (13, 5)
    assert service.objects.keys() >= {"runs/run.zarr/zarr.json", "runs/run.zarr/galileo/status/c/3"}
    with pytest.raises(StoreError, match="a finished store already"):
        make_store(URL)
    plain = xr.open_datatree(Location.of(URL, read_only=True).storage, engine="zarr")
    assert plain["items"]["id"].values[12] == "place-12"


@pytest.fixture
def at_once(monkeypatch):
    """Requests that fail are repeated at once."""
    soon = timedelta(milliseconds=1)
    waits = {"init_backoff": soon, "base": 2, "max_backoff": soon}
    monkeypatch.setattr("rs_embed_dask.store.services._RETRY", {"max_retries": 8, "backoff": waits})


def test_a_store_survives_lost_answers_and_a_busy_service(service, at_once):
    undisturbed = make_store(URL, 6, models=[POOLED])
    fill_store(undisturbed)
    service.rates = {"busy": 0.1, "lost": 0.1}
    other = URL.replace("run.zarr", "other.zarr")
    fill_store(make_store(other, 6, models=[POOLED]))
    Store.open(other, "r+").update_receipt(note="here")
    service.rates = {}
    assert service.counts["lost"] > 3
    assert service.counts["busy"] > 3
    assert_same(content(Store.open(other)), content(undisturbed))
    assert Store.open(other).receipt == {"note": "here"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = make(tmp_path_factory.mktemp("whole") / "run.zarr")
    return path, everything(path)[0]


REPAIRED = {
    "chunks": (
        "a chunk deleted",
        "an empty file",
        "a flipped bit",
        "checksums deleted",
        "status and checksums of noise",
        "a chunk too many",
    ),
    "rows and items": (
        "swapped rows",
        "an unknown status",
        "keys deleted",
        "a centre moved",
        "outlines cut short",
        "a model's names",
        "the root's copy deleted",
    ),
    "documents": (
        "status deleted",
        "all of two chunks swapped",
        "a group's document cut short",
        "the root cut short",
    ),
    "a whole model": ("a model's folder deleted", "too many items"),
}
"""What is mended by conditional puts of chunks, of items and of documents, and by removing."""


@pytest.mark.parametrize("names", REPAIRED.values(), ids=REPAIRED)
def test_a_store_at_a_service_is_repaired_through_lost_answers(service, whole, tmp_path, at_once, names):
    undisturbed, path = whole[1], Path(shutil.copytree(whole[0], tmp_path / "run.zarr"))
    for name in names:
        DAMAGES[name][0](path)
    service.upload(path, "runs/run.zarr")
    local, remote = verify(path), verify(URL)
    assert [one.where for one in remote.damages] == [one.where for one in local.damages]
    for name in names:
        assert any(DAMAGES[name][1] in one.where for one in remote.damages), name
    service.rates = {"busy": 0.1, "lost": 0.1}
    assert not verify(URL, repair=True).is_lasting
    compute(URL)
    service.rates = {}
    assert service.counts["lost"] > 0
    assert verify(URL).damages == ()
    assert_same(everything(URL)[0], undisturbed)


def test_a_repair_at_a_service_waits_for_the_run_that_holds_the_store(service, whole):
    service.upload(whole[0], "runs/run.zarr")
    with leased(Location.of(URL)), pytest.raises(StoreBusyError, match="is writing to it"):
        verify(URL, repair=True)
    assert verify(URL, repair=True).is_sound


def test_one_run_holds_the_lease_of_a_store_at_a_service(service):
    location = Location.of(URL)
    assert isinstance(lease_cell(location), ObjectKey)
    with leased(location) as first:
        assert first.renew()
        with pytest.raises(StoreBusyError, match="is writing to it"), leased(Location.of(URL)):
            pass
    with leased(Location.of(URL)) as second:
        assert second.is_held


def test_nothing_secret_is_in_a_location(service):
    location = Location.of(URL)
    assert location.storage is not None
    text = f"{location!r} {pickle.dumps(location)!r} {Store(location)!r}"
    assert "secret" not in text


def test_a_service_without_conditional_writes_is_only_read(monkeypatch):
    monkeypatch.setattr("rs_embed_dask.store.fence._is_without_conditions", lambda location: True)
    with pytest.raises(StoreError, match="cannot be protected from a second writer") as caught:
        make_store("memory://plain/run.zarr")
    assert "object-store" in caught.value.fix


class Shelf(MemoryFileSystem):
    """A place that only fsspec knows, and that other processes could reach."""

    protocol = "shelf"
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).replace("shelf://", "memory://", 1))


def test_a_place_whose_locks_hold_in_one_process_is_named_once():
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    name = "shelf://one/run.zarr"
    fill_store(make_store(name, 3, models=[POOLED]))
    with pytest.warns(UserWarning, match=f"{name}: locks .* one process only") as caught, leased(Location.of(name)):
        pass
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        with leased(Location.of(name)) as lease:
            assert lease.is_held
        for other in ("memory://two/run.zarr", MemoryStore()):
            with leased(Location.of(other)):
                pass
    assert verify(name).is_sound
