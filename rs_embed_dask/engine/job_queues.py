"""Clusters whose workers are jobs of Slurm, PBS, LSF or SGE: one kind of job, or readers and embedders."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import dask
from dask.utils import parse_bytes

from rs_embed_dask.engine.leaving import LEAVING_ARGUMENTS
from rs_embed_dask.engine.watch import EMBED, FETCH, GPU
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import whole

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["EMBED_SLOTS", "FETCH_SLOTS", "MOST", "QUEUES", "JobPlan", "JobQueue", "job_cluster"]

FETCH_SLOTS: Final = 16
EMBED_SLOTS: Final = 8
MOST: Final = 1_000_000
"""More workers, or slots of one, than anybody has."""

_LEAST_LIFETIMES: Final = 4
_STAGGER: Final = 0.05
_MIB: Final = 2**20

Clock = Mapping[int, tuple[int, ...]]
"""By the number of fields between colons, how many seconds one of each field is."""

_SECONDS: Final[Clock] = {1: (1,), 2: (60, 1), 3: (3600, 60, 1)}
_MINUTES: Final[Clock] = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}
_HOURS: Final[Clock] = {1: (60,), 2: (3600, 60)}
_AFTER_DAYS: Final[Clock] = {1: (3600,), 2: (3600, 60), 3: (3600, 60, 1)}


@dataclass(frozen=True)
class Directive:
    """A line of a job script's header, unless one of the user's own matches a pattern."""

    text: str
    unless: str

    def lines(self, own: Sequence[str], **values: object) -> list[str]:
        """Write it, where the user has not decided."""
        return [] if any(re.match(self.unless, line) for line in own) else [self.text.format(**values)]


@dataclass(frozen=True)
class JobQueue:
    """How a batch system is asked for jobs."""

    library_class: str
    clock: Clock
    always: tuple[Directive, ...]
    gpu: tuple[Directive, ...] = ()
    gpu_spec: str = ""
    """What `resource_spec` is for jobs with GPUs, where those are asked for so."""
    walltime: str = "04:00:00"
    memory_line: str = ""
    memory_else: tuple[str, ...] = ()
    """Directives that exclude `memory_line`."""

    def seconds(self, walltime: str) -> int:
        """Read a wall time as this batch system does."""
        days, dash, rest = walltime.rpartition("-")
        fields = rest.split(":")
        weights = (_AFTER_DAYS if dash else self.clock).get(len(fields))
        if weights is None or not all(field.isdigit() for field in (days or "0", *fields)):
            fix = f"write it as {self.walltime}"
            raise SpecError("walltime", value=walltime, reason="it is not a time", fix=fix)
        return 86400 * int(days or 0) + sum(int(field) * one for field, one in zip(fields, weights, strict=True))


QUEUES: Final = {
    "slurm": JobQueue(
        "SLURMCluster",
        _MINUTES,
        # B: the shell alone is signalled, and that is the worker, by exec
        (Directive("--requeue", "--(no-)?requeue"), Directive("--signal=B:TERM@{grace_s}", "--signal")),
        gpu=(Directive("--gres=gpu:{gpus}", "--gres|--gpus|-G "),),
        memory_line="--mem=",
        memory_else=("--mem-per-gpu", "--mem-per-cpu"),
    ),
    "pbs": JobQueue(
        "PBSCluster",
        _SECONDS,
        (Directive("-r y", "-r "),),
        gpu_spec="select=1:ncpus={cores}:mem={memory_mib}mb:ngpus={gpus}",
    ),
    "lsf": JobQueue(
        "LSFCluster",
        _HOURS,
        (Directive("-r", "-rn?$"), Directive("-wa TERM -wt {grace_min}", "-wa ")),
        gpu=(Directive('-gpu "num={gpus}"', "-gpu "),),
        walltime="04:00",
    ),
    "sge": JobQueue(
        "SGECluster",
        _SECONDS,
        (Directive("-r y", "-r "), Directive("-notify", "-notify")),
        gpu=(Directive("-l gpu={gpus}", "-l .*gpu"),),
    ),
}


@dataclass(frozen=True)
class JobClass:
    """Jobs that are alike: how many, what their worker offers, and what dask-jobqueue is told of them."""

    name: str
    count: int
    resources: Mapping[str, float]
    gpus: int
    options: Mapping[str, Any]

    def keywords(self, system: str, grace_s: int) -> dict[str, Any]:
        """Return the keywords of dask-jobqueue."""
        queue, options = QUEUES[system], {**_defaults(system), "job_name": self.name, **self.options}
        own = _listed(system, options, "job_extra_directives")
        values = {"gpus": self.gpus, "grace_s": grace_s, "grace_min": math.ceil(grace_s / 60)}
        wanted = (*queue.always, *(queue.gpu if self.gpus else ()))
        directives = [*own, *(line for one in wanted for line in one.lines(own, **values))]
        options |= self._memory(queue, options, own)
        if queue.gpu_spec and self.gpus and not options.get("resource_spec"):
            mib = math.ceil(parse_bytes(options["memory"]) / _MIB)
            spec = queue.gpu_spec.format(gpus=self.gpus, cores=options["cores"], memory_mib=mib)
            options["resource_spec"] = spec
        return options | {
            "job_extra_directives": directives,
            "job_script_prologue": [
                # Dask gives a worker one thread for arithmetic, unless told otherwise.
                f"export OMP_NUM_THREADS={options['cores']}",
                *_listed(system, options, "job_script_prologue"),
            ],
            # the job's own process is then the worker, which the batch system signals
            "python": f"exec {options.get('python') or sys.executable}",
            "worker_extra_args": self._arguments(system, options, grace_s),
        }

    def _arguments(self, system: str, options: Mapping[str, Any], grace_s: int) -> list[str]:
        own = _listed(system, options, "worker_extra_args")
        resources = ",".join(f"{name}={amount:g}" for name, amount in self.resources.items())
        threads = int(self.resources.get(FETCH, 0)) + EMBED_SLOTS
        has_own = any(re.match("--lifetime(?!-)", argument) for argument in own)
        lifetime = [] if has_own else _lifetime(QUEUES[system], options["walltime"], grace_s)
        return [*own, "--resources", resources, "--nthreads", str(threads), *lifetime, *LEAVING_ARGUMENTS]

    def _memory(self, queue: JobQueue, options: Mapping[str, Any], own: Sequence[str]) -> dict[str, Any]:
        """Leave the job's memory to a directive that excludes the usual one, and take the worker's from it."""
        instead = [line for line in own if line.startswith(queue.memory_else)]
        if not instead:
            return {}
        directive, _, size = instead[0].partition("=")
        rivals = [f"job_mem={options['job_mem']}"] if "job_mem" in options else []
        rivals += [line for line in own if line.startswith(queue.memory_line)]
        if rivals:
            reason = f"{directive} and {queue.memory_line.strip('=')} exclude each other"
            raise SpecError("job_extra_directives", value=[*instead, *rivals], reason=reason, fix="give one of them")
        count = self.gpus if "gpu" in directive else int(options["cores"])
        if not count:
            fix = "give gpus=, or the memory of the whole job as memory="
            raise SpecError("job_extra_directives", value=instead[0], reason="these jobs have no GPU", fix=fix)
        memory = self.options.get("memory") or f"{count * parse_bytes(size)}B"
        return {"memory": memory, "job_directives_skip": [*options.get("job_directives_skip", ()), queue.memory_line]}


def _lifetime(queue: JobQueue, walltime: str, grace_s: int) -> list[str]:
    """Let workers leave one after another, before their jobs reach the wall time."""
    # One grace period is for what precedes the worker in its job, and one for the tasks in hand.
    left = queue.seconds(walltime) - 2 * grace_s
    if left < (_LEAST_LIFETIMES - 2) * grace_s:
        reason = f"it is shorter than {_LEAST_LIFETIMES} times grace_s, which is {grace_s}"
        raise SpecError(
            "walltime", value=walltime, reason=reason, fix="ask for longer jobs, or give a smaller grace_s="
        )
    stagger = int(_STAGGER * left)
    return ["--lifetime", f"{left - stagger}s", "--lifetime-stagger", f"{stagger}s"]


def _defaults(system: str) -> dict[str, Any]:
    """Return what jobs are unless they are told otherwise, in the call or in the site's jobqueue.yaml."""
    ours = {"processes": 1, "cores": 4, "memory": "16GB", "walltime": QUEUES[system].walltime}
    shipped = dask.config.merge(*dask.config.defaults)  # of these, dask-jobqueue itself sets the wall time
    read = partial(dask.config.get, default=None)
    site = {name: read(f"jobqueue.{system}.{name}") for name in ours}
    return ours | {
        name: value
        for name, value in site.items()
        if value not in {None, read(f"jobqueue.{system}.{name}", config=shipped)}
    }


