"""From scenes to a lazy cube: one Dask task per frame and block of the grid, from raw numbers to pixels.

A provider fetches the raw numbers of some scenes on a grid (`Fetch`), or returns a lazy table of them; what
follows is the same for all (`recipe`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.composite import frame_of
from rs_embed_dask.imagery.frame import FramePixels, FrameRecipe, Raw, make_frame, present_in, recipe_for
from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.imagery.layers import RawLayer, RawLayers
from rs_embed_dask.imagery.scenes import Scene, ordered

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr
    from dask.highlevelgraph import HighLevelGraph

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Source

__all__ = [
    "FRAMES",
    "NOTES",
    "REFUSED",
    "STATE",
    "Cut",
    "Fetch",
    "FramePixels",
    "FrameRecipe",
    "FrameTasks",
    "lazy_cube",
    "make_frame",
    "raw_cube",
    "recipe_for",
    "uncut",
]

Fetch = Callable[[Sequence[Scene], "Grid", tuple[tuple[str, ...], ...]], Raw]
"""Returns raw numbers (N, A, H, W) of N scenes on a grid. For each of A layers it gets the names of the assets that
may carry it, the preferred first; the last layer is the quality band, if one is read. NaN (or nodata) where a scene
has nothing."""

REFUSED: Final = "refused"
"""In a lazy cube's encoding: why the provider left out scenes before it read anything, a sequence of errors."""
NOTES: Final = "notes"
"""In a lazy cube's encoding: what its metadata contradict each other about, one text for each scene."""
FRAMES: Final = "frames"
"""In a lazy cube's encoding: the `FrameTasks` that it is made of."""
STATE: Final = "state"
"""In a lazy cube's encoding: the `ReadState` that knows why scenes were lost while they were read."""
Cut = tuple[int, ...]
"""Sizes of the blocks along an axis of a grid, in pixels."""
_BLOCK_PX: Final = 1024
_Keys = tuple[Any, ...]


@dataclass(frozen=True, eq=False, slots=True)
class BlockPlace:
    """Where a block of a frame belongs in the arrays of its cube: pixels (B, H, W) and counts (H, W)."""

    pixels: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]

    def filled(self, frame: FramePixels) -> FramePixels:
        """Return a block as it lies in its place."""
        if not np.may_share_memory(self.pixels, frame.values):
            self.pixels[:] = frame.values
        self.n_obs[:] = frame.n_obs
        return replace(frame, values=self.pixels, n_obs=self.n_obs)


