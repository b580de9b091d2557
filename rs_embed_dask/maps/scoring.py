"""Scores of a run: each block's sums as it is written, its edges for its neighbours, and what the store keeps."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from rs_embed_dask.errors import StoreError
from rs_embed_dask.maps.cosine import units
from rs_embed_dask.maps.lattice import UTM_GROUPS, Rect, lattice_for
from rs_embed_dask.maps.scores import ScoreSums, ZoneSums
from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.map_blocks import BlockSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.maps.lattice import Lattice
    from rs_embed_dask.maps.scores import MapScores
    from rs_embed_dask.maps.windows import Tiling

__all__ = ["LATTICE_BLOCKS", "BlockEdges", "BlockScore", "ScoreBook", "ZoneSample", "zone_sample"]

LATTICE_BLOCKS: Final = 64
"""Blocks of a pass whose vectors are added up by their position: enough to tell a share of 0.1 %."""

ZONE_STEP: Final = 16
"""Every how many tokens, along rows and columns, two zones are compared."""


# ----------------------------------------------------------------------------------------------------------- one block
@dataclass(frozen=True, eq=False)
class BlockEdges:
    """First and last rows and columns of a block's vectors, for the blocks below it and on its right."""

    columns: tuple[NDArray[np.float32], NDArray[np.float32]]
    """The first and the last, each (dim, rows, 1)."""
    rows: tuple[NDArray[np.float32], NDArray[np.float32]]
    """The first and the last, each (dim, 1, columns)."""

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Self:
        """Copy the edges of a block's vectors (dim, rows, columns)."""
        first, last = slice(0, 1), slice(-1, None)
        return cls(
            (vectors[:, :, first].copy(), vectors[:, :, last].copy()),
            (vectors[:, first].copy(), vectors[:, last].copy()),
        )


class ZoneSample(NamedTuple):
    """Vectors of places that two zones share: numbers of the western zone, row and column there, and side; (n, 4)."""

    places: NDArray[np.int64]
    vectors: NDArray[np.float32]
    """(n, dim), of length one."""

    @classmethod
    def none(cls, dim: int = 0) -> Self:
        """Return a sample without places."""
        return cls(np.zeros((0, 4), np.int64), np.zeros((0, dim), np.float32))

    def merged(self, other: ZoneSample) -> ZoneSample:
        """Return the places of both, each side of a place once, the newest."""
        if not len(other.places) or not len(self.places):
            return other if len(other.places) else self
        places = np.concatenate([other.places, self.places])
        _, first = np.unique(places, axis=0, return_index=True)
        return ZoneSample(places[first], np.concatenate([other.vectors, self.vectors])[first])

    @property
    def sums(self) -> ZoneSums:
        """Compare the places that both zones have."""
        sides: tuple[dict[tuple[int, ...], NDArray[np.float32]], ...] = ({}, {})
        for (*place, side), vector in zip(self.places.tolist(), self.vectors, strict=True):
            sides[side][tuple(place)] = vector
        west, east = sides
        both = sorted(west.keys() & east.keys())
        if not both:
            return ZoneSums()
        return ZoneSums.of(np.stack([west[p] for p in both], 1), np.stack([east[p] for p in both], 1))


@dataclass(frozen=True, eq=False)
class BlockScore:
    """What one block adds to the scores of a map."""

    sums: ScoreSums
    zones: ZoneSample
    edges: BlockEdges | None

    def beside(self, tiling: Tiling, rect: Rect, *, left: Self | None, above: Self | None) -> Self:
        """Compare the block at `rect` with the two before it; its edges are then done with."""
        sums = self.sums
        if self.edges is not None and left is not None and left.edges is not None:
            sums += ScoreSums.across(tiling, rect.left, 2, before=left.edges.columns, after=self.edges.columns[0])
        if self.edges is not None and above is not None and above.edges is not None:
            sums += ScoreSums.across(tiling, rect.top, 1, before=above.edges.rows, after=self.edges.rows[0])
        return replace(self, sums=sums, edges=None)


