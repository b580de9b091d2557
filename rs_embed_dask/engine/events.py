"""What happens during a run, as frozen values. The engine emits them; bars, logs and reports listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rs_embed_dask.engine.report import RunReport
    from rs_embed_dask.store import Status

__all__ = [
    "ChunkDone",
    "ChunkLost",
    "Event",
    "ItemFailed",
    "Listener",
    "ModelLoaded",
    "Retried",
    "RunFinished",
    "RunStarted",
    "Waiting",
    "WorkerLost",
    "emit",
]


@dataclass(frozen=True)
class Event:
    """The base of every event."""


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins.

    Attributes
    ----------
    store : str
        Where the results go.
    items : int
        Items in the store.
    chunks : int
        Chunks that hold something to do.
    todo : mapping of str to int
        Chunks to do for each model.
    workers : int
        Worker processes at the start.
    dashboard : str
        Address of Dask's dashboard, or "".
    """

    store: str
    items: int
    chunks: int
    todo: Mapping[str, int]
    workers: int
    dashboard: str = ""


@dataclass(frozen=True)
class ChunkDone(Event):
    """A chunk is in the store.

    Attributes
    ----------
    chunk : int
        Its number.
    items : int
        Items of it that were decided now.
    counts : mapping of str to mapping of Status to int
        How they ended, for each model.
    seconds : float
        From submission to the written status.
    read_bytes : int
        Bytes of decoded pixels that were read.
    left : int
        Chunks still to do.
    """

    chunk: int
    items: int
    counts: Mapping[str, Mapping[Status, int]]
    seconds: float
    read_bytes: int
    left: int


@dataclass(frozen=True)
class ItemFailed(Event):
    """An item has no embedding by a model, and the store says why.

    Attributes
    ----------
    index : int
        The item's row.
    id : str
        The item's own name.
    label : str
        The model.
    status : Status
        READ_FAILED, MODEL_FAILED or INVALID.
    reason : str
        Why.
    """

    index: int
    id: str
    label: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Retried(Event):
    """A read met passing faults and was tried again.

    Attributes
    ----------
    index : int
        The item's row.
    sensor : str
        What was read.
    tries : int
        How often it was tried in all.
    reason : str
        The last passing fault.
    """

    index: int
    sensor: str
    tries: int
    reason: str


@dataclass(frozen=True)
class ModelLoaded(Event):
    """A worker has loaded a model; said once a model and run.

    Attributes
    ----------
    label : str
        The model.
    weights : mapping
        Path, digest and licence of its weights.
    """

    label: str
    weights: Mapping[str, Any]


@dataclass(frozen=True)
class WorkerLost(Event):
    """A worker process is gone; its tasks run elsewhere.

    Attributes
    ----------
    address : str
        Where it was.
    left : int
        Workers that remain.
    """

    address: str
    left: int


@dataclass(frozen=True)
class ChunkLost(Event):
    """A chunk's task was lost and is submitted again.

    Attributes
    ----------
    chunk : int
        Its number.
    attempt : int
        The attempt that was lost, from 1.
    reason : str
        How it was lost.
    """

    chunk: int
    attempt: int
    reason: str


@dataclass(frozen=True)
class Waiting(Event):
    """Nothing can run now.

    Attributes
    ----------
    reason : str
        What is waited for.
    """

    reason: str


@dataclass(frozen=True)
class RunFinished(Event):
    """A run is over: done, interrupted or given up.

    Attributes
    ----------
    report : RunReport
        What happened.
    interrupted : bool
        Whether it stopped before its end.
    """

    report: RunReport
    interrupted: bool = False


Listener: TypeAlias = Callable[[Event], None]
"""Anything that takes an event."""


def emit(listeners: tuple[Listener, ...], event: Event) -> None:
    """Tell every listener, in order."""
    for listener in listeners:
        listener(event)