def _listed(system: str, options: Mapping[str, Any], name: str) -> list[str]:
    """Return a list among the options, else the site's."""
    given = options.get(name)
    return list(dask.config.get(f"jobqueue.{system}.{name.replace('_', '-')}", ()) if given is None else given)


@dataclass(frozen=True)
class JobPlan:
    """The jobs of a cluster."""

    workers: int = 1
    readers: int = 0
    gpus: int = 0
    fetch_slots: int = FETCH_SLOTS
    grace_s: int = 60
    reader_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {"workers": 1, "readers": 0, "gpus": 0, "fetch_slots": 1, "grace_s": 1}
        for name, smallest in least.items():
            whole(name, getattr(self, name), low=smallest, high=MOST)
        if self.reader_options and not self.readers:
            value = dict(self.reader_options)
            raise SpecError("reader_options", value=value, reason="there are no such jobs", fix="give readers= too")

    def classes(self, options: Mapping[str, Any]) -> list[JobClass]:
        """Return the classes of jobs; `options` are dask-jobqueue's, without what readers have of their own."""
        reading, embedding = {FETCH: self.fetch_slots}, {GPU if self.gpus else EMBED: self.gpus or 1}
        if not self.readers:
            return [JobClass("rs-embed-dask", self.workers, {**reading, **embedding}, self.gpus, options)]
        # What asks for a GPU is not for those that only read.
        shared = {name: value for name, value in options.items() if not (name == "resource_spec" and "gpu" in value)}
        if "job_extra_directives" in shared:
            lines = shared["job_extra_directives"]
            shared["job_extra_directives"] = [line for line in lines if "gpu" not in line]
        return [
            JobClass("rs-embed-dask-embed", self.workers, embedding, self.gpus, options),
            JobClass("rs-embed-dask-read", self.readers, reading, 0, {**shared, **self.reader_options}),
        ]


