"""Reading a cube inside a task: Dask's threads, and four kinds of faults."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import AccessError, NoImageryError, ProviderError, RsEmbedError, TransientError
from rs_embed_dask.imagery.cube import Cube, Dates
from rs_embed_dask.providers.protocol import SharesReads

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from rs_embed_dask.imagery.cube import Read
    from rs_embed_dask.providers.protocol import Provider

__all__ = ["load", "load_all"]

_THREADS: Final = 8
_FEW_TASKS: Final = 6
_STATUS: Final = re.compile(
    r"\b(?:HTTP(?:\s+(?:response|error))?(?:\s+code)?|status(?:\s+code)?)\W{0,3}(\d{3})\b", re.IGNORECASE
)
_REFUSED: Final = frozenset({401, 403})
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def load(provider: Provider, read: Read, *, threads: int | None = None) -> Cube:
    """Read a cube, computing it with Dask's threads in this task.

    Parameters
    ----------
    provider : Provider
        Where pixels come from.
    read : Read
        What to read.
    threads : int, optional
        Threads of this read. Default: as many as the provider wants (its ``threads``), else 8. A cube of a few tasks
        runs in the calling thread.

    Returns
    -------
    Cube
        In memory. A frame without a valid observation is NaN with a count of 0.

    Raises
    ------
    NoImageryError
        The provider has no scene there and then.
    TransientError
        Another try may help.
    AccessError
        The provider refused.
    ProviderError
        Anything else that lies with the source.
    SpecError, UnknownNameError
        The read asks for something that the provider does not serve.
    """
    (found,) = load_all(provider, (read,), threads=threads)
    if isinstance(found, NoImageryError):
        raise found
    return found


def load_all(provider: Provider, reads: Sequence[Read], *, threads: int | None = None) -> list[Cube | NoImageryError]:
    """Read several cubes of one place and sensor together: what they share is read once, where the provider can.

    Parameters
    ----------
    provider : Provider
        Where pixels come from.
    reads : sequence of Read
        Of one place and sensor, with frames, cloud limits and pixel sizes of their own.
    threads : int, optional
        As for `load`.

    Returns
    -------
    list of Cube or NoImageryError
        One a read: a read without any scene does not cost the others theirs.

    Raises
    ------
    TransientError, AccessError, ProviderError, SpecError, UnknownNameError
        As for `load`.
    """
    try:
        lazy = provider.cubes(reads) if isinstance(provider, SharesReads) else [_lazy(provider, read) for read in reads]
        return _cubes(lazy, reads, threads or int(getattr(provider, "threads", _THREADS)))
    except RsEmbedError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise _fault(provider, reads[0], error) from error


def _lazy(provider: Provider, read: Read) -> xr.Dataset | NoImageryError:
    try:
        return provider.cube(read)
    except NoImageryError as nothing:
        return nothing


def _cubes(
    lazy: Sequence[xr.Dataset | NoImageryError], reads: Sequence[Read], threads: int
) -> list[Cube | NoImageryError]:
    """Compute all that there is, grid by grid, for the next grid takes the bytes that were fetched for the last."""
    done: dict[tuple[int, str], Any] = {}
    for grid in dict.fromkeys(read.grid for read in reads):
        wanted = [
            (number, name)
            for number, one in enumerate(lazy)
            if not isinstance(one, NoImageryError) and reads[number].grid == grid
            for name in ("pixels", "n_obs", "used", "days")
            if name in one
        ]
        arrays = [lazy[number][name].data for number, name in wanted]  # type: ignore[index]
        done |= zip(wanted, _computed(arrays, threads), strict=True) if wanted else {}
    return [
        one
        if isinstance(one, NoImageryError)
        else _cube(one, read, {n: part for (k, n), part in done.items() if k == i})
        for i, (one, read) in enumerate(zip(lazy, reads, strict=True))
    ]


def _cube(lazy: xr.Dataset, read: Read, done: dict[str, Any]) -> Cube:
    scenes, dates = _used(lazy, read, done.get("used")) if "days" not in done else ((), _seen(done["days"]))
    return Cube(np.asarray(done["pixels"], np.float32), np.asarray(done["n_obs"], np.uint16), read, scenes, dates)


def _computed(parts: list[Any], threads: int) -> list[Any]:
    """Compute arrays together; a few tasks as they are, for to optimise them or to start threads would cost more."""
    from dask import local
    from dask.base import compute

    graph = {key: task for part in parts if hasattr(part, "dask") for key, task in part.dask.items()}
    if len(graph) > _FEW_TASKS or not all(hasattr(part, "dask") for part in parts):
        return list(compute(*parts, scheduler="threads", num_workers=threads))
    found = local.get_sync(graph, [part.__dask_keys__() for part in parts])
    finals = (part.__dask_postcompute__() for part in parts)
    return [final(each, *more) for each, (final, more) in zip(found, finals, strict=True)]


def _used(lazy: xr.Dataset, read: Read, used: Any) -> tuple[tuple[str, ...], Dates]:
    """Return the scenes that gave pixels and their first and last date in each frame.

    A provider without counts a scene is believed what its attributes say.
    """
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


def _seen(days: Any) -> Dates:
    """Turn the first and last day of each frame, counted from the year 1, into dates; 0 is no day."""
    return tuple((dt.date.fromordinal(int(a)), dt.date.fromordinal(int(b))) if a else None for a, b in days)


def _fault(provider: Provider, read: Read, error: Exception) -> ProviderError:
    """Say which of our faults another library's error is."""
    lon, lat = read.grid.center_lonlat
    what = f"{provider.name}: {read.sensor} at {lon:.4f}, {lat:.4f}"
    reason = f"{type(error).__name__}: {error}"
    status = _status(error)
    if status in _REFUSED or isinstance(error, PermissionError):
        return AccessError(what, reason=reason, fix="check that you may read it, and your credentials")
    if status in _LATER or isinstance(error, ConnectionError | TimeoutError):
        return TransientError(what, reason=reason, fix="try again later; the engine does so by itself")
    return ProviderError(what, reason=reason, fix="look at the source; retrying will not help")


def _status(error: Exception) -> int | None:
    """Find the HTTP status in another library's error: an attribute, its response's, or its text."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "code"), (error, "status"), (error, "status_code"), (response, "status_code")):
        value = getattr(holder, name, None)
        if isinstance(value, int):
            return value
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None
