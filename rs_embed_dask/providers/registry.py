"""The provider protocol and registry, reading a cube, and gates that bound how many requests are in flight.

A process counts its own requests; who runs many processes, as the engine does, sets by `share_by` how they count.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from rs_embed_dask.errors import (
    AccessError,
    NoImageryError,
    ProviderError,
    RsEmbedError,
    SpecError,
    TransientError,
    UnknownNameError,
)
from rs_embed_dask.imagery.scenes import Scene
from rs_embed_dask.imagery.sensors import mask_of, sensor
from rs_embed_dask.imagery.still import as_held, in_every_frame
from rs_embed_dask.providers.computing import computed_cubes
from rs_embed_dask.providers.retry import REFUSED_STATUSES, TRANSIENT_STATUSES, deadline
from rs_embed_dask.specs.base import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from rs_embed_dask.imagery.cube import Cube, Read
    from rs_embed_dask.imagery.dates import Span
    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Source
    from rs_embed_dask.imagery.stated import StatedCollection
    from rs_embed_dask.specs.fetch import FetchSpec

__all__ = [
    "AUTO",
    "Check",
    "ChecksItself",
    "Estimate",
    "Gate",
    "Provider",
    "Scene",
    "SharesReads",
    "StatesCollections",
    "estimate_read",
    "gate",
    "list_providers",
    "load",
    "load_all",
    "open_provider",
    "register_provider",
    "share_by",
]


@dataclass(frozen=True)
class Estimate(Record):
    """What a read is expected to cost. Estimates add up with ``+``.

    Parameters
    ----------
    scenes : int
        Scenes that are read.
    requests : float
        Requests to the service, searches and tokens left out; less than 1 where several places share one.
    bytes : int
        Bytes that travel.
    """

    scenes: int = 0
    requests: float = 0
    bytes: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.scenes + other.scenes, self.requests + other.requests, self.bytes + other.bytes)


@runtime_checkable
class Provider(Protocol):
    """A source of pixels.

    A provider is a small value: it pickles to less than a kilobyte and holds neither credentials nor connections.
    Workers create those themselves when they read.
    """

    @property
    def name(self) -> str:
        """The name under which it is registered."""

    def sensors(self) -> frozenset[str]:
        """Return the ids of the sensors that it serves."""

    def search(self, sensor: str, grid: Grid, span: Span, *, fetch: FetchSpec) -> tuple[Scene, ...]:
        """List the scenes that touch a grid, in order of time, unsigned; those beyond the cloud limit are left out."""

    def cube(self, read: Read) -> xr.Dataset:
        """Return the lazy cube: ``pixels`` (time, band, y, x) in canonical units and ``n_obs`` (time, y, x).

        Raises
        ------
        NoImageryError
            If no scene falls into any frame.
        """

    def estimate(self, read: Read) -> Estimate:
        """Estimate the cost of a read without a request."""

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `open_provider` recreates the provider."""


@runtime_checkable
class SharesReads(Protocol):
    """A provider that reads what several cubes of one place have in common only once."""

    def cubes(self, reads: Sequence[Read]) -> list[xr.Dataset | ProviderError]:
        """Return the lazy cubes of reads of one place and sensor, which share their raw pixels."""


@runtime_checkable
class StatesCollections(Protocol):
    """A provider that can describe, and then read, collections that no table has."""

    def collection(self, name: str) -> StatedCollection:
        """Return what is stated of a collection and its bands."""


_OVERLAP: Final = 1.3  # tiles and orbits overlap, so a place has more than one scene per revisit
_CLOUD_SPREAD: Final = 0.5  # of half the scenes half are clear enough: a limit of c % keeps about c^0.5


def estimate_read(read: Read, source: Source, *, requests_per_asset: float = 2.0) -> Estimate:
    """Estimate a read from how often the sensor passes and how its files are blocked, without a request."""
    of = sensor(read.sensor)
    days = sum(span.days for span in read.frames)
    limit = read.fetch.max_cloud_pct
    clear_share = 1.0 if limit is None or of.kind == "radar" else (limit / 100) ** _CLOUD_SPREAD
    scenes = max(1, round(days / of.revisit_days * _OVERLAP * clear_share))
    per_scene = 0.0
    for band in read.bands:
        per_scene += _block_pixels(read, source, of.band(band).resolution_m)
    layers = len(read.bands)
    if mask_of(read.fetch.mask, source) is not None:
        per_scene += _block_pixels(read, source, of.resolution_m)
        layers += 1
    requests = math.ceil(scenes * layers * requests_per_asset)
    size = round(scenes * per_scene * source.bytes_per_px)
    return Estimate(scenes, requests, size)


def _block_pixels(read: Read, source: Source, resolution_m: float) -> float:
    """Return the pixels of a file that travel: whole blocks, nearly one more than the place fills along each side."""
    px = source.block_px
    blocks = 1.0
    for side in read.grid.shape:
        blocks *= max(1.0, side * read.grid.resolution_m / resolution_m / px + 1 - 1 / px)
    return blocks * px * px


