"""Bytes in place of a map's vectors, by which a search rules out most of them before it reads any.

Each direction is kept as int8 with its scale and with how far off that is. The cosine with a query is then known to
within this distance, so that what cannot be among the best is left out for certain, and the rest is read and compared
exactly: the result is that of comparing everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import dask.array as da
import numpy as np
import zarr
from dask.delayed import delayed

from rs_embed_dask.analysis.blocks import Portion, computed, field_portions
from rs_embed_dask.analysis.nearest import MARGIN, Nearest, nearest, normed
from rs_embed_dask.analysis.sources import stored_window
from rs_embed_dask.errors import StoreMismatchError
from rs_embed_dask.specs.base import local_path
from rs_embed_dask.store.document import explained
from rs_embed_dask.store.export.whole import whole_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.analysis.sources import MapSource

__all__ = ["Codes"]

_STEPS: Final = 127
_TILE: Final = 64  # the inner chunk of a map's blocks: what is read at least
_MADE_OF: Final = "made_of"


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of some fields, in the order of their blocks; one chunk a block."""

    path: Path
    source: MapSource
    portions: tuple[Portion, ...]

    @staticmethod
    def folder(codes: object) -> Path | None:
        """Return where codes are kept, of what a user gives for it; None where nothing is given."""
        fix = "give a folder on this machine, or leave it out"
        return None if codes is None else local_path("codes", codes, fix=fix)

    @classmethod
    def at(cls, path: Path, source: MapSource, *, client: Client | None = None) -> Self:
        """Open the codes of fields, or make them where there are none.

        Raises StoreMismatchError where there are those of other vectors.
        """
        codes, made_of = cls(path, source, tuple(field_portions(source.fields))), source.identity
        if not path.exists():
            with whole_folder(path) as partial_path:
                codes._make(partial_path, made_of, client)
        with explained("codes", str(path), "give another path, or delete it"):
            kept = zarr.open_group(path, mode="r").attrs.asdict().get(_MADE_OF)
        if kept != made_of:
            fix = "give another path, or delete it: the codes are then made again"
            raise StoreMismatchError("codes", value=str(path), reason="they are of other vectors", fix=fix)
        return codes

    @property
    def _rows(self) -> int:
        return max(_count(one) for one in self.portions)

    def _make(self, path: Path, made_of: dict[str, Any], client: Client | None) -> None:
        rows, dim = self._rows, self.source.fields[0].dim
        group = zarr.open_group(path, mode="w", attributes={_MADE_OF: made_of})
        total = rows * len(self.portions)
        group.create_array("codes", shape=(total, dim), chunks=(rows, dim), dtype="int8")
        for name in ("scale", "error"):
            group.create_array(name, shape=(total,), chunks=(rows,), dtype="float32", fill_value=np.nan)
        places = (
            Portion(one.vectors, one.number, one.window, {"first": rows * at}) for at, one in enumerate(self.portions)
        )
        for _ in computed(partial(_encoded, path=str(path)), places, client):
            pass

    def nearest(self, query: NDArray[Any], k: int, *, client: Client | None = None) -> Nearest:
        """Return what `nearest` of all vectors returns, having read those that may be among the best."""
        found = np.empty(0, np.int64), np.empty(0), np.empty(0)
        task = partial(_likely, query=normed(query), k=k)
        for portion, (rows, low, high) in computed(task, self._coded(), client):
            parts = portion.given["first"] + rows, low, high
            found = _pruned(*(np.concatenate(pair) for pair in zip(found, parts, strict=True)), k=k)
        return nearest(query, self._tiles(found[0]), k, client=client)

    def _coded(self) -> Iterator[Portion]:
        arrays = [da.from_zarr(str(self.path), component=name) for name in ("codes", "scale", "error")]
        for at, one in enumerate(self.portions):
            part = slice(at * self._rows, at * self._rows + _count(one))
            yield Portion(tuple(array[part] for array in arrays), one.number, one.window, {"first": part.start})

    def _tiles(self, rows: NDArray[np.int64]) -> Iterator[Portion]:
        """Go through the tiles of the fields that hold some vectors, given by their rows in the codes, in order."""
        read = delayed(stored_window, pure=False, traverse=False)
        for at in np.unique(rows // self._rows).tolist():
            one = self.portions[at]
            top, left = one.window[0], one.window[-1]
            inside = rows[rows // self._rows == at] % self._rows
            width = left.stop - left.start
            tiles = np.unique(np.stack([inside // width // _TILE, inside % width // _TILE], axis=1), axis=0)
            for i, j in (tiles * _TILE).tolist():
                across = slice(left.start + j, min(left.start + j + _TILE, left.stop))
                down = slice(top.start + i, min(top.start + i + _TILE, top.stop))
                # Not from the tree: its chunks are whole blocks, and would be read whole.
                tile = read(self.source.view, **self.source.place(one.number, down, across))
                yield Portion((tile,), one.number, (down, across))


def _count(portion: Portion) -> int:
    return int(np.prod([one.stop - one.start for one in portion.window]))


def _encoded(vectors: NDArray[Any], *, first: int, path: str, **_: Any) -> None:
    """Write the codes of one block."""
    units = normed(vectors.reshape(len(vectors), -1).T)
    scale = (np.abs(units).max(axis=1) / _STEPS).astype(np.float32)
    codes = np.nan_to_num(np.rint(units / scale[:, None])).astype(np.int8)
    group = zarr.open_group(path, mode="r+")
    values = {"codes": codes, "scale": scale, "error": np.linalg.norm(units - codes * scale[:, None], axis=1)}
    for name, value in values.items():
        array: Any = group[name]
        array[first : first + len(value)] = value


def _likely(
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    error: NDArray[np.float32],
    *,
    query: NDArray[np.float64],
    k: int,
    **_: Any,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows of a block that may be among the best, with the least and the most that their cosine can be."""
    guess = (codes.astype(np.float32) @ query.astype(np.float32)).astype(np.float64) * scale
    rows = np.flatnonzero(np.isfinite(guess))
    off = error[rows] + MARGIN
    return _pruned(rows, guess[rows] - off, guess[rows] + off, k=k)


def _pruned(
    rows: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], *, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Leave out what at best is behind k others at their worst."""
    if len(rows) <= k:
        return rows, low, high
    kept = high >= np.partition(low, len(low) - k)[len(low) - k]
    return rows[kept], low[kept], high[kept]
