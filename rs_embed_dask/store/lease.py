"""The lease of a store: who writes which chunks, so that two runs do not do the same work.

A lease saves work and makes the second run's message clear; that rows stay right is up to `fenced`, lease or not.

The record lists the holders. A holder puts a fresh nonce into its entry every few seconds. Another run takes over an
entry that it has seen *unchanged for a whole term on its own clock*, or whose process has ended on this very machine;
times of two machines are never compared. The holder counts from when its last confirmed renewal was sent. A swap whose
answer was lost is settled by reading: the entry with the own nonce says that it was done.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import json
import math
import numbers
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from rs_embed_dask.errors import SpecError, StoreBusyError, StoreError
from rs_embed_dask.store.receipt import strict_json
from rs_embed_dask.store.swap import LostAnswerError, lease_cell
from rs_embed_dask.store.target import explained

if TYPE_CHECKING:
    from rs_embed_dask.store.swap import SwapCell, Tag
    from rs_embed_dask.store.target import Location

__all__ = [
    "ALL_CHUNKS",
    "TERM_S",
    "ChunkRange",
    "Holder",
    "Lease",
    "chunk_range",
    "chunks_text",
    "holders_of",
    "leased",
    "seconds_to_wait",
]

TERM_S: Final = 60.0
"""How long an entry must stand unchanged before another run takes it over."""

_TRUST: Final = 0.7
_RENEWALS: Final = 6
_LOOK_S: Final = 2.0

ChunkRange: TypeAlias = tuple[int, int | None]
"""First chunk and the one after the last; None for all that follow."""

ALL_CHUNKS: Final[ChunkRange] = (0, None)


def chunk_range(chunks: object) -> ChunkRange:
    """Return the chunks that a caller names, all of them for None. Raises SpecError."""
    if chunks is None:
        return ALL_CHUNKS
    ends: list[Any] = [*chunks] if isinstance(chunks, tuple | list) else []
    start, stop = ends if len(ends) == len(ALL_CHUNKS) else [math.nan] * len(ALL_CHUNKS)
    is_whole = all(isinstance(end, numbers.Integral) and not isinstance(end, bool) for end in (start, stop or 0))
    if not is_whole or start < 0 or (stop is not None and stop <= start):
        reason = "it is not the first chunk and the one after the last, counted from 0"
        raise SpecError("chunks", value=chunks, reason=reason, fix="give two whole numbers, such as chunks=(0, 100)")
    return int(start), None if stop is None else int(stop)


def seconds_to_wait(wait: object) -> float:
    """Return the seconds that a caller is ready to wait; infinity is for ever. Raises SpecError."""
    seconds = math.nan if isinstance(wait, bool) or not isinstance(wait, numbers.Real) else float(wait)
    if seconds >= 0:
        return seconds
    raise SpecError(
        "wait", value=wait, reason="it is not a number of seconds from 0 on", fix="give for example wait=120"
    )


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _process_text(pid: int) -> str:
    """Name a process of this boot of this machine so that no other is ever named so; nothing where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  it is no path
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state[0] in "ZX" else f"{boot} {space} {pid} {state[19]}"


def _has_ended(process: str) -> bool:
    """Whether a process of this machine, named by `_process_text`, is gone. False where that cannot be told."""
    here, there = _process_text(os.getpid()).split(), process.split()
    return len(there) == len(here) == _WORDS and here[:2] == there[:2] and _process_text(int(there[2])) != process


_WORDS: Final = 4


