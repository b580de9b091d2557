"""A store at an S3-like service: by its URL, under faults, by two runs at once."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest
import xarray as xr

from rs_embed_dask.errors import StoreBusyError, StoreError
from rs_embed_dask.store import Location, Status, Store, leased, open_store, status
from rs_embed_dask.store.swap import ObjectKey, lease_cell
from tests.services.object_store import ObjectService
from tests.store.samples import POOLED, assert_same, content, fill_store, make_items, make_store

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


def test_a_store_survives_lost_answers_and_a_busy_service(service, monkeypatch):
    soon = timedelta(milliseconds=1)
    waits = {"init_backoff": soon, "base": 2, "max_backoff": soon}
    monkeypatch.setattr("rs_embed_dask.store.target._RETRY", {"max_retries": 8, "backoff": waits})
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