@dataclass(frozen=True, eq=False)
class BegunFrames:
    """The frames of a cube, to be computed in the cube's arrays; `keys` are those of the blocks of each frame."""

    graph: dict[Any, Any]
    keys: list[list[_Keys]]
    pixels: npt.NDArray[np.float32]
    n_obs: npt.NDArray[np.uint16]

    def arrays(self, frames: Sequence[list[FramePixels]]) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of the cube once all blocks are computed."""
        used, lost = (np.concatenate([merge(blocks) for blocks in frames]) for merge in (_used, _lost))
        return {"pixels": self.pixels, "n_obs": self.n_obs, "used": used, "lost": lost}


@dataclass(frozen=True, eq=False)
class FrameTasks:
    """The tasks that the arrays of a lazy cube are made of, for the process that built it and computes it too.

    `tasks` are those of the blocks of frames, `names` those of the arrays. Another process takes the arrays: there,
    this is None.
    """

    graph: HighLevelGraph
    tasks: Mapping[_Keys, Any]
    names: Mapping[str, str]
    plan: _Plan

    def fit(self, cube: xr.Dataset) -> bool:
        """Tell whether a cube is as it was built: a provider may have changed it, or computed it already."""
        arrays = {str(name): variable.data for name, variable in cube.data_vars.items()}
        return arrays.keys() == self.names.keys() and all(
            getattr(array, "dask", None) is self.graph and array.name == self.names[name]
            for name, array in arrays.items()
        )

    def begun(self) -> BegunFrames:
        """Return the frames with the arrays that they fill, which are nobody else's."""
        plan, graph, (height, width) = self.plan, dict(self.graph), self.plan.read.grid.shape
        pixels = np.empty((len(plan.frames), len(plan.read.bands), height, width), np.float32)
        n_obs = np.zeros((len(plan.frames), height, width), np.uint16)
        pixels[[t for t, members in enumerate(plan.frames) if not members]] = np.nan
        slices = {
            (i, j): (slice(at.row, at.row + at.height), slice(at.col, at.col + at.width)) for i, j, at in plan.windows
        }
        keys: dict[int, list[_Keys]] = {t: [] for t, _ in plan.with_scenes}
        for key, (make, *given) in self.tasks.items():
            _, t, i, j = key
            place = BlockPlace(pixels[t, :, *slices[i, j]], n_obs[t, *slices[i, j]])
            graph[key] = (partial(make, place=place), *given)
            keys[t].append(key)
        return BegunFrames(graph, list(keys.values()), pixels, n_obs)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def lazy_cube(
    read: Read, source: Source, *, scenes: Sequence[Scene], fetch: Fetch, block_px: int = _BLOCK_PX
) -> xr.Dataset:
    """Build the lazy cube of a read, one task per frame and block."""
    recipe = recipe_for(read, source)
    plan = _Plan(read, _by_frame(read, scenes), _cuts(read.grid.shape, recipe, block_px))
    name = _fresh("frame")
    tasks: dict[_Keys, Any] = {}
    for t, members in plan.with_scenes:
        for i, j, window in plan.windows:
            tasks[name, t, i, j] = (partial(_fetched, fetch, members, read.grid.crop(window), recipe),)
    return plan.dataset(name, {name: (tasks, set())})


def raw_cube(
    read: Read, recipe: FrameRecipe, *, scenes: Sequence[Scene], raw: da.Array, cuts: tuple[Cut, Cut]
) -> xr.Dataset:
    """Build the lazy cube of a read from a lazy table of `RawLayer` (N, A, I, J): scenes, layers, blocks of the grid.

    A layer that is not there is None or NaN. Where the clearest scene is chosen for the whole grid, blocks are joined.
    """
    own = uncut(read.grid.shape) if recipe.how == "clearest" else cuts
    plan = _Plan(read, _by_frame(read, scenes), own)
    at = {scene.id: i for i, scene in enumerate(scenes)}
    name, graph = _fresh("frame"), raw.dask
    chunk_of = [(n, row) for n, size in enumerate(raw.chunks[0]) for row in range(size)]
    _, beside, down, across = map(range, raw.numblocks)
    tasks: dict[_Keys, Any] = {}
    for t, members in plan.with_scenes:
        chunks, rows_in = zip(*(chunk_of[at[scene.id]] for scene in members), strict=True)
        make = partial(_stacked, scenes=members, rows_in=rows_in, recipe=recipe)
        for i, j, _ in plan.windows:
            rows, columns = (down, across) if own != cuts else ((i,), (j,))
            tables = [
                [[[[(raw.name, n, a, k, m) for a in beside] for n in chunks], cuts[0][k], cuts[1][m]] for m in columns]
                for k in rows
            ]
            tasks[name, t, i, j] = (make, tables)
    layers = {key: (layer, set(graph.dependencies[key])) for key, layer in graph.layers.items()}
    return plan.dataset(name, layers | {name: (tasks, {raw.name})})


def _fetched(
    fetch: Fetch, scenes: tuple[Scene, ...], grid: Grid, recipe: FrameRecipe, *, place: BlockPlace | None = None
) -> FramePixels:
    raw, present = fetch(scenes, grid, recipe.assets), present_in(scenes, recipe)
    return _made(raw, scenes, recipe, present=present, place=place)


def _made(
    raw: Raw | RawLayers,
    scenes: tuple[Scene, ...],
    recipe: FrameRecipe,
    *,
    present: npt.NDArray[np.bool_],
    place: BlockPlace | None,
) -> FramePixels:
    """Make a block of a frame, in its place if it has one."""
    frame = make_frame(raw, scenes, recipe, present=present, into=None if place is None else place.pixels)
    return frame if place is None else place.filled(frame)


