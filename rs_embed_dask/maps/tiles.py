"""What becomes of one tile: its windows embedded and added up, and the block that the sums make. Nothing of Dask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.engine.embedder import EmbedInput, resident
from rs_embed_dask.engine.reading import error_line
from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.checks import issues_text, reports_of
from rs_embed_dask.maps.blend import divided, placed, summed, weights_of
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.pieces import PixelPart, crop, fault_of, joined, no_imagery
from rs_embed_dask.specs import InputPrep, OutputSpec
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from rs_embed_dask.engine.embedder import Embedded
    from rs_embed_dask.engine.recipe import Recipe
    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.maps.windows import Tiling

__all__ = [
    "BlockField",
    "Quality",
    "TileArea",
    "TileSums",
    "TileVectors",
    "block_field",
    "embed_windows",
    "tile_sums",
    "tile_vectors",
]

_GRID: Final = OutputSpec.grid()
_WHOLE_WINDOW: Final = InputPrep.resize()
_BRIEFLY_S: Final = 0.01
_WHOLE: Final = 0.9


@dataclass(frozen=True, eq=False)
class Quality:
    """What was observed at each token of a block; every array is (rows, columns)."""

    valid_fraction: NDArray[np.float32]
    n_obs: NDArray[np.int32]
    first_date: NDArray[np.datetime64]
    last_date: NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class TileSums:
    """Weighted sums of a tile's vectors, or of a strip of them, and why some windows are missing."""

    rect: Rect
    total: NDArray[np.float32] | None
    faults: tuple[tuple[Rect, Status, str], ...] = ()
    quality: Quality | None = None
    scenes: tuple[str, ...] = ()
    windows: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    weights: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    missing: str = ""

    def cut(self, rect: Rect) -> TileSums:
        """Copy the part that a neighbouring block takes."""
        total = None if self.total is None else self.total[:, *rect.within(self.rect)].copy()
        faults = tuple(fault for fault in self.faults if 0 not in (fault[0] & rect).shape)
        return TileSums(rect, total, faults)


@dataclass(frozen=True, eq=False)
class BlockField:
    """A finished block: its vectors (dim, rows, columns), or why there are none."""

    status: Status
    vectors: NDArray[np.float32] | None
    quality: Quality | None
    reason: str = ""
    scenes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TileArea:
    """A tile of one model, in its tokens.

    `own` is the block to be written, None where the tile only serves others; `field` is what the windows need, `grid`
    its pixels on the ground, and `starts` are the first rows and columns of the windows. `is_sampled` says whether the
    block's vectors are added up by their position in the window, for the scores; `dim` how many numbers of a vector are
    kept.
    """

    tiling: Tiling
    own: Rect | None
    field: Rect
    starts: tuple[range, range]
    grid: Grid
    dim: int
    is_sampled: bool = False


@dataclass(frozen=True, eq=False)
class TileVectors:
    """The vectors of a tile's windows, (windows, dim, window, window), and what is known of their pixels."""

    vectors: NDArray[np.float32] | None
    faults: tuple[tuple[Rect, Status, str], ...]
    quality: Quality | None
    scenes: tuple[str, ...]
    windows: int = 0
    seconds: float = 0.0
    note: str = ""
    missing: str = ""
    """Why there are no pixels at all."""


