"""Computing lazy cubes: all of a grid in one go of Dask's threads, frames in the arrays of their cube."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers.assemble import FRAMES, NOTES, REFUSED, STATE

if TYPE_CHECKING:
    import xarray as xr

    from rs_embed_dask.imagery.cube import Cube, Dates, Read

__all__ = ["computed_cubes"]

_PARTS: Final = ("pixels", "n_obs", "used", "days", "lost")
_FEW_TASKS: Final = 6


def computed_cubes(
    lazy: Sequence[xr.Dataset | ProviderError], reads: Sequence[Read], threads: int
) -> list[Cube | ProviderError]:
    """Compute all that there is, grid by grid, for the next grid takes the bytes that were fetched for the last."""
    parts: dict[int, dict[str, Any]] = {}
    for grid in dict.fromkeys(read.grid for read in reads):
        there = {
            number: one
            for number, one in enumerate(lazy)
            if not isinstance(one, ProviderError) and reads[number].grid == grid
        }
        parts |= zip(there, _computed(list(there.values()), threads), strict=True)
    return [
        one if isinstance(one, ProviderError) else _cube(one, read, parts[number])
        for number, (one, read) in enumerate(zip(lazy, reads, strict=True))
    ]


def _computed(cubes: Sequence[xr.Dataset], threads: int) -> list[dict[str, Any]]:
    """Compute the arrays of cubes together: of those that are made of frames, the frames, in the cubes' arrays."""
    begun = {
        number: tasks.begun()
        for number, cube in enumerate(cubes)
        if (tasks := cube.encoding.get(FRAMES)) and tasks.fit(cube) and not any(cube is one for one in cubes[:number])
    }
    graph = {key: task for frames in begun.values() for key, task in frames.graph.items()}
    results = _run(graph, [frames.keys for frames in begun.values()], threads) if begun else ()
    done = {number: frames.arrays(result) for (number, frames), result in zip(begun.items(), results, strict=True)}
    others = {number: cube for number, cube in enumerate(cubes) if number not in begun}
    done |= zip(others, _arrays(list(others.values()), threads) if others else (), strict=True)
    return [done[number] for number in range(len(cubes))]


def _run(graph: Mapping[Any, Any], keys: list[Any], threads: int) -> Any:
    """Run tasks; a few in this thread: to start others would cost more."""
    from dask import local, threaded

    return local.get_sync(graph, keys) if len(graph) <= _FEW_TASKS else threaded.get(graph, keys, num_workers=threads)


def _arrays(cubes: Sequence[xr.Dataset], threads: int) -> list[dict[str, Any]]:
    """Compute arrays that are made of other things than frames, each block in its place."""
    names = [[name for name in _PARTS if name in cube] for cube in cubes]
    values = iter(_values([cube[name].data for cube, own in zip(cubes, names, strict=True) for name in own], threads))
    return [{name: next(values) for name in own} for own in names]


def _values(arrays: list[Any], threads: int) -> list[Any]:
    import dask.array as da
    from dask import local
    from dask.base import compute

    if not all(isinstance(array, da.Array) for array in arrays):
        return list(compute(*arrays, scheduler="threads", num_workers=threads))
    graph = {key: task for array in arrays for key, task in array.dask.items()}
    if len(graph) > _FEW_TASKS:
        whole = [np.empty(array.shape, array.dtype) for array in arrays]
        da.store(arrays, whole, lock=False, scheduler="threads", num_workers=threads)
        return whole
    results = local.get_sync(graph, [array.__dask_keys__() for array in arrays])
    finals = (array.__dask_postcompute__() for array in arrays)
    return [final(each, *more) for each, (final, more) in zip(results, finals, strict=True)]


def _cube(lazy: xr.Dataset, read: Read, parts: dict[str, Any]) -> Cube | ProviderError:
    """Return a cube of the arrays that were computed, or why nothing of it could be read."""
    from rs_embed_dask.imagery.cube import DAYS, Cube

    scenes, dates = (
        _used_scenes(lazy, read, parts.get("used")) if "days" not in parts else ((), _observed(parts["days"]))
    )
    n_obs, faults = np.asarray(parts["n_obs"], np.uint16), _faults(lazy, parts.get("lost", ()))
    if faults and not n_obs.any():
        return faults[0]
    lost = tuple(f"{fault.what}: {fault.reason}" for fault in faults)
    notes = tuple(lazy.encoding.get(NOTES, ()))
    pixels, n_days = np.asarray(parts["pixels"], np.float32), lazy.attrs.get(DAYS)
    return Cube(pixels, n_obs, read, scenes, dates, lost, notes, n_days)


def _faults(lazy: xr.Dataset, flags: Any) -> list[ProviderError]:
    """Return why scenes are lost: those that the provider refused, then those of which a file could not be read."""
    refused, state = lazy.encoding.get(REFUSED, ()), lazy.encoding.get(STATE)
    faults = list(refused)
    for scene in lazy["scene"].values[np.asarray(flags, bool)] if np.any(flags) else ():
        # the computation may have run in another process, where the reason stayed
        unknown = ProviderError(f"scene {scene}", reason="it could not be read", fix="read it again to see why")
        faults.append((state and state.fault(str(scene))) or unknown)
    return faults


def _used_scenes(lazy: xr.Dataset, read: Read, used: Any) -> tuple[tuple[str, ...], Dates]:
    """Return the scenes that gave pixels and their first and last date in each frame."""
    # Where a provider does not count per scene, its attributes are taken as they are.
    if used is None:
        first, last = lazy.attrs.get("first_dates", ()), lazy.attrs.get("last_dates", ())
        stated = (
            (dt.date.fromisoformat(a), dt.date.fromisoformat(b)) if a and b else None
            for a, b in zip(first, last, strict=True)
        )
        return tuple(str(scene) for scene in lazy.attrs.get("scenes", ())), tuple(stated)
    gave = np.asarray(used) > 0
    ids = tuple(str(scene) for scene in lazy["scene"].values[gave])
    days: list[dt.date] = list(lazy["taken"].values[gave].astype("datetime64[D]").astype(object))
    dates = []
    for span in read.frames:
        mine = [day for day in days if span.start <= day < span.end]
        dates.append((min(mine), max(mine)) if mine else None)
    return ids, tuple(dates)


def _observed(days: Any) -> Dates:
    """Turn the first and last day of each frame, counted from the year 1, into dates; 0 means none."""
    return tuple((dt.date.fromordinal(int(a)), dt.date.fromordinal(int(b))) if a else None for a, b in days)