def _stacked(
    tables: list[list[list[Any]]],
    *,
    scenes: tuple[Scene, ...],
    rows_in: tuple[int, ...],
    recipe: FrameRecipe,
    place: BlockPlace | None = None,
) -> FramePixels:
    parts = [[_layers(table, rows_in, (height, width)) for table, height, width in row] for row in tables]
    layers = tuple(
        tuple(RawLayer.joined([[part[n][a] for part in row] for row in parts]) for a in range(len(parts[0][0][n])))
        for n in range(len(scenes))
    )
    return _made(RawLayers(layers), scenes, recipe, present=present_in(scenes, recipe), place=place)


def _layers(
    table: list[list[npt.NDArray[np.object_]]], rows_in: tuple[int, ...], shape: tuple[int, int]
) -> list[list[RawLayer]]:
    """Return the layers of a block of the grid, scene by scene; each is a row in its chunks of the table."""
    nothing = RawLayer.filled(np.float32(np.nan), shape)
    return [
        [one if isinstance(one, RawLayer) else nothing for chunk in chunks for one in chunk[row, :, 0, 0]]
        for row, chunks in zip(rows_in, table, strict=True)
    ]


def _fresh(name: str) -> str:
    return f"{name}-{uuid4().hex}"


def _cuts(shape: tuple[int, int], recipe: FrameRecipe, block_px: int) -> tuple[Cut, Cut]:
    """Cut a grid into blocks; one block where the clearest scene is chosen for the whole of it."""
    if recipe.how == "clearest":
        return uncut(shape)
    rows, cols = (tuple(min(block_px, side - start) for start in range(0, side, block_px)) for side in shape)
    return rows, cols


def uncut(shape: tuple[int, int]) -> tuple[Cut, Cut]:
    """Return the cuts that leave a grid whole."""
    return (shape[0],), (shape[1],)


def _by_frame(read: Read, scenes: Sequence[Scene]) -> list[tuple[Scene, ...]]:
    """Sort scenes into frames; scenes outside all of them are left out."""
    frames: list[list[Scene]] = [[] for _ in read.frames]
    for scene in ordered(scenes):
        t = frame_of(scene, read.frames)
        if t is not None:
            frames[t].append(scene)
    if not any(frames):
        lon, lat = read.grid.center_lonlat
        raise NoImageryError(
            f"{read.sensor} at {lon:.4f}, {lat:.4f}",
            value=f"{read.span.start} to {read.span.end}",
            reason="no scene falls into a frame" if scenes else "no scene was found at this place and time",
            fix="take a longer span, a higher max_cloud_pct, or another sensor",
        )
    return [tuple(members) for members in frames]


def _values(frame: FramePixels) -> Any:
    return frame.values[None]


def _counts(frame: FramePixels) -> Any:
    return frame.n_obs[None]


def _used(blocks: list[FramePixels]) -> Any:
    return sum((block.used for block in blocks[1:]), start=blocks[0].used)


def _lost(blocks: list[FramePixels]) -> Any:
    return np.logical_or.reduce([block.lost for block in blocks])