def tile_vectors(
    recipe: Recipe,
    label: str,
    area: TileArea,
    *,
    pieces: Sequence[PixelPart],
    leave: Callable[[], None] = lambda: None,
) -> TileVectors:
    """Embed the windows of a tile; `pieces` hold the pixels of its field."""
    tiling, over, starts = area.tiling, area.field, area.starts
    px = tiling.patch_px
    pixels = over.scaled(px)
    cubes, faults, missing = {}, [], ""
    for number, need in recipe.needs(label):
        failed = fault_of(pieces, number, pixels)
        if failed is not None:
            faults.append((over, failed.status, str(failed.error)))
        cube = joined(pieces, number, over=pixels, grid=area.grid)
        if cube is not None:
            cubes[need.modality] = cube.select(bands=need.bands)
        elif absent := no_imagery(pieces, number):
            missing = absent.reason
    quality, note = None, ""
    if recipe.check_input and area.own is not None:
        own = area.own.scaled(px)
        note = issues_text(reports_of({name: crop(cube, pixels, own) for name, cube in cubes.items()}))
    if area.own is not None and cubes:
        quality = _quality(list(cubes.values()), area.own.within(over, px), (area.own.shape, px))
    scenes = tuple(dict.fromkeys(scene for cube in cubes.values() for scene in cube.scenes))
    if faults or not cubes or not len(starts[0]) * len(starts[1]):
        return TileVectors(None, tuple(faults), quality, scenes, note=note, missing="" if cubes else missing)
    windows = [Rect(row, col, row + tiling.window, col + tiling.window) for row in starts[0] for col in starts[1]]
    inputs = [{name: crop(cube, pixels, rect.scaled(px)) for name, cube in cubes.items()} for rect in windows]
    vectors, errors, seconds = embed_windows(recipe, label, inputs, size=tiling.window, leave=leave)
    faults = [(windows[place], Status.MODEL_FAILED, reason) for place, reason in errors.items()]
    if vectors is not None:
        vectors = vectors[:, : area.dim]
        seen = _seen(list(cubes.values()), over.shape, px)
        for one, rect in zip(vectors, windows, strict=True):
            one[:, ~seen[rect.within(over)]] = np.nan  # what no pixel shows is the network's guess
    return TileVectors(vectors, tuple(faults), quality, scenes, len(windows), seconds, note)


def tile_sums(
    recipe: Recipe,
    label: str,
    area: TileArea,
    *,
    pieces: Sequence[PixelPart],
    removed: NDArray[np.float32] | None = None,
    leave: Callable[[], None] = lambda: None,
) -> TileSums:
    """Embed the windows of a tile and add them up.

    `removed` (dim, window, window) is what the position in the window adds to a token; it is taken away before
    windows are blended, which is right also where some windows have no vector.
    """
    tile = tile_vectors(recipe, label, area, pieces=pieces, leave=leave)
    total = None
    if tile.vectors is not None:
        vectors = tile.vectors if removed is None else tile.vectors - removed
        total = summed(vectors, area.starts, over=area.field, weights=weights_of(area.tiling))
    entry = recipe.entry[label]
    is_loaded = tile.windows > 0
    weights = dict(resident(entry.key, entry.load, recipe.batch_items).model.result().weights_info) if is_loaded else {}
    return TileSums(
        area.field,
        total,
        tile.faults,
        tile.quality,
        tile.scenes,
        tile.windows,
        tile.seconds,
        pieces[-1].seconds,
        weights,
        tile.note,
        tile.missing,
    )


def embed_windows(
    recipe: Recipe,
    label: str,
    inputs: Sequence[Mapping[str, Cube]],
    *,
    size: int,
    leave: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.float32] | None, dict[int, str], float]:
    """Embed windows by the resident model; vectors (windows, dim, size, size), reasons of failed windows, seconds."""
    entry = recipe.entry[label]
    embedder = resident(entry.key, entry.load, recipe.batch_items)
    futures: list[Future[Embedded]] = [embedder.submit(EmbedInput(cubes, _GRID, _WHOLE_WINDOW)) for cubes in inputs]
    if wait(futures, timeout=_BRIEFLY_S).not_done:
        leave()
    answers = [future.result() for future in futures]
    errors = {
        place: error_line(answer.result)
        for place, answer in enumerate(answers)
        if isinstance(answer.result, BaseException) and not isinstance(answer.result, NoImageryError)
    }
    grids = {place: answer.result.values for place, answer in enumerate(answers) if hasattr(answer.result, "values")}
    seconds = sum(answer.seconds for answer in answers)
    if not grids:
        return None, errors, seconds
    dim = len(next(iter(grids.values())))
    vectors = np.full((len(inputs), dim, size, size), np.nan, dtype=np.float32)
    for place, values in grids.items():
        if values.shape[1:] != (size, size):
            errors[place] = f"the model gave {values.shape[1]} x {values.shape[2]} tokens for {size} x {size}"
            continue
        vectors[place] = values
    return vectors, errors, seconds


