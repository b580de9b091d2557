"""Files kept on this machine: whole or not there at all, up to a size, the longest unused go first."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.providers.ranges import Access, read_range

__all__ = ["Cache", "download", "short"]

GIB: Final = 2**30
_PIECE: Final = 32 * 2**20
_ABANDONED_S: Final = 24 * 3600.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cache:
    """A folder of files that can be fetched again.

    Parameters
    ----------
    folder : str
        An absolute path or one in the home folder (``~``); "" is the user's cache folder. Never the current folder.
    limit_gb : float
        GiB that the files may take; what was not used for longest goes first.
    """

    folder: str = ""
    limit_gb: float = 20.0

    def __post_init__(self) -> None:
        if self.folder and not Path(self.folder).expanduser().is_absolute():
            fix = "give an absolute path, or leave it out for the user's cache folder"
            raise SpecError("cache", value=self.folder, reason="it depends on the current folder", fix=fix)
        if not self.limit_gb > 0:
            raise SpecError("cache_gb", value=self.limit_gb, reason="nothing would fit", fix="give GiB, such as 20.0")

    @property
    def root(self) -> Path:
        """The folder."""
        if self.folder:
            return Path(self.folder).expanduser()
        parts = ("Library", "Caches") if sys.platform == "darwin" else (".cache",)
        return Path.home().joinpath(*parts, "rs-embed-dask")

    def use(
        self, name: str, make: Callable[[Path], None], then: Callable[[Path], Result], *, size: int | None = None
    ) -> Result:
        """Do something with a file, after making it where it is not there or not of its size.

        Parameters
        ----------
        name : str
            Path inside the folder; another content needs another name.
        make : callable
            Writes the file to the path it is given; one process at a time does.
        then : callable
            Reads it; the file stays while this runs.
        size : int, optional
            Bytes of the whole file.
        """
        path = self.root / name
        self._folder_of(path)
        while True:
            with _locked(path, fcntl.LOCK_SH):
                if _is_whole(path, size):
                    os.utime(path)
                    return then(path)
            with _locked(path, fcntl.LOCK_EX):
                if not _is_whole(path, size):
                    _write(path, make)
            self._evict(path)

    def _folder_of(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "give a folder that can be written to with the option cache"
            reason = f"it cannot be made ({type(error).__name__})"
            raise ProviderError("cache", value=str(path.parent), reason=reason, fix=fix) from error

    def check(self, what: str, size: int) -> None:
        """Refuse a file that is larger than the whole cache. Raises ProviderError."""
        if size > self.limit_gb * GIB:
            reason = f"it takes {size / GIB:.2g} GiB and the cache holds {self.limit_gb:g}"
            raise ProviderError(what, reason=reason, fix="raise cache_gb")

    def _evict(self, keep: Path) -> None:
        """Remove what was not used for longest until the rest fits, but for one file and those in use."""
        found = []
        for path in self.root.rglob("*"):
            state = _stat(path)
            if state is None or not path.is_file() or path.suffix == ".lock":
                continue
            if path.suffix == ".part":
                if time.time() - state.st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)
                continue
            found.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit_gb * GIB:
                return
            if path != keep and _removed(path):
                total -= size


def _is_whole(path: Path, size: int | None) -> bool:
    state = _stat(path)
    return state is not None and size in {None, state.st_size}


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _write(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file beside its place and move it there whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        make(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _removed(path: Path) -> bool:
    """Remove a file unless someone is using it."""
    try:
        with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """Hold a file's lock, which other threads and processes of this machine see."""
    with path.with_name(f".{path.name}.lock").open("wb") as file:
        fcntl.flock(file, how)
        yield


def short(text: str) -> str:
    """Return a few characters that stand for a longer text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def download(href: str, path: Path, *, access: Access, cache: Cache, sha256: str = "", size: int | None = None) -> None:
    """Bring a whole file, a piece at a time.

    Raises
    ------
    ProviderError
        Where it is not there, larger than the cache, or not the file that its index describes.
    TransientError
        Where the faults outlast the patience.
    """
    name, digest, at = href.rpartition("/")[2], hashlib.sha256(), 0
    with path.open("wb") as file:
        while True:
            piece = read_range(href, at, _PIECE, access=access)
            cache.check(name, piece.size)
            if size not in {None, piece.size}:
                raise damaged(href, f"it has {piece.size} bytes, its index says {size}")
            file.write(piece.data)
            digest.update(piece.data)
            at = piece.stop
            if at >= piece.size:
                break
    if sha256 and digest.hexdigest() != sha256.lower():
        raise damaged(href, f"its sha256 begins with {digest.hexdigest()[:12]}, its index says {sha256[:12]}")


def damaged(href: str, reason: str) -> ProviderError:
    """Make the error for a file that is not what it should be."""
    fix = "try again, or read another mirror with base_url"
    return ProviderError(f"file {href.rpartition('/')[2]}", value=href, reason=reason, fix=fix)
