"""Where a product's files lie: an address or a folder, and the tables that list them."""

from __future__ import annotations

import csv
import fcntl
import functools
import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from rs_embed_dask.errors import ProviderError, SpecError
from rs_embed_dask.providers.addresses import plain_address
from rs_embed_dask.providers.heads import user_folder
from rs_embed_dask.providers.http import AbsentError, Access, read_range

__all__ = ["Cache", "Mirror", "Npy", "Table", "download", "mirror_of", "open_npy", "short"]

_HEAD: Final = 4096
_HEADERS: Final = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Npy:
    """An array in a file: plain numbers, row after row."""

    href: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def rows(self, first: int, stop: int, *, access: Access) -> NDArray[Any]:
        """Return the rows [first, stop)."""
        line = (self.size - self.start) // self.shape[0]
        piece = read_range(self.href, self.start + first * line, (stop - first) * line, access=access)
        if piece.size != self.size or len(piece.data) != (stop - first) * line:
            raise damaged(self.href, "it changed while it was read")
        return np.frombuffer(piece.data, self.dtype).reshape(stop - first, *self.shape[1:])


def open_npy(href: str, *, access: Access, size: int | None = None) -> Npy:
    """Read the head of a file and check that the file is whole."""
    piece = read_range(href, 0, _HEAD, access=access)
    head = io.BytesIO(piece.data)
    try:
        shape, is_fortran, dtype = _HEADERS[npy_format.read_magic(head)](head)
    except (ValueError, KeyError) as error:
        raise damaged(href, f"its head is not that of an array ({error})") from error
    if size not in {None, piece.size}:
        raise damaged(href, f"it has {piece.size} bytes, its index states {size}")
    if is_fortran or dtype.hasobject or len(shape) < 2 or 0 in shape:  # noqa: PLR2004 - rows and columns
        raise damaged(href, f"it holds {dtype} of shape {shape}, not an image")
    need = head.tell() + dtype.itemsize * int(np.prod(shape))
    if piece.size != need:
        raise damaged(href, f"it has {piece.size} bytes and its head promises {need}")
    return Npy(href, dtype.str, shape, head.tell(), piece.size)


GIB: Final = 2**30
_PIECE: Final = 32 * 2**20
_ABANDONED_S: Final = 24 * 3600.0
_LONGEST_LOCK_S: Final = 10.0
_LOCK_PAUSE_S: Final = 0.02

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cache:
    """A folder of files that can be fetched again."""

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
        try:
            return user_folder()
        except RuntimeError as error:
            fix = "set HOME to a folder that can be written to"
            raise ProviderError("cache", reason="this user has no home folder", fix=fix) from error

    def use(
        self, name: str, make: Callable[[Path], None], then: Callable[[Path], Result], *, size: int | None = None
    ) -> Result:
        """Use a file, after creating it where it is missing or of another size."""
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

    def update(self, name: str, content: Callable[[], str]) -> None:
        """Write a file anew, from what it holds now; no other thread or process does so meanwhile.

        Raises OSError, also where the file stays locked for seconds: its holder may be stopped.
        """
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = time.monotonic() + _LONGEST_LOCK_S
        while True:
            try:
                with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    return _write(path, lambda draft: draft.write_text(content(), encoding="utf-8"))
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise
                time.sleep(_LOCK_PAUSE_S)

    def _folder_of(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fix = "give a folder that can be written to with the option cache"
            reason = f"it cannot be created ({type(error).__name__})"
            raise ProviderError("cache", value=str(path.parent), reason=reason, fix=fix) from error

    def check(self, what: str, size: int) -> None:
        """Refuse a file that is larger than the whole cache. Raises ProviderError."""
        if size > self.limit_gb * GIB:
            reason = f"it takes {size / GIB:.2g} GiB and the cache holds {self.limit_gb:g}"
            raise ProviderError(what, reason=reason, fix="raise cache_gb")

    def _evict(self, keep: Path) -> None:
        """Remove what was not used for longest until the rest fits, but for one file and those in use."""
        files = []
        for path in self.root.rglob("*"):
            state = _stat(path)
            if state is None or not path.is_file() or path.suffix == ".lock":
                continue
            if path.suffix == ".part":
                if time.time() - state.st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)
                continue
            files.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
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


def _write(path: Path, make: Callable[[Path], object]) -> None:
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
    """Download a whole file, a piece at a time."""
    name, digest, at = href.rpartition("/")[2], hashlib.sha256(), 0
    with path.open("wb") as file:
        while True:
            piece = read_range(href, at, _PIECE, access=access)
            cache.check(name, piece.size)
            if size not in {None, piece.size}:
                raise damaged(href, f"it has {piece.size} bytes, its index states {size}")
            file.write(piece.data)
            digest.update(piece.data)
            at = piece.stop
            if at >= piece.size:
                break
    if sha256 and digest.hexdigest() != sha256.lower():
        raise damaged(href, f"its sha256 begins with {digest.hexdigest()[:12]}, its index states {sha256[:12]}")


