"""Detached runs: the driver is a task on the cluster, published under its store's name, so that any client finds it.

The task ends when the run does, and removes its name; what a run has done is what its store says. A driver that is lost
runs again on another worker, takes over the lease and continues the store.
"""

from __future__ import annotations

import math
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from distributed import Client, Event, KilledWorker, Reschedule, Scheduler, get_worker, secede
from distributed.core import Status as WorkerState

from rs_embed_dask.engine.clusters import check_client
from rs_embed_dask.engine.graph import SharedValue
from rs_embed_dask.engine.leaving import DRIVER
from rs_embed_dask.engine.progress import listeners_for
from rs_embed_dask.engine.reading import error_line
from rs_embed_dask.engine.report import ChunkDone, Event as RunEvent
from rs_embed_dask.engine.watch import Options, Progress
from rs_embed_dask.errors import EngineError, PlanError, SpecError, StoreBusyError
from rs_embed_dask.store import Location, seconds_to_wait
from rs_embed_dask.store.live import FAILED, STOPPED, WAITING, LiveStatus, look
from rs_embed_dask.store.target import located

if TYPE_CHECKING:
    from distributed import Future

    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.services import StorageOptions

__all__ = ["DetachedRun", "Errand", "begin", "check_place", "detached_client"]

_LOOK_S: Final = 1.0
_STOP_EVERY_S: Final = 1.0
_PRIORITY: Final = 100
_ENDED: Final = frozenset({"", "memory"})
_BEGUN: Final = frozenset({"processing", "erred"})


@dataclass(frozen=True)
class Errand:
    """A validated call: `make` makes or tops up its store here, `job` continues it on the cluster."""

    make: Callable[[], None]
    job: Callable[..., object]
    progress: Progress = True


@dataclass(frozen=True, repr=False)
class DetachedRun:
    """A run whose driver is on a cluster; `submit` returns it, and any process can have it again.

    Parameters
    ----------
    store : path or URL
        The store of the run.
    client : distributed.Client
        A client of the cluster; another one than that which submitted the run will do.
    storage_options : dict, optional
        Of an object store; as `compute_embeddings`.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> from distributed import Client
    >>> run = rs.DetachedRun("s3://bucket/run.zarr", Client("tcp://scheduler:8786"))  # doctest: +SKIP
    >>> run.status().share  # doctest: +SKIP
    0.42
    """

    store: str
    client: Client = field(compare=False)
    storage_options: StorageOptions | None = None

    def __post_init__(self) -> None:
        detached_client(self.client)
        object.__setattr__(self, "store", str(check_place(self.store, self.storage_options).target))

    def __repr__(self) -> str:
        return f"DetachedRun({self.store!r} on {self.client.scheduler.address})"  # type: ignore[union-attr]

    def status(self) -> LiveStatus:
        """Say how the run stands: counts, share, who drives it and since when, problems.

        Returns
        -------
        LiveStatus
            Its ``state`` is "waiting" until a worker has taken the driver and that has the lease, then "running";
            at the end "complete", or "stopped" if the run was cancelled or other parts have yet to run, or "failed" if
            an error ended it.

        Raises
        ------
        StoreError
            If there is no store.
        """
        future, state = _driver_of(self)
        live = look(located(self.store, self.storage_options))
        if future is None:
            return live
        if state == "erred":
            return replace(live, state=FAILED, problems=(error_line(self._error(future)), *live.problems))
        return replace(live, state=WAITING) if live.state == STOPPED else live

    def wait(self, timeout: float | None = None) -> LiveStatus:
        """Wait until the run has ended, or for some seconds.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to return if the run has not ended; its ``state`` is then "running" or "waiting".
            Default: as long as it takes.

        Returns
        -------
        LiveStatus
            How the run stands: "complete", or "stopped" if it was cancelled or other parts have yet to run.

        Raises
        ------
        RsEmbedError
            The error that ended the run, of the same class as in `compute_embeddings`.
        EngineError
            If its driver was lost several times before anything more was stored.
        """
        end = time.monotonic() + (math.inf if timeout is None else seconds_to_wait(timeout))
        while True:
            future, state = _driver_of(self)
            left = end - time.monotonic()
            if state == "erred" and future is not None:
                raise self._error(future)
            if future is None or left <= 0:
                return self.status()
            # Not Dask's `wait`: the error of its timeout keeps the future alive, and that keeps the last worker.
            del future
            time.sleep(min(_LOOK_S, left))

    def cancel(self) -> None:
        """End the run as Ctrl-C does: what is finished is kept, and the same call or `resume` continues it.

        It returns at once; `wait` returns when the run has ended. A run that has ended stays as it is.
        """
        future, state = _driver_of(self)
        if future is None:
            return
        Event(future.key, client=self.client).set()
        if state not in _BEGUN:  # no worker has taken it, and maybe none ever will
            self.client.unpublish_dataset(_name_of(self.store))

    def _error(self, future: Future[Any]) -> BaseException:
        error = future.exception()
        if not isinstance(error, KilledWorker):
            return error  # type: ignore[no-any-return]
        reason = f"its worker was lost each time before anything more was stored ({error_line(error)})"
        fix = f"see the workers' logs (memory is the usual cause), then submit it again or resume {self.store}"
        return EngineError("driver", value=self.store, reason=reason, fix=fix)


