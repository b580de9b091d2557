"""Clusters that others make, use or change meanwhile: each run gives the values of one that has a cluster to itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

import rs_embed_dask as rs
from rs_embed_dask.engine.watch import Placement, Workers, current_workers
from rs_embed_dask.errors import SpecError
from tests.engine.caller import MODEL, SPAN, call, place
from tests.engine.fakes import until

COUNT = 8
RESOURCES = {"FETCH": 4, "EMBED": 1}


@contextmanager
def local(**options):
    """A cluster in this process that a test has to itself, with a client that knows its address only."""
    quiet = {"processes": False, "dashboard_address": "127.0.0.1:0", "protocol": "tcp", "threads_per_worker": 4}
    with (
        LocalCluster(**quiet | options) as cluster,
        Client(cluster.scheduler_address, security=cluster.security, set_as_default=False) as client,
    ):
        yield cluster, client


@pytest.fixture(scope="module")
def undisturbed(threads_client, tmp_path_factory):
    """The vectors of a run that has a cluster to itself, and whose workers stay."""
    tree = call(tmp_path_factory.mktemp("alone") / "run.zarr", range(COUNT), threads_client)
    return tree[MODEL]["embedding"].to_numpy()


def assert_same(tree, undisturbed):
    np.testing.assert_array_equal(tree[MODEL]["embedding"], undisturbed)


def submitted(out, client):
    """The same run with its driver on the cluster."""
    return rs.submit(
        *(rs.compute_embeddings, [place(number) for number in range(COUNT)], MODEL, SPAN),
        out=out,
        client=client,
        provider=rs.open_provider("synthetic", seed=3),
        chunk_items=4,
    )


@pytest.mark.parametrize("resources", [{}, RESOURCES], ids=["without resources", "with resources"])
def test_workers_come_when_a_run_begins_and_go_when_it_has_ended(resources, undisturbed, tmp_path):
    with local(n_workers=0, resources=resources) as (cluster, client):
        cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        assert current_workers(client) == {}
        assert_same(call(tmp_path / "run.zarr", range(COUNT), client), undisturbed)
        until(lambda: current_workers(client) == {})
        run = submitted(tmp_path / "detached.zarr", client)
        assert run.wait(120).state == "complete"
        assert_same(rs.open_store(run.store), undisturbed)
        until(lambda: current_workers(client) == {})


def test_a_cluster_without_our_resources_reads_and_embeds_anywhere(undisturbed, tmp_path):
    with local(n_workers=2) as (_, client):
        workers = Workers.of(current_workers(client))
        assert (workers.offered, workers.fetch_slots, workers.embedders) == (frozenset(), 8, 2)
        assert_same(call(tmp_path / "run.zarr", range(COUNT), client), undisturbed)


def test_a_client_by_tls_as_a_gateway_gives_it_runs_and_submits(undisturbed, tmp_path):
    """Workers and drivers have the cluster's certificates, and the client only those that it was given."""
    with local(n_workers=1, security=Security.temporary(), protocol="tls") as (_, client):
        assert_same(call(tmp_path / "run.zarr", range(COUNT), client), undisturbed)
        run = submitted(tmp_path / "detached.zarr", client)
        assert run.wait(120).state == "complete"
        assert_same(rs.open_store(run.store), undisturbed)


@pytest.mark.parametrize("resources", [{"fetch": 4, "embed": 1}, {"fetch": 4, "gpu": 1}], ids=["cpu", "gpu"])
def test_resources_of_environment_variables_have_names_in_lower_case(resources, undisturbed, tmp_path):
    """DASK_DISTRIBUTED__WORKER__RESOURCES__FETCH=4 is a resource `fetch` to Dask."""
    with local(n_workers=2, resources=resources) as (_, client):
        workers = Workers.of(current_workers(client))
        (name,) = resources.keys() - {"fetch"}
        assert (workers.fetch_slots, workers.embedders) == (8, 2)
        assert workers.crew.device == ("cuda" if name == "gpu" else "cpu")
        placed = Placement.on(workers.offered)
        assert (placed.read, placed.embed) == ({"fetch": 1}, {name: 1 / 64})
        assert_same(call(tmp_path / "run.zarr", range(COUNT), client), undisturbed)


def test_two_runs_share_a_scheduler(threads_client, undisturbed, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(call, tmp_path / f"{one}.zarr", range(one, COUNT), threads_client) for one in range(2)]
        trees = [run.result(120) for run in runs]
    assert_same(trees[0], undisturbed)
    assert_same(trees[1], undisturbed[1:])


def test_a_cell_of_a_notebook_on_the_cluster_runs(threads_client, undisturbed, tmp_path):
    """There, an event loop runs in the thread of the call, and the client is found by the scheduler's address."""

    async def cell():
        with Client(threads_client.scheduler.address, set_as_default=False) as client:
            return call(tmp_path / "run.zarr", range(COUNT), client)

    assert_same(asyncio.run(cell()), undisturbed)


def test_an_asynchronous_client_is_refused_and_what_the_message_says_works(undisturbed, tmp_path):
    async def code():
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(SpecError, match="it is asynchronous, and a run waits") as refused:
                call(tmp_path / "run.zarr", range(COUNT), client)
            assert f"await asyncio.to_thread(rs.compute_embeddings, ..., client=lambda: Client('{address}'))" in str(
                refused.value
            )
            with pytest.raises(SpecError, match="it is asynchronous"):
                rs.DetachedRun(tmp_path / "run.zarr", client)
            return await asyncio.to_thread(call, tmp_path / "run.zarr", range(COUNT), lambda: Client(address))

    with local(n_workers=1) as (cluster, _):
        address = cluster.scheduler_address
        assert_same(asyncio.run(code()), undisturbed)