_THREADS: Final = 8
_STATUS: Final = re.compile(
    r"\b(?:HTTP(?:\s+(?:response|error))?(?:\s+code)?|status(?:\s+code)?)\W{0,3}(\d{3})\b", re.IGNORECASE
)


def load(provider: Provider, read: Read, *, threads: int | None = None) -> Cube:
    """Read a cube, computing it with Dask's threads in this task."""
    (cube,) = load_all(provider, (read,), threads=threads)
    if isinstance(cube, ProviderError):
        raise cube
    return cube


def load_all(provider: Provider, reads: Sequence[Read], *, threads: int | None = None) -> list[Cube | ProviderError]:
    """Read several cubes of one place and sensor together: what they share is read once, where the provider can."""
    # A cube without pixels is the error that says why: there was no imagery, or none that could be read.
    held = [as_held(read) for read in reads]
    try:
        with deadline(getattr(getattr(provider, "retry", None), "deadline_s", math.inf)):
            lazy = _lazy_all(provider, held)
            cubes = computed_cubes(lazy, held, threads or int(getattr(provider, "threads", _THREADS)))
    except RsEmbedError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise _fault(provider, reads[0], error) from error
    pairs = zip(cubes, reads, strict=True)
    return [cube if isinstance(cube, ProviderError) else in_every_frame(cube, read) for cube, read in pairs]


def _lazy_all(provider: Provider, reads: Sequence[Read]) -> Sequence[xr.Dataset | ProviderError]:
    return provider.cubes(reads) if isinstance(provider, SharesReads) else [_lazy(provider, read) for read in reads]


def _lazy(provider: Provider, read: Read) -> xr.Dataset | NoImageryError:
    try:
        return provider.cube(read)
    except NoImageryError as nothing:
        return nothing


def _fault(provider: Provider, read: Read, error: Exception) -> ProviderError:
    """Translate another library's error into one of ours."""
    lon, lat = read.grid.center_lonlat
    what = f"{provider.name}: {read.sensor} at {lon:.4f}, {lat:.4f}"
    reason = f"{type(error).__name__}: {error}"
    status = _status(error)
    if status in REFUSED_STATUSES or isinstance(error, PermissionError):
        return AccessError(what, reason=reason, fix="check that you may read it, and your credentials")
    if status in TRANSIENT_STATUSES or isinstance(error, ConnectionError | TimeoutError):
        return TransientError(what, reason=reason, fix="try again later; the engine does so by itself")
    return ProviderError(what, reason=reason, fix="look at the source; retrying will not help")


