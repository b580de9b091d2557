"""Runs whose store is at a service: places and maps, under faults, from another process, and what must not be there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
from distributed import Client, LocalCluster
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import MemoryStore

import rs_embed_dask as rs
from rs_embed_dask.engine import graph
from rs_embed_dask.engine.clusters import check_reach
from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import MapStore, Status, Store
from rs_embed_dask.store.target import located
from tests.services.child import ROOT
from tests.services.object_store import ObjectService
from tests.store.samples import make_store

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
PLACES = [rs.PointBuffer(4.5 + 0.01 * n, 50.7, buffer_m=80) for n in range(4)]
MODEL = {"id": "bandstats", "options": {"bands": ("red", "nir"), "patch_px": 2}}
REGION = rs.BBox(2.03, 50.901, 2.05, 50.918)
SECRET = "verySecretAccessKey0000/example+secret00"
FAULTS = {"busy": 0.03, "slow": 0.03, "lost": 0.03, "dropped": 0.03}
RUN, MAP = "s3://bucket/runs/run.zarr", "s3://bucket/runs/map.zarr"
VERBS = {RUN: rs.compute_embeddings, MAP: rs.compute_map}
WHERE = {RUN: {"spatials": PLACES, "chunk_items": 2}, MAP: {"region": REGION, "dtype": "float32"}}


def compute(url, out, **options):
    given = {"models": MODEL, "temporal": SPAN, "provider": "synthetic", "progress": False}
    return VERBS[url](**given, **WHERE[url], out=out, **options)


@pytest.fixture(scope="module")
def runs(threads_client):
    """A service that holds a run and a map, made through faults by signed requests, and what was said and sent."""
    service, said = ObjectService(FAULTS, seed=5), SimpleNamespace(sent=[], logs=[])

    class Listener(logging.Handler):
        def emit(self, record):
            said.logs.append(self.format(record))

    listener, real = Listener(), graph.SharedValue.of.__func__
    soon = timedelta(milliseconds=1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (service.environment() | {"AWS_SECRET_ACCESS_KEY": SECRET}).items():
            patch.setenv(name, value)
        waits = {"init_backoff": soon, "base": 2, "max_backoff": soon}
        patch.setattr("rs_embed_dask.store.services._RETRY", {"max_retries": 10, "backoff": waits})

        def of(cls, value, **state):
            said.sent.append(cloudpickle.dumps(value))
            return real(cls, value, **state)

        def submitted(self, *given, **named):
            said.sent.append(cloudpickle.dumps((given, named)))
            return submit(self, *given, **named)

        submit = Client._graph_to_futures
        patch.setattr(graph.SharedValue, "of", classmethod(of))
        patch.setattr(Client, "_graph_to_futures", submitted)
        logging.getLogger().addHandler(listener)
        try:
            said.trees = {url: compute(url, url, client=threads_client) for url in VERBS}
            said.trees = {url: tree.load() for url, tree in said.trees.items()}
            said.report = rs.resume(RUN, client=threads_client, progress=False)
        finally:
            logging.getLogger().removeHandler(listener)
    said.faults, service.rates = dict(service.counts), {}
    yield service, said
    service.close()


def test_runs_at_a_faulty_service_are_what_they_are_in_a_folder(runs, threads_client, tmp_path):
    _, said = runs
    assert all(said.faults[name] > 3 for name in FAULTS), said.faults
    for url, place in {RUN: "bandstats", MAP: "bandstats/utm31"}.items():
        local = compute(url, tmp_path / url.rpartition("/")[2], client=threads_client)
        np.testing.assert_array_equal(said.trees[url][place].embedding, local[place].embedding)
        assert np.isfinite(local[place].embedding).any()
    assert said.report.chunks == 0


def test_no_secret_is_stored_sent_or_logged(runs):
    service, said = runs
    assert len(said.sent) > 4
    everything = [*(content for content, _ in service.objects.values()), *said.sent, "\n".join(said.logs).encode()]
    everything.append(f"{Store.open(located(RUN, service.options())).receipt}".encode())
    assert any(b"bandstats" in one for one in everything)
    assert not [one[:200] for one in everything if SECRET.encode() in one or b"AWS_" in one]
    assert not [key for key in service.objects if "secret" in key.lower()]


def test_no_secret_is_in_the_error_of_a_service_that_refuses(runs, monkeypatch):
    service, _ = runs
    for name, value in (service.environment() | {"AWS_SECRET_ACCESS_KEY": SECRET}).items():
        monkeypatch.setenv(name, value)
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    monkeypatch.setattr(service, "handle", lambda *_: (403, {}, denied))
    with pytest.raises(StoreError) as caught:
        rs.status(RUN)
    message = f"{caught.value}"
    assert "AccessDenied" in message
    assert SECRET not in message
    assert "\n" not in message


CODE = """
import json, sys
import rs_embed_dask as rs
run, region, folder, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
with_options = {"storage_options": options}
tree = rs.open_store(run, **with_options)
field = rs.open_map(region, **with_options)
answer = {
    "vectors": float(tree["bandstats"].embedding.sum()),
    "field": float(field["bandstats/utm31"].embedding.sum()),
    "ok": [rs.status(one, **with_options).counts["bandstats"] for one in (run, region)],
    "sound": [rs.verify(one, **with_options).is_sound for one in (run, region)],
    "resumed": [rs.resume(one, progress=False, **with_options).lost in (0, {}) for one in (run, region)],
    "scores": int(rs.map_scores(region, **with_options).blocks["bandstats"]),
    "file": rs.export(run, "geoparquet", folder + "/run.parquet", **with_options).name,
    "cog": rs.export(region, "cog", folder + "/map.tif", dims=[0], **with_options).name,
}
print(json.dumps(answer))
"""


def test_another_process_reads_checks_and_exports_by_options_alone(runs, tmp_path):
    """Without credentials in the environment: the service is public, and the options say so."""
    service, said = runs
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-c", CODE, RUN, MAP, str(tmp_path), json.dumps(service.options())]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["vectors"] == pytest.approx(float(said.trees[RUN]["bandstats"].embedding.sum()))
    assert answer["field"] == pytest.approx(float(said.trees[MAP]["bandstats/utm31"].embedding.sum()), rel=1e-5)
    blocks = sum(MapStore.open(located(MAP, service.options())).counts()["bandstats"].values())
    assert answer["ok"] == [{f"{int(Status.OK)}": 4}, {f"{int(Status.OK)}": blocks}]
    assert answer["sound"] == [True, True]
    assert answer["resumed"] == [True, True]
    assert answer["scores"] == blocks
    assert (tmp_path / answer["file"]).exists()
    assert (tmp_path / answer["cog"]).exists()


@pytest.fixture(scope="module")
def clients():
    """No client, for which a run starts processes; and one of a scheduler to which processes connect."""
    where = {"n_workers": 0, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**where) as cluster, Client(cluster, set_as_default=False) as client:
        yield {"none": None, "processes": client}


ATTEMPTS = {
    "places": lambda place, client: compute(RUN, place, client=client),
    "a map": lambda place, client: compute(MAP, place, client=client),
    "resume": lambda place, client: rs.resume(place, client=client),
    "a top-up": lambda place, client: compute(RUN, place, client=client),
}


@pytest.mark.parametrize("name", ["none", "processes"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_memory_that_workers_cannot_reach_is_refused_before_anything(clients, name, attempt):
    place = f"memory://refused-{name}-{attempt.replace(' ', '-')}/run.zarr"
    if attempt in {"resume", "a top-up"}:
        make_store(place, 3)
    before = {key: file.getvalue() for key, file in MemoryFileSystem.store.items()}
    with pytest.raises(StoreError, match="in the memory of this process") as caught:
        ATTEMPTS[attempt](place, clients[name])
    assert "processes=False" in caught.value.fix
    assert {key: file.getvalue() for key, file in MemoryFileSystem.store.items()} == before


def test_memory_is_reached_by_threads_of_this_process(threads_client):
    for url in VERBS:
        place = url.replace("s3://bucket", "memory://reached")
        tree = compute(url, place, client=threads_client)
        assert np.isfinite(tree["bandstats" if url == RUN else "bandstats/utm31"].embedding).any()


def test_a_store_object_holds_places_and_no_map(threads_client):
    check_reach(MemoryStore(), threads_client, comes_back=True)
    with pytest.raises(StoreError, match="in the memory of this process") as caught:
        compute(MAP, MemoryStore(), client=threads_client)
    assert "processes=False" not in caught.value.fix
