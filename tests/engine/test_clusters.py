"""Clusters: the local one really runs; the others hand the right arguments to their libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from contextlib import ExitStack
from pathlib import Path

import dask
import psutil
import pytest
from dask_kubernetes.operator import make_cluster_spec, make_worker_spec
from distributed import Client

from rs_embed_dask.engine import clusters
from rs_embed_dask.engine.clusters import LocalPlan, client_for, cluster
from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.errors import EngineError, SpecError, UnknownNameError
from rs_embed_dask.store import Status
from tests.engine.fakes import Numbers, Places, plan_of, store_of

SCRIPT = """
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.watch import current_workers
from distributed import Client

class Mine:
    value = 42

with cluster("local", processes=1, fetch_slots=3) as made, Client(made) as client:
    (worker,) = current_workers(client).values()
    print(worker["resources"], worker["nthreads"], client.submit(lambda: Mine.value).result())
    print(client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.worker_ttl))
"""


def test_a_script_without_a_main_guard_runs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stdout.split("\n") == ["{'FETCH': 3, 'EMBED': 1} 11 42", "25", ""], done.stderr
    assert done.stderr == ""


def test_local_workers_share_slots_memory_and_cores(monkeypatch):
    monkeypatch.setattr(clusters, "CPU_COUNT", 16)
    workers = LocalPlan(fetch_slots=32, memory=8 * 2**30, gpus=0).workers()
    assert [worker["resources"] for worker in workers] == [{"FETCH": 8, "EMBED": 1}] * 4
    assert {worker["memory_limit"] for worker in workers} == {2 * 2**30}
    assert {worker["env"]["OMP_NUM_THREADS"] for worker in workers} == {"4"}
    assert {worker["nthreads"] for worker in workers} == {16}


def test_a_gpu_is_held_by_one_process_and_the_others_read(monkeypatch):
    monkeypatch.setattr(clusters, "gpus_here", lambda: ("GPU-a", "MIG-b"))
    workers = LocalPlan(processes=3).workers()
    assert [worker["resources"] for worker in workers] == [{"FETCH": 6, "GPU": 1}, {"FETCH": 6, "GPU": 1}, {"FETCH": 6}]
    assert [worker["env"]["CUDA_VISIBLE_DEVICES"] for worker in workers] == ["GPU-a", "MIG-b", ""]
    (one, other) = LocalPlan(processes=2, gpus=0).workers()
    assert one["resources"] == other["resources"] == {"FETCH": 8, "EMBED": 1}
    assert one["env"]["CUDA_VISIBLE_DEVICES"] == other["env"]["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(SpecError, match="gpus = 3: this machine has 2 GPUs that CUDA_VISIBLE_DEVICES leaves visible"):
        LocalPlan(gpus=3).workers()


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        *(
            ("local", {name: value})
            for name in ("processes", "fetch_slots", "memory", "gpus")
            for value in ("2", -1, 1.5)
        ),
        ("kubernetes", {"workers": "2"}),
        (["local"], {}),
    ],
)
def test_a_cluster_of_another_type_is_refused_before_anything_starts(kind, option):
    with pytest.raises(SpecError, match=r"expected a (whole number|name), got|it must lie in") as refused:
        clusters.cluster(kind, **option)
    assert refused.value.what == next(iter(option), "cluster")


def test_all_gpus_of_a_machine_are_used(monkeypatch):
    monkeypatch.setattr(clusters, "gpus_here", lambda: tuple("01234567"))
    workers = LocalPlan().workers()
    assert [worker["env"]["CUDA_VISIBLE_DEVICES"] for worker in workers] == list("01234567")
    assert {worker["resources"]["GPU"] for worker in workers} == {1}


def test_a_given_client_is_used_and_left(threads_client):
    with ExitStack() as stack:
        assert client_for(threads_client, stack) is threads_client
    assert threads_client.status == "running"


@pytest.mark.parametrize("client", ["tcp://127.0.0.1:8786", 7])
def test_what_is_no_client_is_refused(client):
    with pytest.raises(SpecError, match=r"a distributed.Client is needed"):
        client_for(client, ExitStack())


def test_async_code_is_told_to_use_a_client_of_its_own(threads_client):
    async def ask():
        async with Client(threads_client.cluster, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(SpecError, match=r"await asyncio\.to_thread"):
                client_for(client, ExitStack())

    threads_client.sync(ask)


def test_unknown_kinds_and_options():
    with pytest.raises(UnknownNameError, match="did you mean 'slurm'"):
        cluster("slurn")
    with pytest.raises(UnknownNameError, match="option of a local cluster"):
        cluster("local", workers=3)


@pytest.mark.parametrize(
    ("kind", "extra", "package"),
    [
        ("slurm", "slurm", "dask-jobqueue"),
        ("sge", "slurm", "dask-jobqueue"),
        ("kubernetes", "kubernetes", "dask-kubernetes"),
    ],
)
def test_a_missing_library_says_what_to_install(monkeypatch, kind, extra, package):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=rf"{package} is not installed. Fix: pip install 'rs-embed-dask\[{extra}\]'"):
        cluster(kind)


@pytest.fixture
def library(monkeypatch):
    """A stand-in for a library of clusters, which notes what it is asked for."""
    asked = {}

    class Made:
        def __init__(self, **options):
            asked.update(options)

    module = types.SimpleNamespace(
        KubeCluster=Made,
        LocalCUDACluster=Made,
        make_cluster_spec=make_cluster_spec,
        make_worker_spec=make_worker_spec,
    )
    monkeypatch.setattr(clusters, "_library", lambda name, extra: module)
    return asked


def named(name, value):
    return [{"name": name, "value": value}]


def worker(asked):
    """The manifest's scheduler, its workers, and the container of those."""
    spec = asked["custom_cluster_spec"]["spec"]
    return spec["scheduler"], spec["worker"], spec["worker"]["spec"]["containers"][0]


