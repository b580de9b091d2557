"""How a run stands, from its store alone: what is done, how fast, who holds the lease, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.show.tables import Section, counted, page_html, page_text, seconds_text
from rs_embed_dask.store.document import MAP, Location, kind_of, now
from rs_embed_dask.store.layout import Status
from rs_embed_dask.store.lease import ALL_CHUNKS, TERM_S, Holder, chunks_text, holders_of
from rs_embed_dask.store.map_status import block_reasons
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.status import FAILURES, reasons, shown_model
from rs_embed_dask.store.store import Store

if TYPE_CHECKING:
    from rs_embed_dask.store.document import Target

__all__ = ["COMPLETE", "FAILED", "RUNNING", "STOPPED", "WAITING", "LiveStatus", "look"]

RUNNING: Final = "running"
STOPPED: Final = "stopped"
COMPLETE: Final = "complete"
WAITING: Final = "waiting"
FAILED: Final = "failed"

_MOST_PROBLEMS: Final = 5


@dataclass(frozen=True, repr=False)
class LiveStatus:
    """How a run stands at one moment.

    Parameters
    ----------
    store : str
        The path or URL.
    state : {"running", "complete", "stopped", "waiting", "failed"}
        "running": somebody holds the lease. "complete": nothing is pending, though items may have failed. "stopped":
        something is pending, and nobody holds the lease. Of a detached run also "waiting", for a worker or for the
        lease, and "failed", by an error that ended it.
    unit : {"item", "block"}
        What is counted: items of places, blocks of maps.
    counts : dict of dict
        By model and status, the number of items or blocks.
    holders : tuple of Holder
        Who holds the lease: ``who``, ``since`` (UTC), and the ``chunks``.
    problems : tuple of str
        The commonest reasons of failures, and holders that were not heard of for a minute.
    rate : float, optional
        Items or blocks per second since an earlier look.
    at : str
        When it was looked at, in UTC.
    seconds : float
        The same on this process's clock.

    Examples
    --------
    >>> LiveStatus("run.zarr", "running", "item", {"rcf": {Status.OK: 3, Status.PENDING: 9}}).share
    0.25
    """

    store: str
    state: str
    unit: str
    counts: dict[str, dict[Status, int]]
    holders: tuple[Holder, ...] = ()
    problems: tuple[str, ...] = ()
    rate: float | None = None
    at: str = ""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """Number of items or blocks, over all models."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def done(self) -> int:
        """Number of those that are decided: embedded, without data, or failed."""
        return self.total - sum(counts.get(Status.PENDING, 0) for counts in self.counts.values())

    @property
    def share(self) -> float:
        """Share that is decided, from 0 to 1."""
        return self.done / self.total if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at the present rate; None where there is none."""
        return (self.total - self.done) / self.rate if self.rate else None

    @property
    def line(self) -> str:
        """All of it in one line."""
        return " | ".join((f"{self.at} {self.store}: {self.state}", *self._facts, *self._people, *self.problems[:1]))

    @property
    def _facts(self) -> list[str]:
        done = f"{self.done:,} of {counted(self.total, self.unit)} ({self.share:.0%})"
        models = f" of {counted(len(self.counts), 'model')}" if len(self.counts) > 1 else ""
        rate = "" if self.rate is None else f"{self.rate:.3g} {self.unit}s/s"
        left = "" if not self.seconds_left else f"{seconds_text(self.seconds_left)} left"
        return [part for part in (done + models, rate, left) if part]

    @property
    def _people(self) -> list[str]:
        return [f"{one.who or 'somebody'} since {one.since}{_part_text(one)}" for one in self.holders]

    def _sections(self) -> list[Section]:
        facts = [("state", self.state), ("done", ", ".join(self._facts)), ("looked at", self.at)]
        facts += [("lease", person) for person in self._people]
        models = [shown_model(label, counts) for label, counts in self.counts.items()]
        sections = [Section("", facts), Section("Models", models)]
        return [*sections, Section("Problems", [(one,) for one in self.problems])] if self.problems else sections

    def __repr__(self) -> str:
        return page_text(f"Run {self.store}", self._sections())

    def _repr_html_(self) -> str:
        return page_html(f"Run {self.store}", self._sections())

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        people = [{"who": one.who, "since": one.since, "chunks": list(one.chunks)} for one in self.holders]
        counts = {label: {code.name.lower(): n for code, n in one.items()} for label, one in self.counts.items()}
        plain = ("at", "store", "state", "unit", "done", "total", "share", "rate", "seconds_left")
        return {name: getattr(self, name) for name in plain} | {
            "counts": counts,
            "holders": people,
            "problems": list(self.problems),
        }


def _part_text(holder: Holder) -> str:
    return "" if holder.chunks == ALL_CHUNKS else f", {chunks_text(holder.chunks)}"


def look(path: Target, *, since: LiveStatus | None = None) -> LiveStatus:
    """Look at a run; its rate, and who is silent, are told from an earlier look. Raises StoreError."""
    location = Location.of(path, read_only=True)
    is_map = kind_of(location) == MAP
    store: Any = MapStore.open(path) if is_map else Store.open(path)
    # Before the counts: a run that ends between the two seems to be running, and the next look says that it is over.
    holders, seconds = holders_of(location), time.monotonic()
    silent = [one for one in holders if _is_silent(one, since, seconds)]
    active = tuple(one for one in holders if one not in silent)
    counts: dict[str, dict[Status, int]] = store.counts()
    is_left = any(one.get(Status.PENDING) for one in counts.values())
    unit = "block" if is_map else "item"
    failing = [label for label, one in counts.items() if any(one.get(code) for code in FAILURES)]
    find: Any = block_reasons if is_map else reasons
    failures = [
        f"{one.label}: {counted(one.count, unit)} {one.status.words}: {one.reason}"
        for label in failing
        for one in find(store, label)
    ]
    lost = [f"{one.who or 'a run'} was not heard of for a minute, or has died; resume continues" for one in silent]
    state = RUNNING if active else STOPPED if is_left else COMPLETE
    made = LiveStatus(location.name, state, unit, counts, active, _first(lost, failures), None, now(), seconds)
    if since is None or seconds <= since.seconds:
        return made
    rate = max(0, made.done - since.done) / (seconds - since.seconds)
    return LiveStatus(**{**vars(made), "rate": rate})


def _first(lost: Sequence[str], failures: Sequence[str]) -> tuple[str, ...]:
    more = len(failures) - _MOST_PROBLEMS
    return (*lost, *failures[:_MOST_PROBLEMS], *([f"and {counted(more, 'more reason')}"] if more > 0 else ()))


def _is_silent(one: Holder, since: LiveStatus | None, seconds: float) -> bool:
    """Whether the next run may take over from a holder: it has ended here, or has renewed nothing for a whole term."""
    if one.has_ended or since is None:
        return one.has_ended
    return one in since.holders and seconds - since.seconds >= TERM_S