def _name_of(store: str) -> str:
    """Return the name under which the driver of a store's run is published."""
    return f"{DRIVER} {store}"


def _driver_of(run: DetachedRun) -> tuple[Future[Any] | None, str]:
    """Return the driver of a run and its state on the scheduler; one that has ended is forgotten, but for its error."""
    name = _name_of(run.store)
    future = run.client.get_dataset(name, default=None)
    if future is None:
        return None, ""
    state = str(run.client.run_on_scheduler(_state_of, future.key))
    if state not in _ENDED:
        return future, state
    run.client.unpublish_dataset(name)
    return None, ""


def _state_of(key: str, dask_scheduler: Any = None) -> str:
    """Return the state of a task, on the scheduler."""
    task = dask_scheduler.tasks.get(key)
    return "" if task is None else str(task.state)


def _forgive(key: str, dask_scheduler: Any = None) -> None:
    """Let a task outlive as many more workers as a new one may, on the scheduler."""
    task = dask_scheduler.tasks.get(key)
    if task is not None:
        task.suspicious = 0


def check_place(target: Target | None, storage_options: StorageOptions | None = None) -> Location:
    """Refuse a store that no other process can reach."""
    if target is None:
        fix = "give out=, a URL or a folder that this machine and all workers see"
        raise SpecError("out", value=None, reason="a detached run needs a store to leave its results in", fix=fix)
    location = Location.of(located(target, storage_options))
    if not location.is_portable or urlsplit(location.name).scheme == "memory":
        fix = "give a URL such as s3://bucket/run.zarr, or a folder that this machine and all workers see"
        raise SpecError("out", value=location.name, reason="other processes cannot reach a store in memory", fix=fix)
    return location


def detached_client(client: object) -> Client:
    """Refuse what is no client of a cluster; warn of a scheduler that ends with this process."""
    check_client(client)
    if not isinstance(client, Client):
        reason = "a detached run needs a cluster that is there when this process has ended"
        fix = "give client=distributed.Client(ADDRESS) of its scheduler"
        raise SpecError("client", value=client, reason=reason, fix=fix)
    return client