@dataclass(frozen=True)
class _Plan:
    """What a lazy cube is made of: frames, their scenes, and how the grid is cut."""

    read: Read
    frames: list[tuple[Scene, ...]]
    cuts: tuple[Cut, Cut]

    @property
    def with_scenes(self) -> list[tuple[int, tuple[Scene, ...]]]:
        """The frames that have scenes."""
        return [(t, members) for t, members in enumerate(self.frames) if members]

    @property
    def windows(self) -> list[tuple[int, int, Window]]:
        """Number of the block down and across, and its pixels."""
        tops, lefts = (list(accumulate((0, *cut[:-1]))) for cut in self.cuts)
        return [
            (i, j, Window(top, left, self.cuts[0][i], self.cuts[1][j]))
            for i, top in enumerate(tops)
            for j, left in enumerate(lefts)
        ]

    def dataset(self, frame_key: str, layers: dict[str, tuple[Any, set[str]]]) -> xr.Dataset:
        """Join the tasks of all frames and blocks, keyed (frame_key, t, i, j), into one labelled, lazy cube."""
        import dask.array as da
        from dask.highlevelgraph import HighLevelGraph

        n_bands, n_frames = len(self.read.bands), len(self.frames)
        names = {part: _fresh(part) for part in ("pixels", "n_obs", "used", "lost")}
        for part, tasks in self._parts(frame_key, names).items():
            layers[names[part]] = tasks, {frame_key}
        graph = HighLevelGraph(
            {key: layer for key, (layer, _) in layers.items()}, {key: needs for key, (_, needs) in layers.items()}
        )
        ones = (1,) * n_frames
        chunks: dict[str, tuple[tuple[int, ...], ...]] = {
            "pixels": (ones, (n_bands,), *self.cuts),
            "n_obs": (ones, *self.cuts),
            **dict.fromkeys(("used", "lost"), (tuple(len(members) for _, members in self.with_scenes),)),
        }
        types = {"pixels": np.float32, "n_obs": np.uint16, "used": np.int64, "lost": np.bool_}
        arrays = {k: da.Array(graph, names[k], chunks[k], dtype=types[k]) for k in names}
        cube = _labelled(self.read, self.frames, arrays)
        cube.encoding[FRAMES] = FrameTasks(graph, layers[frame_key][0], names, self)
        return cube

    def _parts(self, frame_key: str, names: dict[str, str]) -> dict[str, dict[_Keys, Any]]:
        """Return the tasks that take pixels, counts and the use of scenes out of what the frames' tasks return."""
        pixels: dict[_Keys, Any] = {}
        counts: dict[_Keys, Any] = {}
        for t, members in enumerate(self.frames):
            for i, j, window in self.windows:
                key = (frame_key, t, i, j)
                shape = (1, len(self.read.bands), *window.shape)
                empty = partial(np.full, shape, np.nan, np.float32), partial(np.zeros, (1, *window.shape), np.uint16)
                pixels[names["pixels"], t, 0, i, j] = (_values, key) if members else (empty[0],)
                counts[names["n_obs"], t, i, j] = (_counts, key) if members else (empty[1],)
        per_scene: dict[str, dict[_Keys, Any]] = {
            part: {
                (names[part], k): (merge, [(frame_key, t, i, j) for i, j, _ in self.windows])
                for k, (t, _) in enumerate(self.with_scenes)
            }
            for part, merge in (("used", _used), ("lost", _lost))
        }
        return {"pixels": pixels, "n_obs": counts, **per_scene}


def _labelled(read: Read, frames: Sequence[tuple[Scene, ...]], arrays: dict[str, da.Array]) -> xr.Dataset:
    import xarray as xr

    from rs_embed_dask.imagery.cube import coordinates

    scenes = [scene for members in frames for scene in members]
    ids = [scene.id for scene in scenes]
    mapped = {"grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "pixels": (("time", "band", "y", "x"), arrays["pixels"], mapped),
            "n_obs": (("time", "y", "x"), arrays["n_obs"], mapped),
            "used": (("scene",), arrays["used"]),
            "lost": (("scene",), arrays["lost"]),
        },
        coords={
            "time": ("time", np.array([span.midpoint for span in read.frames], "datetime64[ns]")),
            "band": ("band", list(read.bands)),
            "scene": ("scene", ids),
            "taken": ("scene", np.array([s.datetime.replace(tzinfo=None) for s in scenes], "datetime64[ns]")),
            **coordinates(read.grid),
        },
        attrs={"sensor": read.sensor, "units": list(read.units), "scenes": ids, **_dates(frames)},
    )


def _dates(frames: Sequence[tuple[Scene, ...]]) -> dict[str, list[str]]:
    """First and last day of the scenes that were found for each frame; empty texts for a frame without scenes."""
    days: list[list[dt.date]] = [[scene.datetime.date() for scene in members] for members in frames]
    return {
        "first_dates": [min(each).isoformat() if each else "" for each in days],
        "last_dates": [max(each).isoformat() if each else "" for each in days],
    }