def test_kubernetes_pods_offer_their_resources(library):
    cluster("kubernetes", workers=2, fetch_slots=8, image="mine:1", namespace="here")
    scheduler, workers, container = worker(library)
    assert container["args"][:6] == ["dask", "worker", "--resources", "FETCH=8,EMBED=1", "--nthreads", "16"]
    assert (workers["replicas"], container["image"], container["resources"]) == (2, "mine:1", {"limits": {}})
    assert scheduler["spec"]["containers"][0]["args"][:2] == ["dask", "scheduler"]
    ttl = named("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "25 s")
    assert container["env"] == scheduler["spec"]["containers"][0]["env"] == ttl
    assert library["namespace"] == "here"
    cluster("kubernetes", env=[{"name": "TZ", "value": "UTC"}], n_workers=3)
    _, workers, container = worker(library)
    assert (workers["replicas"], container["env"]) == (3, [*ttl, *named("TZ", "UTC")])
    cluster("kubernetes", env={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "90 s"})
    assert worker(library)[2]["env"] == named("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "90 s")
    cluster("kubernetes", gpus=1)
    assert worker(library)[2]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    cluster("kubernetes", worker_command="dask cuda worker")
    assert worker(library)[2]["args"][:3] == ["dask", "cuda", "worker"]


def test_kubernetes_pods_follow_the_configuration_of_dask(library):
    configured = {"image": "theirs:2", "resources": {"limits": {"cpu": "2"}}, "env": {"TZ": "UTC"}, "idle-timeout": 60}
    with dask.config.set({f"kubernetes.{key}": value for key, value in configured.items()}):
        cluster("kubernetes", name="mine-{uuid}")
    _, _, container = worker(library)
    assert (container["image"], container["resources"]) == ("theirs:2", {"limits": {"cpu": "2"}})
    assert container["env"][1:] == named("TZ", "UTC")
    assert library["custom_cluster_spec"]["spec"]["idleTimeout"] == 60
    assert len(library["custom_cluster_spec"]["metadata"]["name"]) == len("mine-") + 10


def test_a_worker_a_gpu(library, monkeypatch):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(clusters, "gpus_here", lambda: ("GPU-a", "MIG-b"))
    cluster("cuda", fetch_slots=8)
    worker = {"threads_per_worker": 16, "resources": {"FETCH": 8, "GPU": 1}, "CUDA_VISIBLE_DEVICES": ("GPU-a", "MIG-b")}
    assert library == worker | {"scheduler_kwargs": {"worker_ttl": 25}}
    cluster("cuda", scheduler_kwargs={"port": 8786}, CUDA_VISIBLE_DEVICES="3")
    assert library["scheduler_kwargs"] == {"worker_ttl": 25, "port": 8786}
    assert library["CUDA_VISIBLE_DEVICES"] == "3"


def seen(dask_worker):
    return dask_worker.state.total_resources["GPU"], os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_worker_a_gpu_without_dask_cuda(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,3")
    with cluster("cuda", fetch_slots=4) as gpus, Client(gpus, set_as_default=False) as client:
        assert sorted(client.run(seen).values()) == [(1, "3"), (1, "MIG-a")]
        assert {worker["resources"]["FETCH"] for worker in client.scheduler_info()["workers"].values()} == {4}


def test_a_machine_without_a_gpu_has_no_cluster_of_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(EngineError, match=r"cuda cluster: this machine has no GPU.*rs.cluster\('local'\)"):
        cluster("cuda")


def test_a_run_without_a_client_makes_a_cluster_and_closes_it(tmp_path):
    events = []
    plan = plan_of(Places(10), Numbers())
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, options=Options(progress=events.append))
    assert events[0].workers == 2
    assert store.counts() == {"means": {Status.OK: 10}}
    assert not [child for child in psutil.Process().children() if "spec" in child.cmdline()]
