"""Pods: what `cluster("kubernetes")` asks the Dask operator for; `deploy/kubernetes/cluster.yaml` asks for the same."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import dask

from rs_embed_dask.engine.job_queues import MOST
from rs_embed_dask.engine.watch import EMBED, FETCH, GPU
from rs_embed_dask.specs.base import whole

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["EMBEDDERS", "PodPlan"]

EMBEDDERS: Final = "embedders"
"""Name of the group of workers that only embed."""

_DEVICE: Final = "nvidia.com/gpu"
_TOLERATION: Final = {"key": _DEVICE, "operator": "Exists", "effect": "NoSchedule"}
_POD: Final = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 120}
_CONTAINER: Final = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
# The scheduler runs no task, so it needs neither the store nor credentials.
_OF_WORKERS: Final = frozenset({"volumes", "volumeMounts", "envFrom"})
_CONFIGURED: Final = {
    "image": "image",
    "resources": "resources",
    "scheduler_service_type": "scheduler-service-type",
    "idle_timeout": "idle-timeout",
    "jupyter": "scheduler-jupyter",
}


@dataclass(frozen=True, kw_only=True)
class PodPlan:
    """A scheduler, and workers that read and embed; with ``readers``, one group reads and the other embeds."""

    fetch_slots: int
    embed_slots: int
    env: Sequence[Mapping[str, Any]]
    name: str = "rs-embed-dask"
    image: str = "ghcr.io/dask/dask:latest"
    workers: int = 1
    readers: int = 0
    gpus: int = 0
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    worker_command: str | Sequence[str] | None = None
    scheduler_service_type: str = "ClusterIP"
    idle_timeout: int = 0
    jupyter: bool = False
    pod: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {"workers": 0, "readers": 0, "gpus": 0, "fetch_slots": 1, "embed_slots": 1}
        for name, smallest in least.items():
            whole(name, getattr(self, name), low=smallest, high=MOST)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PodPlan:
        """Plan by those of the options that are fields, and by dask-kubernetes' configuration for the others."""
        own = {word.name: options[word.name] for word in fields(cls) if word.name in options}
        set_elsewhere = {name: dask.config.get(f"kubernetes.{key}", None) for name, key in _CONFIGURED.items()}
        own = {name: value for name, value in set_elsewhere.items() if value is not None} | own
        if "n_workers" in options:
            own["workers"] = options["n_workers"]
        if "name" in own:  # dask-kubernetes fills these in too, but not in a manifest
            own["name"] = own["name"].format(user=getpass.getuser(), uuid=uuid.uuid4().hex[:10])
        return cls(**own)

    def cluster(self, library: ModuleType) -> dict[str, Any]:
        """Return the DaskCluster: the scheduler and the default group, as dask-kubernetes makes them, and ours."""
        offered = {FETCH: self.fetch_slots} if self.readers else {FETCH: self.fetch_slots, **self._embeds}
        manifest: dict[str, Any] = library.make_cluster_spec(
            name=self.name,
            image=self.image,
            n_workers=self.readers or self.workers,
            worker_command=self._command(offered),
            scheduler_service_type=self.scheduler_service_type,
            idle_timeout=self.idle_timeout,
            jupyter=self.jupyter,
        )
        spec = manifest["spec"]
        self._complete(spec["scheduler"], without=_OF_WORKERS)
        self._complete(spec["worker"], gpus=0 if self.readers else self.gpus)
        (scheduler,) = spec["scheduler"]["spec"]["containers"]
        # Newer releases of distributed have no `dask-scheduler`, and all have `dask scheduler`.
        command, *arguments = scheduler["args"]
        scheduler["args"] = [*command.split("-"), *arguments]
        return manifest

    def embedders(self, library: ModuleType) -> dict[str, Any] | None:
        """Return the workers of the DaskWorkerGroup that only embeds, if there is one."""
        if not self.readers:
            return None
        command = self._command(self._embeds)
        worker = library.make_worker_spec(image=self.image, n_workers=self.workers, worker_command=command)
        return self._complete(worker, gpus=self.gpus)

    @property
    def _embeds(self) -> dict[str, int]:
        return {GPU if self.gpus else EMBED: self.gpus or 1}

    def _command(self, offered: Mapping[str, int]) -> list[str]:
        if self.worker_command is not None:
            given = self.worker_command
            return given.split() if isinstance(given, str) else [*given]
        threads = offered.get(FETCH, 0) + (self.embed_slots if offered.keys() - {FETCH} else 0)
        resources = ",".join(f"{name}={amount:g}" for name, amount in offered.items())
        return ["dask", "worker", "--resources", resources, "--nthreads", str(threads)]

    def _complete(
        self, part: dict[str, Any], *, gpus: int = 0, without: AbstractSet[str] = frozenset()
    ) -> dict[str, Any]:
        """Add to a part of the cluster what all pods have, and GPUs, which the scheduler must not take."""
        (container,) = part["spec"]["containers"]
        resources = {kind: {**amounts} for kind, amounts in self.resources.items()}
        limits = resources.setdefault("limits", {})
        limits.pop(_DEVICE, None)
        if gpus:
            limits[_DEVICE] = str(gpus)
        ours = {"env": [*self.env], "resources": resources, **_CONTAINER, **self.container}
        pod = {**_POD, **self.pod}
        if gpus:
            pod["tolerations"] = [*pod.get("tolerations", ()), _TOLERATION]
        kept = {name: value for name, value in ours.items() if name not in without}
        part["spec"] = {"containers": [container | kept], **{k: v for k, v in pod.items() if k not in without}}
        return part