@dataclass(frozen=True)
class Holder:
    """One entry of the record."""

    owner: str
    nonce: str
    who: str = ""
    since: str = ""
    process: str = ""
    chunks: ChunkRange = ALL_CHUNKS

    @property
    def has_ended(self) -> bool:
        """Whether its process ran on this machine and is gone."""
        return _has_ended(self.process)

    def overlaps(self, chunks: ChunkRange) -> bool:
        """Whether it holds one of the chunks."""
        (start, stop), (first, last) = self.chunks, chunks
        return (last is None or start < last) and (stop is None or first < stop)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote."""
        return cls(**(data | {"chunks": tuple(data["chunks"])}))


_SOMEONE: Final = Holder("", "", who="another run")


def _holders(content: bytes, place: str) -> tuple[Holder, ...]:
    try:
        return tuple(Holder.from_dict(one) for one in strict_json(content)["holders"])
    except (ValueError, KeyError, TypeError) as error:
        reason, fix = f"it is garbled ({error})", "remove the store's folder .lease, if no run is writing to the store"
        raise StoreError("lease", value=place, reason=reason, fix=fix) from error


def holders_of(location: Location) -> tuple[Holder, ...]:
    """Return who holds chunks of a store, or has died without letting go of them."""
    with explained("lease", location.name, "check that the path can be read"):
        found = lease_cell(location).read()
    return () if found is None else _holders(found[0], location.name)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"


# Entries that this process has seen, with when it first saw them: so a run that is refused, and tried again later, need
# not wait for a whole term once more.
_SEEN: Final[dict[tuple[str, str], tuple[str, float]]] = {}


_NEVER: Final = float("-inf")

_WARNED: Final[set[str]] = set()


@dataclass(eq=False)
class Lease:
    """A hold on some chunks of one store, by compare-and-swap only."""

    cell: SwapCell
    place: str
    chunks: ChunkRange = ALL_CHUNKS
    clock: Callable[[], float] = _clock
    make_id: Callable[[], str] = lambda: secrets.token_hex(8)
    term_s: float = TERM_S
    seen: dict[tuple[str, str], tuple[str, float]] = field(default_factory=lambda: _SEEN)
    lost_to: Holder | None = None
    _until: float = _NEVER

    def __post_init__(self) -> None:
        process = _process_text(os.getpid())
        self._me = Holder(self.make_id(), "", _who(), _now(), process, self.chunks)
        self._turn = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether nobody else can hold these chunks now."""
        return self.clock() < self._until

    def check(self) -> None:
        """Raise StoreBusyError if another run has taken over."""
        if self.lost_to is not None:
            raise self._busy(self.lost_to, "has taken over, because this run stood still for too long")

    def acquire(self) -> Holder | None:
        """Try once; return None for success, or who holds some of the chunks."""
        with self._turn:
            started = self.clock()  # before the read: what is read was there at this time or later
            tag, holders = self._read()
            blocking = self._rivals(holders)
            for one in blocking:
                if not self._is_stale(one, started):
                    return one
            kept = tuple(one for one in holders if one not in blocking and one.owner != self._me.owner)
            if self._swap(tag, kept, is_free=False):
                return None
            rivals = self._rivals(self._read()[1])
            return rivals[0] if rivals else _SOMEONE

    def renew(self) -> bool:
        """Confirm the hold; False if that could not be done now, and `lost_to` says who has taken over."""
        with self._turn:
            tag, holders = self._read()
            # The nonce may be another than the last one: an own swap took effect after its answer was given up.
            others = tuple(one for one in holders if one.owner != self._me.owner)
            if len(others) == len(holders):
                self._until = _NEVER
                self.lost_to = next(iter(self._rivals(holders)), _SOMEONE)
                return False
            return self._swap(tag, others, is_free=False)

    def narrow(self, chunks: ChunkRange) -> None:
        """Let go of all chunks but these, at the latest when the hold is next confirmed."""
        self._aim(chunks)
        for _ in range(_RENEWALS):
            if self.renew() or self.lost_to is not None:
                return

    def _aim(self, chunks: ChunkRange) -> None:
        with self._turn:
            self.chunks, self._me = chunks, replace(self._me, chunks=chunks)

    def release(self) -> None:
        """Let go: the entry is removed."""
        with self._turn:
            if self._until == _NEVER:
                return
            self._until = _NEVER
            for _ in range(_RENEWALS):
                tag, holders = self._read()
                others = tuple(one for one in holders if one.owner != self._me.owner)
                if len(others) == len(holders) or self._swap(tag, others, is_free=True):
                    return

    def _read(self) -> tuple[Tag | None, tuple[Holder, ...]]:
        found = self.cell.read()
        return (None, ()) if found is None else (found[1], _holders(found[0], self.place))

    def _rivals(self, holders: tuple[Holder, ...]) -> tuple[Holder, ...]:
        return tuple(one for one in holders if one.overlaps(self.chunks) and one.owner != self._me.owner)

    def _is_stale(self, one: Holder, started: float) -> bool:
        name = (self.place, one.owner)
        nonce, first_seen = self.seen.get(name, ("", 0.0))
        if nonce != one.nonce:
            self.seen[name] = (one.nonce, self.clock())  # after the read: the wait starts here
            return one.has_ended
        return started - first_seen >= self.term_s or one.has_ended

    def _swap(self, tag: Tag | None, others: tuple[Holder, ...], *, is_free: bool) -> bool:
        me = replace(self._me, nonce=self.make_id())
        # The nonce makes every record another one: on some services the tag is a digest of the content.
        record = {"nonce": me.nonce, "holders": [asdict(one) for one in (others if is_free else (*others, me))]}
        sent = self.clock()
        try:
            is_mine = self.cell.swap(tag, json.dumps(record).encode()) is not None
        except LostAnswerError:
            is_mine = False
        if not is_mine:  # refused, or no answer: a put that the client repeated is refused too
            holders = self._read()[1]
            # Others' entries may have changed since; the own entry tells.
            is_mine = me.owner not in {one.owner for one in holders} if is_free else me in holders
        if is_mine and not is_free:
            self._me, self._until = me, sent + _TRUST * self.term_s
        return is_mine

    def _busy(self, holder: Holder, reason: str) -> StoreBusyError:
        since = f", since {holder.since}" if holder.since else ""
        text = f"{holder.who or 'another run'} {reason}{since}"
        waiting = 2 * self.term_s
        fix = (
            f"wait until it ends, with wait=SECONDS; a run that died elsewhere is taken over within {waiting:.0f} s "
            f"(wait={waiting:.0f})"
        )
        return StoreBusyError("store", value=self.place, reason=text, fix=fix)

    def wait_for(self, seconds: float, *, sleep: Callable[[float], object] = time.sleep) -> None:
        """Acquire at once or within some seconds. Raises StoreBusyError."""
        end = self.clock() + seconds
        while (holder := self.acquire()) is not None:
            left = end - self.clock()
            if left <= 0:
                raise self._busy(holder, f"is writing {chunks_text(holder.chunks)}")
            sleep(min(_LOOK_S, left))

    def choose(
        self, wanted: Callable[[], ChunkRange], seconds: float, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Acquire the chunks that are wanted, which may change until they are held. Raises StoreBusyError."""
        end = self.clock() + seconds

        def look(seconds: float) -> None:
            sleep(seconds)
            self._aim(wanted())

        while True:
            self._aim(wanted())
            self.wait_for(max(0.0, end - self.clock()), sleep=look)
            with contextlib.ExitStack() as otherwise:
                otherwise.callback(self.release)
                if wanted() == self.chunks:
                    otherwise.pop_all()
                    return


def chunks_text(chunks: ChunkRange) -> str:
    """Name some chunks after a verb."""
    start, stop = chunks
    if chunks == ALL_CHUNKS:
        return "to it"
    if stop == start + 1:
        return f"its chunk {start}"
    return f"its chunks from {start} on" if stop is None else f"its chunks {start} to {stop - 1}"


@contextlib.contextmanager
def leased(
    location: Location,
    *,
    chunks: ChunkRange | Callable[[], ChunkRange] = ALL_CHUNKS,
    wait: float = 0.0,
    guard: Callable[[], None] = lambda: None,
) -> Iterator[Lease]:
    """Hold the chunks of a store for as long as a run takes; the lease is renewed in a thread of its own.

    Which chunks those are may depend on what other runs do meanwhile: then a function says it.

    Raises StoreBusyError, at once or after `wait` seconds, and StoreError where nothing can be written; and whatever
    `guard` raises, which is called every two seconds of waiting.
    """

    def sleep(seconds: float) -> None:
        guard()
        time.sleep(seconds)

    _warn_of_locks(location)
    wanted = chunks if callable(chunks) else lambda: chunks
    lease = Lease(lease_cell(location), location.name)
    with explained("store", location.name, "choose a place where a folder can be made and written"):
        lease.choose(wanted, wait, sleep=sleep)
    is_over = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, is_over), name="rs-embed-dask lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        is_over.set()
        thread.join()
        with contextlib.suppress(StoreError, OSError):  # it is taken over in a minute, then
            lease.release()


def _warn_of_locks(location: Location) -> None:
    if location.is_locked_in_process and location.name not in _WARNED:
        _WARNED.add(location.name)
        message = (
            f"{location.name}: locks of such a place hold inside one process only; let one run at a time write to it, "
            "or use a local path, s3://, gs:// or az://"
        )
        warnings.warn(message, stacklevel=5)


def _keep(lease: Lease, is_over: threading.Event) -> None:
    """Renew until the run is over or another has taken over; a service that is away is asked again."""
    while not is_over.wait(lease.term_s / _RENEWALS) and lease.lost_to is None:
        with contextlib.suppress(StoreError, OSError):
            lease.renew()
