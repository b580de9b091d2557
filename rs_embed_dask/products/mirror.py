"""Where a product's files lie: an address or a folder, and the tables that list them."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.products.cache import Cache, damaged, download, short
from rs_embed_dask.providers.ranges import AbsentError, Access, read_range

__all__ = ["Mirror", "Table", "forget_tables", "mirror_of"]

_TABLES: Final = 16

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Mirror:
    """A place with a product's files.

    Parameters
    ----------
    base_url : str
        http(s) address, ``file://`` address or path of a folder.
    cache : Cache
        Keeps tables and whole files that come over HTTP.
    access : Access
        How patiently files are asked for.
    """

    base_url: str
    cache: Cache = field(default_factory=Cache)
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        scheme = urlsplit(self.base_url).scheme
        if scheme in {"", "file"}:
            path = url2pathname(urlsplit(self.base_url).path) if scheme else self.base_url
            object.__setattr__(self, "base_url", str(Path(path).expanduser().resolve()))
        elif scheme not in {"http", "https"}:
            fix = "give the https address of the bucket, or a folder"
            raise SpecError("base_url", value=self.base_url, reason=f"cannot read {scheme}:// addresses", fix=fix)

    @property
    def is_remote(self) -> bool:
        """Whether files come over HTTP."""
        return self.base_url.startswith(("http://", "https://"))

    def href(self, tail: str) -> str:
        """Return the address of a file."""
        return f"{self.base_url.rstrip('/')}/{tail}"

    def kept(self, tail: str, mark: object = "") -> str:
        """Return the name of a file in the cache; `mark` tells its states apart."""
        return f"{short(self.base_url)}/{short(str(mark))}/{tail}"

    def table(self, tail: str, *, needs: tuple[str, ...], more: tuple[str, ...] = (), year: int) -> Table | None:
        """Return the rows of one year of a table of files, or None where there is no such table.

        Parameters
        ----------
        tail : str
            Parquet or CSV, with a column ``year``.
        needs, more : tuple of str
            Columns that it must have, and those that it may.

        Raises
        ------
        ProviderError
            Where it cannot be read.
        """
        size = _size(self, tail)
        return None if size is None else _table(self, tail, size, columns=(needs, more), year=year)


def mirror_of(options: Mapping[str, Any]) -> Mirror:
    """Make the mirror that the options of a card name."""
    return Mirror(str(options["base_url"]), Cache(str(options["cache"]), float(options["cache_gb"])))


@functools.lru_cache(maxsize=256)
def _size(mirror: Mirror, tail: str) -> int | None:
    """Ask for a file's size, once in a process; None where it is not there."""
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
        return mirror.cache.use(mirror.kept(tail, size), fetch, read, size=size)
    return read(Path(href))


def _parquet(path: Path, columns: tuple[tuple[str, ...], tuple[str, ...]], year: int) -> Table:
    from pyarrow import parquet
    from pyarrow.types import is_string as is_text

    has = set(parquet.read_schema(path).names)
    wanted = [name for name in (*columns[0], *columns[1]) if name in has or name in columns[0]]
    rows = parquet.read_table(path, columns=wanted, filters=[("year", "==", year)])
    # texts stay as they are in Arrow: a million of them as Python's would take hundreds of megabytes
    return {name: rows[name] if is_text(rows[name].type) else rows[name].to_numpy() for name in wanted}


def _csv(path: Path, columns: tuple[tuple[str, ...], tuple[str, ...]], year: int) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        csv.field_size_limit(2**24)
        rows = csv.DictReader(file)
        has = set(rows.fieldnames or ())
        wanted = [name for name in (*columns[0], *columns[1]) if name in has or name in columns[0]]
        picked = [[row[name] for name in wanted] for row in _of_year(rows, year)]
    return {name: np.array([row[at] for row in picked], dtype=object) for at, name in enumerate(wanted)}


def _of_year(rows: csv.DictReader[str], year: int) -> Iterator[dict[str, str]]:
    wanted = str(year)
    return (row for row in rows if row["year"] == wanted)


def forget_tables() -> None:
    """Drop every table that this process holds, as a new one would have none."""
    _size.cache_clear()
    _table.cache_clear()