def _status(error: Exception) -> int | None:
    """Find the HTTP status in another library's error: an attribute, its response's, or its text."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "code"), (error, "status"), (error, "status_code"), (response, "status_code")):
        value = getattr(holder, name, None)
        if isinstance(value, int):
            return value
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


Factory = Callable[..., Provider]

AUTO: Final = "planetary_computer"  # it serves every sensor of the tables and needs no account
_GROUP: Final = "rs_embed_dask.providers"
_OURS: Final = {
    "planetary_computer": "rs_embed_dask.providers.stac.planetary_computer:PlanetaryComputer",
    "stac": "rs_embed_dask.providers.stac.provider:StacProvider",
    "earth_search": "rs_embed_dask.providers.stac.earth_search:EarthSearch",
    "earth_engine": "rs_embed_dask.providers.earth_engine.provider:EarthEngine",
    "files": "rs_embed_dask.providers.files.provider:Files",
    "synthetic": "rs_embed_dask.providers.synthetic.provider:Synthetic",
}
_ALIASES: Final = {"auto": AUTO, "pc": "planetary_computer", "mpc": "planetary_computer", "gee": "earth_engine"}
_REGISTERED: Final[dict[str, Factory]] = {}


def register_provider(name: str, factory: Factory) -> None:
    """Register a provider under a name, in this process.

    Parameters
    ----------
    name : str
        The name; a registered one is replaced, ours and the aliases cannot be.
    factory : callable
        Takes the options of `open_provider` and returns the provider. Workers get the provider itself, so its class
        must be importable there.

    Raises
    ------
    SpecError
        If the name is taken or empty, or the factory cannot be called.

    Examples
    --------
    >>> register_provider("my_archive", MyArchive)  # doctest: +SKIP
    """
    if not str(name).strip():
        raise SpecError("provider name", value=name, reason="it is not a name", fix="give a word such as 'my_archive'")
    if name in {*_OURS, *_ALIASES}:
        raise SpecError("provider name", value=name, reason="this package uses it itself", fix="choose another name")
    if not callable(factory):
        raise SpecError("provider factory", value=factory, reason="it cannot be called", fix="give a class or function")
    _REGISTERED[name] = factory


def list_providers() -> tuple[str, ...]:
    """List the names that `open_provider` understands, aliases left out.

    Returns
    -------
    tuple of str
        Sorted.

    Examples
    --------
    >>> "planetary_computer" in list_providers()
    True
    """
    return tuple(sorted({*_OURS, *_REGISTERED, *(point.name for point in entry_points(group=_GROUP))}))


def open_provider(which: str | Provider | Mapping[str, Any] = "auto", **options: Any) -> Provider:
    """Return a provider from its name, from what `Provider.describe` returned, or as it is.

    Parameters
    ----------
    which : str or Provider or mapping
        A name (``auto`` is Planetary Computer), a provider, or a description.
    **options
        For the provider's factory.

    Returns
    -------
    Provider
        Ready to search and read; no request has been made.

    Raises
    ------
    UnknownNameError
        If no provider has the name, or the provider no such option.
    SpecError
        If it is none of these, or the options do not fit.

    Examples
    --------
    >>> open_provider("synthetic", seed=3).seed
    3
    """
    if isinstance(which, str):
        return _make(which, options)
    if isinstance(which, Mapping):
        return _rebuild(which, options)
    if isinstance(which, type) or not isinstance(which, Provider):
        fix = f"give one of {', '.join(list_providers())}, or an object with the methods of Provider"
        raise SpecError("provider", value=which, reason=f"{type(which).__name__} is not a provider", fix=fix)
    if options:
        fix = "give the options to the provider itself"
        raise SpecError("provider options", value=sorted(options), reason="the provider is already made", fix=fix)
    return which


def _rebuild(description: Mapping[str, Any], options: Mapping[str, Any]) -> Provider:
    parts = dict(description)
    name = parts.pop("name", None)
    if not isinstance(name, str):
        raise SpecError("provider", value=description, reason="the description has no name", fix="add 'name'")
    if parts.pop("rebuild", True) is False:
        fix = "open it again with the same arrays and pass it as provider="
        raise SpecError("provider", value=name, reason="it reads arrays that a description cannot hold", fix=fix)
    return _make(name, {**parts, **options})


def _make(name: str, options: Mapping[str, Any]) -> Provider:
    plain = name.strip().lower().replace("-", "_")
    factory = _factory(_ALIASES.get(plain, plain))
    if factory is None:
        raise UnknownNameError.among("provider", name, [*list_providers(), *_ALIASES])
    _check_options(name, factory, options)
    try:
        return factory(**options)
    except TypeError as error:
        reason = f"its options do not fit: {error}"
        raise SpecError(
            f"provider {name}", value=sorted(options), reason=reason, fix="see the provider's docstring"
        ) from error


def _check_options(name: str, factory: Factory, options: Mapping[str, Any]) -> None:
    """Refuse an option that a factory does not take, and the lack of one that it needs."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    taken = {one.name: one for one in parameters if one.kind in kinds}
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        for option in options.keys() - taken.keys():
            raise UnknownNameError.among(f"option of provider {name}", option, taken)
    for option, one in taken.items():
        if one.default is inspect.Parameter.empty and option not in options:
            fix = f"give {option}=, on the command line --provider-option {option}=VALUE"
            raise SpecError(f"provider {name}", value=sorted(options), reason=f"it needs {option}", fix=fix)


def _factory(name: str) -> Factory | None:
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        factory: Factory = getattr(importlib.import_module(module), attribute)
        return factory
    for point in entry_points(group=_GROUP):
        if point.name == name:
            plugin: Factory = point.load()
            return plugin
    return None


@dataclass(frozen=True)
class Check:
    """One question and its answer."""

    question: str
    answer: str
    is_well: bool | None = None


@runtime_checkable
class ChecksItself(Protocol):
    """A provider that can check whether it works here."""

    def checks(self, *, live: bool) -> list[Check]:
        """Answer what can be answered here; `live` asks the service too."""


Gate = AbstractContextManager[Any]
"""Entered before a request and left after it; entering waits while too many are in flight."""


Sharing = Callable[[str, int], Gate | None]
"""Makes the gate of a name and number that several processes share; None where it cannot be shared any more."""

_LOCK: Final = threading.Lock()
_OWN: Final[dict[tuple[str, int], threading.BoundedSemaphore]] = {}
_SHARED: Final[list[Sharing]] = []


def share_by(sharing: Sharing | None) -> None:
    """Set how processes count together, from now on and in this process."""
    with _LOCK:
        _SHARED[:] = [] if sharing is None else [sharing]


def gate(name: str, most: int) -> Gate:
    """Return a gate that admits at most `most` requests of a name at once."""
    for sharing in tuple(_SHARED):
        shared = sharing(name, most)
        if shared is not None:
            return shared
    with _LOCK:
        return _OWN.setdefault((name, most), threading.BoundedSemaphore(most))
