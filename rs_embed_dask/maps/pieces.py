"""Pixels of a map on their way: what one read brought, the strips cut from it, and the field put together of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rs_embed_dask.engine.areas import SearchArea
from rs_embed_dask.engine.reading import PLUGIN_FAULTS, CubeRead, read_pixels
from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.cube import Cube, Dates, Read
from rs_embed_dask.maps.blend import pasted
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.providers.handed import Before, HandedBytes, fetched_first
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.maps.lattice import Lattice
    from rs_embed_dask.specs import TemporalSpec

__all__ = ["PixelPart", "ReadArea", "crop", "fault_of", "first_bytes", "joined", "no_imagery", "read_piece"]

_MISSING: Final = (Status.OK, Status.NO_DATA)


@dataclass(frozen=True)
class ReadArea:
    """A rectangle of a pixel lattice that a task reads, which tasks come before it, and in which area it lies."""

    rect: Rect
    before: Before
    search: SearchArea


@dataclass(frozen=True, eq=False)
class PixelPart:
    """Pixels over a rectangle of a pixel lattice, by the number of their group in the recipe."""

    rect: Rect
    reads: Mapping[int, CubeRead]
    seconds: float = 0.0
    """How long the reads took; none for what was cut out."""

    def __sizeof__(self) -> int:
        """Return the bytes of the arrays, for Dask moves and spills by size."""
        cubes = (read.value for read in self.reads.values() if read.value is not None)
        return sum(cube.values.nbytes + cube.n_obs.nbytes for cube in cubes)

    def cut(self, rect: Rect) -> PixelPart:
        """Copy a part: a view would keep, and send, the whole."""
        reads = {
            number: read if read.value is None else replace(read, value=crop(read.value, self.rect, rect, copy=True))
            for number, read in self.reads.items()
        }
        return PixelPart(rect, reads)


def crop(cube: Cube, outer: Rect, rect: Rect, *, copy: bool = False) -> Cube:
    """Return the part of a cube over `outer` that lies under `rect`."""
    rows, cols = rect.within(outer)
    a, b, c, d, e, f = cube.read.grid.transform
    moved = (a, b, c + a * cols.start, d, e, f + e * rows.start)
    grid = replace(cube.read.grid, transform=moved, shape=rect.shape)
    values, n_obs = cube.values[..., rows, cols], cube.n_obs[..., rows, cols]
    if copy:
        values, n_obs = values.copy(), n_obs.copy()
    return Cube(values, n_obs, replace(cube.read, grid=grid), cube.scenes, cube.dates)


def read_piece(
    recipe: Recipe, lattice: Lattice, labels: Sequence[str], *, rect: Rect, temporal: TemporalSpec
) -> PixelPart:
    """Read a rectangle of a pixel lattice for some models of a recipe, each collection once."""
    grid = lattice.grid(rect)
    reads: dict[int, CubeRead] = {}
    seconds = 0.0
    for visit in recipe.visits(labels):
        asked = _asked(recipe, visit, labels, grid, temporal)
        seed = f"{lattice.group}/{rect.top}/{rect.left}/{asked[0].sensor}"
        results = read_pixels(recipe.provider, asked, recipe.retry, seed=seed)
        reads |= zip(visit, results, strict=True)
        seconds += results[0].seconds
    return PixelPart(rect, reads, seconds)


def _asked(
    recipe: Recipe, visit: Sequence[int], labels: Sequence[str], grid: Grid, temporal: TemporalSpec
) -> list[Read]:
    groups = [recipe.groups[number].only(labels) for number in visit]
    return [Read(grid, one.sensor, one.bands, one.spans(temporal), one.fetch) for one in groups]


def fault_of(pieces: Sequence[PixelPart], number: int, rect: Rect) -> CubeRead | None:
    """Return a read of a group that failed where pixels of a rectangle were needed."""
    touching = (piece.reads[number] for piece in pieces if 0 not in (piece.rect & rect).shape)
    return next((read for read in touching if read.status not in _MISSING), None)


def first_bytes(
    recipe: Recipe, lattice: Lattice, labels: Sequence[str], *, area: ReadArea, temporal: TemporalSpec
) -> HandedBytes:
    """Fetch the compressed bytes that begin in a rectangle, placed in the lattice's pixels."""
    grid = lattice.grid(area.rect)
    asked = (_asked(recipe, visit, labels, grid, temporal) for visit in recipe.visits(labels))
    try:
        parts = [fetched_first(recipe.provider, reads, area.before) for reads in asked]
    except PLUGIN_FAULTS:
        return HandedBytes()  # the read itself meets what is wrong, tries again, and says so
    handed = HandedBytes.joined(parts).moved(area.rect.top, area.rect.left)
    return replace(handed, seconds=sum(part.seconds for part in parts))


def joined(pieces: Sequence[PixelPart], number: int, *, over: Rect, grid: Grid) -> Cube | None:
    """Put the cube of one group together from pieces; NaN where nothing was observed, None where nothing was at all."""
    there = [(piece.rect, cube) for piece in pieces if (cube := piece.reads[number].value) is not None]
    if not there:
        return None
    first = there[0][1]
    values = pasted([(rect, cube.values) for rect, cube in there], over, pixels=1)
    n_obs = pasted([(rect, cube.n_obs) for rect, cube in there], over, pixels=1)
    scenes = tuple(dict.fromkeys(scene for _, cube in there for scene in cube.scenes))
    return Cube(values, n_obs, replace(first.read, grid=grid), scenes, _dates([cube.dates for _, cube in there]))


def _dates(parts: Sequence[Dates]) -> Dates:
    """Return first and last day of each frame over all pieces."""
    frames = []
    for pairs in zip(*parts, strict=True):
        days = [day for pair in pairs if pair is not None for day in pair]
        frames.append((min(days), max(days)) if days else None)
    return tuple(frames)


def no_imagery(pieces: Sequence[PixelPart], number: int) -> NoImageryError | None:
    """Return why a group has no pixels at all."""
    errors = (piece.reads[number].error for piece in pieces)
    return next((error for error in errors if isinstance(error, NoImageryError)), None)
