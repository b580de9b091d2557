"""Compare-and-swap: one small value that many processes change, of which one at a time wins.

`SwapCell.swap` replaces a value if it is still the one that was read. On object stores that is a conditional put; on
local disks a file whose number only one process can make, or a comparison under a lock of the kernel's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from rs_embed_dask.errors import StoreBusyError
from rs_embed_dask.store.durable import PARTIAL, locked_file
from rs_embed_dask.store.target import GUARD, Location, explained

__all__ = [
    "LostAnswerError",
    "NumberedFiles",
    "ObjectKey",
    "SwapCell",
    "Tag",
    "cell_of",
    "exchange",
    "lease_cell",
    "locked",
]

Tag: TypeAlias = Any
"""What tells one value of a cell from another; opaque to everyone but the cell."""


class LostAnswerError(Exception):
    """No answer came: the swap may have taken effect, may do so later, or never will."""


class SwapCell(Protocol):
    """One value that changes only by compare-and-swap."""

    def read(self) -> tuple[bytes, Tag] | None:
        """Return the value and its tag, or None before the first one."""

    def swap(self, tag: Tag | None, content: bytes) -> Tag | None:
        """Replace the value that has a tag (None: there is no value) and return the new tag; None if it has changed.

        Raises LostAnswerError, after which only reading tells.
        """


@dataclass(frozen=True)
class NumberedFiles:
    """A cell of numbered files: the next number can be made only once, on network file systems too."""

    folder: Path

    def read(self) -> tuple[bytes, Tag] | None:
        """Read the file with the highest number."""
        while numbers := self._numbers():
            try:
                return self._path(numbers[-1]).read_bytes(), numbers[-1]
            except FileNotFoundError:  # pruned meanwhile: a higher one is there
                continue
        return None

    def swap(self, tag: Tag | None, content: bytes) -> Tag | None:
        """Make the file with the next number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = 1 if tag is None else tag + 1
        draft = self.folder / f".{secrets.token_hex(8)}{PARTIAL}"
        try:
            with locked_file(draft) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    self._path(number).hardlink_to(draft)
                is_ours = draft.stat().st_nlink > 1  # over a network, the answer to the link itself may be lost
        finally:
            draft.unlink(missing_ok=True)
        numbers = self._numbers()
        if not is_ours or numbers[-1] != number:  # a number that was pruned, made anew by one who slept
            return None
        for old in numbers[:-_KEPT]:
            self._path(old).unlink(missing_ok=True)
        return number

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}"

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(name) for name in os.listdir(self.folder) if name.isdigit())  # noqa: PTH208  no objects
        except FileNotFoundError:
            return []


_KEPT: Final = 3
_TRIES: Final = 20
_SERVICE_FIX: Final = "check the credentials, and that the service is there and the bucket can be written"


@dataclass(frozen=True)
class ObjectKey:
    """A cell of an object store, changed by conditional puts."""

    service: Any
    key: str

    def read(self) -> tuple[bytes, Tag] | None:
        """Get the object."""
        obstore: Any = import_module("obstore")
        with explained("store key", self.key, _SERVICE_FIX):
            try:
                answer = obstore.get(self.service, self.key)
            except FileNotFoundError:
                return None
            return answer.bytes().to_bytes(), tag_of(answer.meta)

    def swap(self, tag: Tag | None, content: bytes) -> Tag | None:
        """Put the object, on condition."""
        obstore: Any = import_module("obstore")
        new_tag: Tag | None = None
        with explained("store key", self.key, _SERVICE_FIX), refusals() as refused:
            answer = obstore.put(self.service, self.key, content, mode=put_mode(tag), use_multipart=False)
            new_tag = tag_of(answer)
        if new_tag is None and not refused:
            raise LostAnswerError(self.key)
        return new_tag


def tag_of(meta: Any) -> Tag:
    """Return what a conditional put compares."""
    # A version that is None must be left out of the condition.
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def put_mode(tag: Tag | None) -> Any:
    """Return the mode of a put: only where there is nothing, or only over the value with this tag."""
    return "create" if tag is None else tag


@contextlib.contextmanager
def refusals() -> Iterator[list[BaseException]]:
    """Tell a put that was refused, which is listed, from one whose answer was lost, which is not."""
    errors: Any = import_module("obstore.exceptions")
    refused: list[BaseException] = []
    try:
        yield refused
    except (errors.AlreadyExistsError, errors.PreconditionError, FileNotFoundError) as error:
        refused.append(error)
    except errors.GenericError:
        return


@dataclass(frozen=True)
class LockedKey:
    """A cell that is one key of a store, compared under a lock."""

    location: Location
    key: str

    def read(self) -> tuple[bytes, Tag] | None:
        """Read the key."""
        content = self.location.read(self.key)
        return None if content is None else (content, hashlib.sha256(content).digest())

    def swap(self, tag: Tag | None, content: bytes) -> Tag | None:
        """Compare and write, under the key's lock."""
        with locked(self.location, self.key):
            current = self.read()
            if (None if current is None else current[1]) != tag:
                return None
            self.location.write(self.key, content)
        return hashlib.sha256(content).digest()


def cell_of(location: Location, key: str) -> SwapCell:
    """Return the cell of one key of a store."""
    return LockedKey(location, key) if location.service is None else ObjectKey(location.service, key)


def exchange(cell: SwapCell, content: bytes, *, over: bytes | None) -> bool:
    """Replace a value that is still what it was (None: there was none); return whether the new one is there."""
    for _ in range(_TRIES):
        found = cell.read()
        value, tag = (None, None) if found is None else found
        if value == content:  # written by a put whose answer was lost
            return True
        if value != over:
            return False
        with contextlib.suppress(LostAnswerError):
            if cell.swap(tag, content) is not None:
                return True
    return False


def lease_cell(location: Location) -> SwapCell:
    """Return the cell of a store's lease."""
    if location.folder is not None:
        return NumberedFiles(location.folder / GUARD / "record")
    return cell_of(location, f"{GUARD}/record.json")


_IN_PROCESS: Final[defaultdict[str, threading.RLock]] = defaultdict(threading.RLock)
_SLOTS: Final = 32
_PATIENCE_S: Final = 120.0
_FIRST_WAIT_S: Final = 0.002
_LONGEST_WAIT_S: Final = 0.1


@contextlib.contextmanager
def locked(location: Location, key: str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold the lock of a key: a lock of the kernel's on a local disk, which ends with its process."""
    folder = location.folder
    if folder is None:
        with _IN_PROCESS[location.name]:
            yield
        return
    # Few files however many keys: keys that share one wait for each other, which costs a write's time at most.
    slot = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=2).digest(), "little") % _SLOTS
    path = folder / GUARD / f"{slot:02d}.lock"
    fix = "make it writable, or choose another path; network file systems must support locks"
    with explained("store lock", str(path), fix):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never removed: whoever waits for it would wait for another file than the next one makes.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait_for(lambda: _taken(handle, path), location, patience_s)
        yield
    finally:
        os.close(handle)


def _taken(handle: int, path: Path) -> bool:
    fcntl: Any = import_module("fcntl")
    fix = "use a file system that supports locks"
    with explained("store lock", str(path), fix):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _wait_for(take: Callable[[], bool], location: Location, patience_s: float) -> None:
    end, pause = time.monotonic() + patience_s, _FIRST_WAIT_S
    while not take():
        if time.monotonic() > end:
            reason = f"another process has been writing the same rows for {patience_s:.0f} s, or hangs"
            fix = "end that process, and run again: nothing that is stored is lost"
            raise StoreBusyError("store", value=location.name, reason=reason, fix=fix)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT_S)