class ByJobClass:
    """Part of a cluster whose jobs are of several classes, each of which has its share of them."""

    shares: Sequence[tuple[dict[str, Any], int]] = ()
    worker_spec: dict[str, Any]

    def new_worker_spec(self) -> dict[str, Any]:
        """Return the next job to submit: one of the class that lacks the most."""
        ((name, _),) = super().new_worker_spec().items()  # type: ignore[misc]
        there = list(self.worker_spec.values())
        spec, _ = min(self.shares, key=lambda share: sum(one is share[0] for one in there) / share[1])
        return {name: spec}

    def job_scripts(self) -> dict[str, str]:
        """Return the script of each class of jobs, by their name."""
        jobs = [spec["cls"]("tcp://<scheduler>:8786", name="NAME", **spec["options"]) for spec, _ in self.shares]
        return {job.job_name: job.job_script() for job in jobs}


def job_cluster(system: str, library: ModuleType, *, scheduler: Mapping[str, Any], **options: Any) -> Any:
    """Start jobs of one worker each, by `adapt`: it replaces a job that ends, which `scale` does not."""
    if "n_workers" in options:
        value = options["n_workers"]
        raise SpecError("n_workers", value=value, reason="jobs are counted by class", fix="give workers= and readers=")
    options = {name: value for name, value in options.items() if value is not None}
    plan = JobPlan(**{name: options.pop(name) for name in JobPlan.__dataclass_fields__ if name in options})
    site = dask.config.get(f"jobqueue.{system}.scheduler-options", {})
    scheduler = {**scheduler, **(options.pop("scheduler_options", None) or site)}
    classes = plan.classes(options)
    first, *others = [one.keywords(system, plan.grace_s) for one in classes]
    kind = type("JobCluster", (ByJobClass, getattr(library, QUEUES[system].library_class)), {})
    cluster = kind(**first, scheduler_options=scheduler)
    specs = [cluster.new_spec, *(_like(cluster.new_spec, one) for one in others)]
    cluster.shares = [(spec, one.count) for spec, one in zip(specs, classes, strict=True)]
    total = sum(one.count for one in classes)
    cluster.adapt(minimum_jobs=total, maximum_jobs=total)
    return cluster


def _like(spec: Mapping[str, Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return what dask-jobqueue submits for jobs with other keywords on the same cluster."""
    shared = {name: value for name, value in spec["options"].items() if name in {"interface", "protocol", "security"}}
    return {**spec, "options": {**shared, "config_name": spec["options"]["config_name"], **keywords}}