def begin(errand: Errand, place: Location, client: Client) -> DetachedRun:
    """Send a validated call to the cluster; what cannot work is refused before the store is made."""
    run = DetachedRun(place.name, client, dict(place.options) or None)
    options = Options(progress="log" if errand.progress in {True, "bar"} else errand.progress)
    listeners_for(options.progress, ExitStack())
    parcel = _parcel((errand.job, options))
    _check_seen(place, client)
    future, state = _driver_of(run)
    if future is not None and state != "erred":
        reason = f"a run of it is on that cluster already ({state})"
        fix = "see rs.DetachedRun(store, client): wait() for it, or cancel() it"
        raise StoreBusyError("store", value=run.store, reason=reason, fix=fix)
    errand.make()
    if future is not None:
        client.unpublish_dataset(_name_of(run.store))
    if isinstance(getattr(client.cluster, "scheduler", None), Scheduler):
        message = "the cluster's scheduler is part of this process, and so the detached run ends with it"
        warnings.warn(
            f"{message}; start it elsewhere (`dask scheduler`, a job, a pod) to switch this off", stacklevel=3
        )
    key = f"{DRIVER}-{secrets.token_hex(8)}"
    sent = client.submit(drive_task, parcel, _name_of(run.store), key=key, pure=False, priority=_PRIORITY)
    client.publish_dataset(sent, name=_name_of(run.store))
    return run


def _parcel(value: object) -> SharedValue:
    try:
        return SharedValue.of(value)
    except (PicklingError, TypeError, AttributeError, RecursionError) as error:
        fix = "give what can be pickled: names, paths and specs; not open files, locks or connections"
        raise PlanError("request", reason=f"it cannot be sent to the cluster ({error_line(error)})", fix=fix) from error


def _check_seen(location: Location, client: Client) -> None:
    """Refuse a local path that a worker cannot see: each looks for a file that is made there for a moment."""
    if "://" in location.name:
        return
    folder = next(one for one in (Path(location.name), *Path(location.name).parents) if one.is_dir())
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rs-embed-dask-") as mark:
        answers: Mapping[str, bool] = client.run(_sees, mark.name)
    blind = sorted(address for address, sees in answers.items() if not sees)
    if blind:
        reason = f"workers do not see, or may not write to, this machine's folder {folder}: {', '.join(blind[:3])}"
        fix = "give a folder that this machine and all workers share, or a URL such as s3://bucket/run.zarr"
        raise SpecError("out", value=location.name, reason=reason, fix=fix)


def _sees(mark: str) -> bool:
    return Path(mark).exists() and os.access(Path(mark).parent, os.W_OK | os.X_OK)


class _Stop:
    """Raises KeyboardInterrupt in the driver once the run is cancelled, or its worker leaves."""

    def __init__(self, event: Event, worker: Any) -> None:
        self._event, self._worker = event, worker
        self._asked_at = -math.inf

    @property
    def is_leaving(self) -> bool:
        """Whether the driver has to go on elsewhere."""
        return self._worker.status not in {WorkerState.running, WorkerState.paused}

    def __call__(self) -> None:
        """Ask, once a second."""
        if time.monotonic() - self._asked_at < _STOP_EVERY_S:
            return
        self._asked_at = time.monotonic()
        if self.is_leaving or self._event.is_set():
            raise KeyboardInterrupt


def drive_task(parcel: SharedValue, name: str) -> None:
    """Drive a run from a worker, in a thread that takes no place from other tasks."""
    worker: Any = get_worker()
    key = worker.get_current_task()
    secede()
    job, options = parcel.open()
    with Client(worker.scheduler.address, security=worker.security, set_as_default=False) as client:
        stop = _Stop(Event(key, client=client), worker)
        listener = _Forgiving(client, key)
        ours = replace(options, listeners=(*options.listeners, listener), guard=stop)
        try:
            stop()
            # Another driver may live on, cut off from the scheduler: its lease is waited for, however long it runs.
            job(client=client, options=ours, wait=math.inf)
        except KeyboardInterrupt:
            if stop.is_leaving:
                raise Reschedule from None
        client.unpublish_dataset(name)


class _Forgiving:
    """Lets a driver that has stored something outlive more workers: preempted ones are not its fault."""

    def __init__(self, client: Client, key: str) -> None:
        self._client, self._key = client, key
        self._is_done = False

    def __call__(self, event: RunEvent) -> None:
        """Take an event."""
        if isinstance(event, ChunkDone) and not self._is_done:
            self._is_done = True
            self._client.run_on_scheduler(_forgive, self._key)