def damaged(href: str, reason: str) -> ProviderError:
    """Return the error for a file that is not what it should be."""
    fix = "try again, or read another mirror with base_url"
    return ProviderError(f"file {href.rpartition('/')[2]}", value=href, reason=reason, fix=fix)


_TABLES: Final = 16

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Mirror:
    """A place with a product's files."""

    base_url: str
    cache: Cache = field(default_factory=Cache)
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        scheme = urlsplit(self.base_url).scheme
        if scheme in {"", "file"}:
            path = url2pathname(urlsplit(self.base_url).path) if scheme else self.base_url
            object.__setattr__(self, "base_url", str(Path(path).expanduser().resolve()))
        else:
            plain_address("base_url", self.base_url, fix="give the https address of the bucket, or a folder")

    @property
    def is_remote(self) -> bool:
        """Whether files come over HTTP."""
        return self.base_url.startswith(("http://", "https://"))

    @property
    def services(self) -> tuple[str, ...]:
        """Address that every read asks; none where the files are here."""
        return (self.base_url,) if self.is_remote else ()

    def href(self, tail: str) -> str:
        """Return the address of a file."""
        return f"{self.base_url.rstrip('/')}/{tail}"

    def cached_name(self, tail: str, mark: object = "") -> str:
        """Return the name of a file in the cache; `mark` distinguishes its states."""
        return f"{short(self.base_url)}/{short(str(mark))}/{tail}"

    def table(self, tail: str, *, needs: tuple[str, ...], more: tuple[str, ...] = (), year: int) -> Table | None:
        """Return the rows of one year of a table of files, or None where there is no such table."""
        size = _size(self, tail)
        return None if size is None else _table(self, tail, size, columns=(needs, more), year=year)


def mirror_of(options: Mapping[str, Any]) -> Mirror:
    """Return the mirror that the options of a card name."""
    return Mirror(str(options["base_url"]), Cache(str(options["cache"]), float(options["cache_gb"])))


@functools.lru_cache(maxsize=256)
def _size(mirror: Mirror, tail: str) -> int | None:
    """Request a file's size, once per process; None where it is not there."""
    try:
        return read_range(mirror.href(tail), 0, 1, access=mirror.access).size
    except AbsentError:
        return None


@functools.lru_cache(maxsize=_TABLES)
def _table(
    mirror: Mirror, tail: str, size: int, *, columns: tuple[tuple[str, ...], tuple[str, ...]], year: int
) -> Table:
    href = mirror.href(tail)

    def fetch(path: Path) -> None:
        download(href, path, access=mirror.access, cache=mirror.cache, size=size)

    def read(path: Path) -> Table:
        try:
            return _parquet(path, columns, year) if tail.endswith(".parquet") else _csv(path, columns, year)
        except (ValueError, KeyError, OSError) as error:
            raise damaged(href, f"it cannot be read as a table ({error})") from error

    if mirror.is_remote:
        return mirror.cache.use(mirror.cached_name(tail, size), fetch, read, size=size)
    return read(Path(href))


def _parquet(path: Path, columns: tuple[tuple[str, ...], tuple[str, ...]], year: int) -> Table:
    from pyarrow import parquet
    from pyarrow.types import is_string as is_text

    has = set(parquet.read_schema(path).names)
    names = [name for name in (*columns[0], *columns[1]) if name in has or name in columns[0]]
    rows = parquet.read_table(path, columns=names, filters=[("year", "==", year)])
    # texts stay as they are in Arrow: a million of them as Python's would take hundreds of megabytes
    return {name: rows[name] if is_text(rows[name].type) else rows[name].to_numpy() for name in names}


def _csv(path: Path, columns: tuple[tuple[str, ...], tuple[str, ...]], year: int) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        csv.field_size_limit(2**24)
        rows = csv.DictReader(file)
        has = set(rows.fieldnames or ())
        names = [name for name in (*columns[0], *columns[1]) if name in has or name in columns[0]]
        picked = [[row[name] for name in names] for row in _of_year(rows, year)]
    return {name: np.array([row[at] for row in picked], dtype=object) for at, name in enumerate(names)}


def _of_year(rows: csv.DictReader[str], year: int) -> Iterator[dict[str, str]]:
    text = str(year)
    return (row for row in rows if row["year"] == text)
