"""Clusters: the local one that a run starts for itself, and those of batch systems, Kubernetes and GPUs."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import dask
from dask.system import CPU_COUNT
from distributed import Client, Scheduler, SpecCluster
from distributed.deploy.subprocess import SubprocessWorker
from distributed.system import MEMORY_LIMIT

from rs_embed_dask.engine.gpus import VISIBLE, gpus_here
from rs_embed_dask.engine.job_queues import (
    EMBED_SLOTS as _EMBED_SLOTS,
    FETCH_SLOTS as _FETCH_SLOTS,
    MOST,
    QUEUES,
    job_cluster,
)
from rs_embed_dask.engine.pods import EMBEDDERS, PodPlan
from rs_embed_dask.engine.watch import EMBED, FETCH, GPU, Workers
from rs_embed_dask.errors import EngineError, SpecError, StoreError, UnknownNameError
from rs_embed_dask.show.tables import counted
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.store.document import Location

if TYPE_CHECKING:
    from types import ModuleType

    from rs_embed_dask.engine.receipts import Crew
    from rs_embed_dask.store.document import Target

__all__ = [
    "Connection",
    "LocalPlan",
    "check_client",
    "check_reach",
    "client_for",
    "cluster",
    "local_client",
    "local_crew",
]

Connection = Client | Callable[[], AbstractContextManager[Client]] | None
"""A client; or a function that connects to a cluster, which a run calls once it has work; or nothing: a local one."""

_MEMORY_SHARE: Final = 0.8
_WAIT_S: Final = 60

STALLED_S: Final = 25
"""Silence after which a scheduler replaces a worker; it checks as often, so it notices within twice that time."""
# Not much less: a worker that hardly gets the processor while it imports or loads would be replaced again and again.

_ATTENTIVE: Final = {"worker_ttl": STALLED_S}


@dataclass(frozen=True)
class LocalPlan:
    """The worker processes of a local cluster: with GPUs, each of which one process sees; the other processes read."""

    processes: int | None = None
    fetch_slots: int = _FETCH_SLOTS
    memory: int | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        whole("fetch_slots", self.fetch_slots, low=1, high=MOST)
        for name, least in {"processes": 1, "memory": 1, "gpus": 0}.items():
            if (value := getattr(self, name)) is not None:
                whole(name, value, low=least, high=sys.maxsize)

    def workers(self) -> list[dict[str, Any]]:
        """Keywords of each worker's nanny."""
        here = gpus_here()
        if self.gpus is not None and self.gpus > len(here):
            reason = f"this machine has {counted(len(here), 'GPU')} that {VISIBLE} leaves visible"
            raise SpecError("gpus", value=self.gpus, reason=reason, fix="ask for as many, or leave gpus out")
        gpus = here[: self.gpus]
        count = self.processes or max(len(gpus), min(4, max(2, CPU_COUNT // 4)))
        slots = max(1, -(-self.fetch_slots // count))
        embedders = min(len(gpus), count) or count
        memory = int((self.memory or _MEMORY_SHARE * MEMORY_LIMIT) / count)
        env = {
            "OMP_NUM_THREADS": str(max(1, CPU_COUNT // embedders)),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        keywords = []
        for number in range(count):
            resources: dict[str, float] = {FETCH: slots}
            if number < embedders:
                resources[GPU if gpus else EMBED] = 1
            pinned = {VISIBLE: ",".join(gpus[number : number + 1])} if here else {}
            threads = slots + _EMBED_SLOTS
            keywords.append(
                {
                    "name": f"local-{number}",
                    "resources": resources,
                    "nthreads": threads,
                    "memory_limit": memory,
                    "env": env | pinned,
                }
            )
        return keywords


def local_crew() -> Crew:
    """Return the workers of the local cluster that a run starts for itself."""
    return Workers.of({worker["name"]: worker for worker in LocalPlan().workers()}).crew


@contextmanager
def local_client(**options: Any) -> Iterator[Client]:
    """Start a local cluster and connect to it, for as long as the context; options are those of `LocalPlan`."""
    with cluster("local", **options) as local, Client(local, set_as_default=False) as client:
        yield client


def check_client(client: object) -> None:
    """Refuse what is no client and makes none, whether or not there is anything to do."""
    if isinstance(client, Client) and client.asynchronous:
        address = getattr(client.scheduler, "address", "ADDRESS")
        reason = "it is asynchronous, and a run waits: the event loop would stand still"
        fix = f"in async code, await asyncio.to_thread(rs.compute_embeddings, ..., client=lambda: Client({address!r}))"
        raise SpecError("client", value="an asynchronous Client", reason=reason, fix=fix)
    if not (client is None or callable(client) or isinstance(client, Client)):
        fix = "make it with distributed.Client(address)"
        raise SpecError("client", value=client, reason="a distributed.Client is needed", fix=fix)


def check_reach(target: Target, client: Connection, *, comes_back: bool = False) -> None:
    """Refuse what is no client, and a place in this process's memory where others are to write.

    What a function connects to is known once it has. Of places, results come back to whoever holds a store object.
    """
    check_client(client)
    place = Location.of(target)
    is_object = not isinstance(place.target, str)
    is_open = callable(client) and not isinstance(client, Client)
    if place.is_portable or (comes_back if is_object else is_open or _is_here(client)):
        return
    reason = "it is in the memory of this process, where the workers of a cluster cannot write"
    fix = "give a path or the URL of an object store"
    more = "" if is_object else "; or, for a trial, client=distributed.Client(processes=False)"
    raise StoreError("store target", value=place.name, reason=reason, fix=fix + more)


def _is_here(client: Connection) -> bool:
    """Whether the workers of a client are threads of this process."""
    scheduler = client.scheduler if isinstance(client, Client) else None
    return scheduler is not None and str(scheduler.address).startswith("inproc:")


def client_for(client: Connection, stack: ExitStack) -> Client:
    """Return the caller's client, or connect, by default to a local cluster, until the stack closes."""
    check_client(client)
    if client is None or callable(client):
        return stack.enter_context((client or local_client)())
    if client.status != "running":
        raise EngineError(
            "client", value=client.status, reason="it is not connected", fix="make a new one, or leave it out"
        )
    return client


def cluster(kind: str = "local", **options: Any) -> Any:
    """Make a cluster whose workers have the resources that tasks require.

    Parameters
    ----------
    kind : {"local", "cuda", "slurm", "pbs", "lsf", "sge", "kubernetes"}, default "local"
        - "local": worker processes on this machine; options are those of `LocalPlan`. Needs no ``__main__`` guard.
        - "cuda": one worker for each GPU of this machine (or part of one, with MIG) that ``CUDA_VISIBLE_DEVICES``
          leaves visible, which sees no other; by dask-cuda, or if that is not installed as "local".
        - "slurm", "pbs", "lsf", "sge": ``workers`` jobs by dask-jobqueue, which read and embed; ``gpus=1`` for jobs
          with a GPU. With ``readers=N``, those jobs only embed, and N more, without a GPU, only read. A job that ends
          is replaced.
        - "kubernetes": ``workers`` pods by dask-kubernetes and its operator; ``gpus=1`` for pods with a GPU. With
          ``readers=4``, that many pods only read, and the workers only embed. ``pod={...}`` and ``container={...}``
          add fields of Kubernetes to all pods and containers, such as volumes.
    **options
        ``workers``, ``fetch_slots`` (per worker) and ``gpus``; all others are passed to the library. Of batch systems
        also ``readers``; ``reader_options``, a dictionary of what of the library's options is different for them; and
        ``grace_s``, default 60, the seconds that a job keeps at its end for the tasks in hand: by a lifetime of the
        workers below ``walltime``, and where there is such a thing by a signal ahead of it.

    Returns
    -------
    distributed.deploy.Cluster
        Pass it to ``distributed.Client``; close it afterwards.

    Raises
    ------
    UnknownNameError
        If there is no such kind, or a local cluster has no such option.
    SpecError
        If options of a batch system are no counts, exclude each other, or a wall time is too short.
    EngineError
        If the library is not installed, or the cluster does not start.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> from distributed import Client
    >>> with rs.cluster("local", processes=2) as local, Client(local) as client:  # doctest: +SKIP
    ...     rs.compute_embeddings(places, "galileo", span, out="run.zarr", client=client)

    Four jobs with a GPU that embed, and eight without that read:

    >>> gpu = {"queue": "gpu", "gpus": 1, "cores": 8, "memory": "64GB", "walltime": "08:00:00"}
    >>> cpu = {"queue": "cpu", "cores": 4, "memory": "16GB"}
    >>> jobs = rs.cluster("slurm", workers=4, readers=8, reader_options=cpu, **gpu)  # doctest: +SKIP
    """
    return _KINDS[choice("cluster", kind, _KINDS)](**options)


def _local(**options: Any) -> SpecCluster:
    """Start workers as separate processes: killed ones are restarted, and none imports the user's script."""
    # SpecCluster permanently closes a worker that is absent 15 s after an earlier loss, even while its nanny restarts
    # it. It identifies workers by its own names for them, and ours have other names.
    fields = LocalPlan.__dataclass_fields__
    for name in options:
        if name not in fields:
            raise UnknownNameError.among("option of a local cluster", name, fields)
    quiet = {"dashboard": False, "host": "127.0.0.1"}
    specs = {
        number: {
            "cls": SubprocessWorker,
            "options": {"worker_kwargs": worker | quiet | {"silence_logs": logging.ERROR}},
        }
        for number, worker in enumerate(LocalPlan(**options).workers())
    }
    where = quiet | {"port": 0, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": where | _ATTENTIVE}
    local = SpecCluster(workers=specs, scheduler=scheduler, name="rs-embed-dask", silence_logs=logging.ERROR)
    try:
        local.wait_for_workers(len(specs), timeout=_WAIT_S)
    except TimeoutError as error:
        local.close()
        reason = f"its {len(specs)} workers did not start within {_WAIT_S} s"
        raise EngineError("local cluster", reason=reason, fix="free some memory, or pass client=") from error
    return local


def _resources(fetch_slots: int, gpus: int) -> dict[str, float]:
    return {FETCH: fetch_slots, GPU if gpus else EMBED: gpus or 1}


def _cuda(*, fetch_slots: int = _FETCH_SLOTS, **options: Any) -> Any:
    """Start a worker for each GPU: by dask-cuda, or where it is not installed as `_local` does."""
    gpus = gpus_here()
    if not gpus and not options.get(VISIBLE):
        reason, fix = f"this machine has no GPU that {VISIBLE} leaves visible", "use rs.cluster('local'), or set it"
        raise EngineError("cuda cluster", reason=reason, fix=fix)
    if importlib.util.find_spec("dask_cuda") is None:
        return _local(**{"processes": len(gpus), "fetch_slots": fetch_slots * len(gpus)} | options)
    library = _library("dask_cuda", extra="gpu")
    worker = {"threads_per_worker": fetch_slots + _EMBED_SLOTS, "resources": _resources(fetch_slots, 1)}
    scheduler = _ATTENTIVE | (options.pop("scheduler_kwargs", None) or {})
    return library.LocalCUDACluster(**worker | {VISIBLE: gpus} | options, scheduler_kwargs=scheduler)


def _jobs(system: str) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        return job_cluster(system, _library("dask_jobqueue", extra="slurm"), scheduler=_ATTENTIVE, **options)

    return start


def _kubernetes(*, env: Any = None, **options: Any) -> Any:
    """Ask the Dask operator for pods; a group of its own embeds where others only read."""
    library = _library("dask_kubernetes.operator", extra="kubernetes")
    mine = {*PodPlan.__dataclass_fields__, "n_workers"}
    others = {name: value for name, value in options.items() if name not in mine}
    if others.get("custom_cluster_spec") is not None:
        return _pods(library, others)
    slots = {"fetch_slots": _FETCH_SLOTS, "embed_slots": _EMBED_SLOTS}
    plan = PodPlan.of(slots | options | {"env": _pod_env(env or dask.config.get("kubernetes.env", {}))})
    embedders = plan.embedders(library)
    if embedders is not None and others.get("asynchronous"):
        fix = "leave readers out, and await add_worker_group() of the cluster"
        raise SpecError("readers", value=plan.readers, reason="an asynchronous cluster has one group at first", fix=fix)
    pods = _pods(library, others | {"custom_cluster_spec": plan.cluster(library)})
    if embedders is not None:
        _add_group(pods, embedders)
    return pods


def _pods(library: ModuleType, options: dict[str, Any]) -> Any:
    """Ask for a cluster; its library lets every failure of its client through."""
    client, transport = (importlib.import_module(name) for name in ("kr8s", "httpx"))
    refusals = (client.ServerError, client.APITimeoutError, client.NotFoundError, transport.HTTPError, ValueError)
    fix = (
        "check your kubeconfig with 'kubectl get daskclusters': it needs credentials of an account that may create them"
        " (deploy/kubernetes/access.yaml), and the Dask operator must be installed"
    )
    try:
        return library.KubeCluster(**options)
    except refusals as error:
        raise EngineError("kubernetes cluster", reason=f"{type(error).__name__}: {error}", fix=fix) from error


def _add_group(pods: Any, embedders: dict[str, Any]) -> None:
    """Add the workers that only embed, unless the cluster was there before and has them."""
    refusals = importlib.import_module("kr8s").ServerError
    try:
        pods.add_worker_group(EMBEDDERS, custom_spec=embedders)
    except refusals as error:
        if error.response.status_code != HTTPStatus.CONFLICT:
            pods.close()
            raise EngineError(
                "kubernetes cluster",
                reason=f"the group of embedders was refused: {error}",
                fix="check that your account may create daskworkergroups (deploy/kubernetes/access.yaml)",
            ) from error


def _pod_env(env: Any) -> list[dict[str, Any]]:
    """Add to the variables of the pods, a dictionary or a list, what `_ATTENTIVE` is for other schedulers."""
    # KubeCluster takes no other setting of its scheduler, which runs in a pod of its own.
    ours = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{STALLED_S} s"}
    given = _named(env) if isinstance(env, dict) else [*env]
    return [*_named({k: v for k, v in ours.items() if k not in {one["name"] for one in given}}), *given]


def _named(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _library(name: str, *, extra: str) -> ModuleType:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        package = name.partition(".")[0].replace("_", "-")
        reason = f"{package} is not installed"
        raise EngineError("cluster", value=extra, reason=reason, fix=f"pip install 'rs-embed-dask[{extra}]'")
    return importlib.import_module(name)


_KINDS: Final[dict[str, Callable[..., Any]]] = {
    "local": _local,
    "cuda": _cuda,
    **{system: _jobs(system) for system in QUEUES},
    "kubernetes": _kubernetes,
}