def _seen(cubes: Sequence[Cube], shape: tuple[int, int], px: int) -> NDArray[np.bool_]:
    """Return which tokens have a valid pixel, in any frame of any modality; (rows, columns)."""
    rows, cols = shape
    there = np.logical_or.reduce([np.isfinite(cube.values).any((0, 1)) for cube in cubes])
    return np.asarray(there.reshape(rows, px, cols, px).any((1, 3)))


def _quality(cubes: Sequence[Cube], where: tuple[slice, slice], cells: tuple[tuple[int, int], int]) -> Quality:
    """Return what was observed at each token of a block; `cells` is its shape in tokens and their side in pixels."""
    (rows, cols), px = cells
    valid, count = np.zeros((rows, cols)), 0
    n_obs = np.zeros((rows, cols), np.int32)
    first = np.full((rows, cols), np.datetime64("NaT"), "datetime64[D]")
    last = first.copy()
    for cube in cubes:
        there = np.isfinite(cube.values[..., *where]).mean((0, 1))
        valid += there.reshape(rows, px, cols, px).mean((1, 3)) * cube.values.shape[0]
        count += cube.values.shape[0]
        seen = cube.n_obs[..., *where].reshape(-1, rows, px, cols, px).max((2, 4))
        n_obs += seen.sum(0, dtype=np.int32)
        for frame, days in zip(seen > 0, cube.dates, strict=True):
            if days is not None:
                begin, end = (np.datetime64(day, "D") for day in days)
                first = np.where(frame, np.fmin(first, begin), first)
                last = np.where(frame, np.fmax(last, end), last)
    return Quality((valid / count).astype(np.float32), n_obs, first, last)


def block_field(block: Rect, sums: Sequence[TileSums]) -> BlockField:
    """Blend what the tiles around a block give to it.

    Parameters
    ----------
    block : Rect
        The block, in tokens.
    sums : sequence of TileSums
        Corner, top and left strips, where there are any, and the block's own tile last: the order of addition, so
        that equal parts give equal bits whatever the region.

    Returns
    -------
    BlockField
    """
    own = sums[-1]
    faults = [fault for one in sums for fault in one.faults if 0 not in (fault[0] & block).shape]
    if faults:
        _, status, reason = min(faults, key=lambda fault: fault[1])
        return BlockField(status, None, own.quality, reason, own.scenes)
    parts = [(one.rect, one.total) for one in sums if one.total is not None]
    vectors = divided(placed(parts, block)) if parts else None
    if vectors is None or not np.isfinite(vectors).any():
        reason = own.missing or "no window has a valid observation"
        return BlockField(Status.NO_DATA, None, own.quality, reason, own.scenes)
    status, reason = _completeness(vectors, own.quality)
    return BlockField(status, vectors, own.quality, "; ".join(filter(None, (reason, own.note))), own.scenes)


def _completeness(vectors: NDArray[np.float32], quality: Quality | None) -> tuple[Status, str]:
    """Return whether a block is OK or PARTIAL, and what is missing."""
    without = 1.0 - float(np.isfinite(vectors[0]).mean())
    missing = 1.0 if quality is None else 1.0 - float(quality.valid_fraction.mean())
    parts = [f"{100 * without:.0f} % of the tokens without a vector"] if without > 0 else []
    if missing > 1 - _WHOLE:
        parts.append(f"{100 * missing:.0f} % of the pixels missing")
    return (Status.PARTIAL, "; ".join(parts)) if parts else (Status.OK, "")