def zone_sample(lattice: Lattice, rect: Rect, vectors: NDArray[np.float32]) -> ZoneSample:
    """Take a block's vectors, whichever zone owns the ground, at the places where the next zone may have one too.

    A place is a token of the western zone's lattice; the eastern zone's vector is that of the token which its centre
    lies in.
    """
    samples = ZoneSample.none(len(vectors))
    if lattice.group not in UTM_GROUPS[:-2]:
        return samples
    # A block may be all its zone's and yet lie under the outermost tokens of the next zone's.
    near = Rect(*(edge + step * lattice.block for edge, step in zip(rect, (-1, -1, 1, 1), strict=True)))
    corners = (Rect(row, col, row + 1, col + 1) for row in near[::2] for col in near[1::2])
    if all(lattice.owned(corner).all() for corner in corners):
        return samples
    number = UTM_GROUPS.index(lattice.group)
    for west, side in ((number, 0), ((number - 1) % 60, 1)):
        western = lattice_for(UTM_GROUPS[west], lattice.token_m, lattice.block)
        at, rows, cols = _places(lattice, rect, western, is_western=side == 0)
        found = vectors[:, rows, cols].T
        there = np.isfinite(found).all(axis=1)
        places = np.column_stack([np.full(len(at), west), at, np.full(len(at), side)])[there]
        samples = samples.merged(ZoneSample(places, units(found[there].T).T))
    return samples


def _places(
    lattice: Lattice, rect: Rect, western: Lattice, *, is_western: bool
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """Return places of the western zone in a block, (n, 2), and their rows and columns in the block."""
    if is_western:
        around = rect
    else:
        x, y = project(WGS84, western.crs, *lattice.lonlat(rect))
        (top, left), (bottom, right) = western.index(x.min(), y.max()), western.index(x.max(), y.min())
        around = Rect(top, left, bottom + 1, right + 1)
    rows, cols = (
        np.arange(-(-first // ZONE_STEP) * ZONE_STEP, stop, ZONE_STEP)
        for first, stop in ((around.top, around.bottom), (around.left, around.right))
    )
    at = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)
    if is_western:
        inside = at - (rect.top, rect.left)
    else:
        token, (x0, y0) = western.token_m, western.origin
        lon, lat = project(western.crs, WGS84, x0 + (at[:, 1] + 0.5) * token, y0 - (at[:, 0] + 0.5) * token)
        east, north = project(WGS84, lattice.crs, lon, lat)
        (x0, y0), token = lattice.origin, lattice.token_m
        inside = np.stack([np.floor((y0 - north) / token) - rect.top, np.floor((east - x0) / token) - rect.left], 1)
    fits = ((inside >= 0) & (inside < rect.shape)).all(axis=1)
    inside = inside[fits].astype(np.intp)
    return at[fits], inside[:, 0], inside[:, 1]


# ------------------------------------------------------------------------------------------------------------- a map
@dataclass
class ScoreBook:
    """The sums of one model's scores over the blocks that passed by, in this run and in those before."""

    blocks: int = 0
    sums: ScoreSums = field(default_factory=ScoreSums.none)
    zones: ZoneSample = field(default_factory=ZoneSample.none)
    counted: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    """The blocks that the sums are of, by group and span."""

    def add(self, one: BlockScore, where: str, block: tuple[int, int]) -> None:
        """Add a block of a group and span. One that was repaired has the vectors that were counted before."""
        self.zones = self.zones.merged(one.zones)
        counted = self.counted[where]
        if block not in counted:
            counted.add(block)
            self.blocks += 1
            self.sums += one.sums

    @property
    def scores(self) -> MapScores:
        """The scores so far."""
        return replace(self.sums.scores(self.zones.sums), blocks=self.blocks)

    def to_bytes(self) -> bytes:
        """Write the sums for the store."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {f"sums_{name}": values for name, values in self.sums.arrays().items()}
        counted = json.dumps({where: BlockSet.of(some).to_text() for where, some in self.counted.items()})
        arrays |= {"places": self.zones.places, "vectors": self.zones.vectors}
        np.savez(file, blocks=self.blocks, counted=counted, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Self:
        """Read what `to_bytes` wrote. Raises StoreError."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name.removeprefix("sums_"): file[name] for name in file.files if name.startswith("sums_")}
                zones = ZoneSample(file["places"], file["vectors"])
                book = cls(int(file["blocks"]), ScoreSums.from_arrays(arrays), zones)
                for where, some in json.loads(str(file["counted"])).items():
                    book.counted[where] |= set(BlockSet.from_text(some))
                return book
        except (OSError, ValueError, KeyError, EOFError) as error:
            fix = "delete the file: the scores begin anew with the next block"
            raise StoreError("map scores", value=place, reason=f"they cannot be read ({error})", fix=fix) from error
