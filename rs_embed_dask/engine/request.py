"""From the arguments of a verb to a validated request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, TypeVar

from rs_embed_dask.errors import PlanError, SpecError, UnknownNameError
from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs import FetchSpec, InputPrep, ModelSpec, OutputSpec, SensorSpec
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.store import RETRYABLE, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.retry import RetryPolicy

__all__ = ["AVAILABLE", "MapOptions", "Request", "RequestOptions", "request_of", "statuses_of"]


_MOST_FRAMES: Final = 366
AVAILABLE: Final = "available"
"""The word that asks for frames of actual acquisitions."""


@dataclass(frozen=True)
class Request:
    """Models, shape and source of a run."""

    models: tuple[ModelSpec, ...]
    provider: Provider
    output: OutputSpec = field(default_factory=OutputSpec.pooled)
    prep: InputPrep = field(default_factory=InputPrep.auto)
    fetch: FetchSpec = field(default_factory=FetchSpec)
    sensors: tuple[SensorSpec, ...] = ()
    n_frames: int | None = None
    frames: str | None = None

    def __post_init__(self) -> None:
        if self.frames is not None:
            choice("frames", self.frames, (AVAILABLE,))
        if self.n_frames is not None:
            object.__setattr__(self, "n_frames", whole("n_frames", self.n_frames, low=1, high=_MOST_FRAMES))
        models: Any = self.models
        listed = [models] if isinstance(models, (str, ModelSpec, Mapping)) else list(models)
        object.__setattr__(self, "models", tuple(ModelSpec.of(one) for one in listed))
        sensors: Any = self.sensors or ()
        object.__setattr__(self, "sensors", (sensors,) if isinstance(sensors, SensorSpec) else tuple(sensors))
        if not self.models:
            raise PlanError("models", value=[], reason="there is nothing to compute", fix="name at least one model")
        labels = [spec.label for spec in self.models]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            reason = "two models of the request would share one group of the store"
            raise PlanError("models", value=twice, reason=reason, fix="give one of them a name: ModelSpec(..., name=)")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models in the store."""
        return tuple(spec.label for spec in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, as the store keeps it."""
        return {
            "models": [spec.to_dict() for spec in self.models],
            "output": self.output.to_dict(),
            "prep": self.prep.to_dict(),
            "fetch": self.fetch.to_dict(),
            "sensors": [sensor.to_dict() for sensor in self.sensors],
            "provider": dict(self.provider.describe()),
        } | {name: value for name in ("n_frames", "frames") if (value := getattr(self, name)) is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], provider: Provider | None = None) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            models=tuple(ModelSpec.from_dict(one) for one in data["models"]),
            provider=open_provider(data["provider"]) if provider is None else provider,
            output=OutputSpec.from_dict({"within": "box"} | data["output"]),
            prep=InputPrep.from_dict(data["prep"]),
            fetch=FetchSpec.from_dict(data["fetch"]),
            sensors=tuple(SensorSpec.from_dict(one) for one in data["sensors"]),
            n_frames=data.get("n_frames"),
            frames=data.get("frames"),
        )


_Mode = TypeVar("_Mode", OutputSpec, InputPrep)


class MapOptions(TypedDict, total=False):
    """Options that maps and places share; each has a default.

    Attributes
    ----------
    provider : str or Provider
        Where pixels come from: "planetary_computer", "stac", "files", "synthetic", "auto" (default) or one made by
        `open_provider`.
    backend : str or Provider
        The same under rs-embed's name.
    fetch : FetchSpec
        Resolution, cloud limit, mask, composite, fill, CRS. Default: as each model's card declares. Of a map,
        `resolution_m` asks for other pixels, never for vectors that are resampled.
    prep : InputPrep or {"resize", "tile", "auto"}
        How images of another size than the network's are fitted to it. Default auto: the model's own scale.
    sensor : SensorSpec or sequence of SensorSpec
        Sensors and bands that replace those of the cards.
    n_frames : int
        Equal parts that a span is cut into for the models that take several frames. Default: as their cards say.
    frames : "available"
        Frames are the days with actual acquisitions, at most as many as the model takes, or `n_frames`; models that
        take one image or calendar months keep theirs. Default: equal parts of the span, or calendar months.
    device : str
        Where the models run that name no device of their own: "auto" (default), "cpu", "cuda", "cuda:1" and so on.
    batch_items : int
        The most items in one batch. Default 32.
    check_input : bool
        Look at what each model is given: bands without variation and missing numbers are named in the item's reason;
        ``meta["input_checks"]`` of `get_embedding` holds the whole report. Default False.
    retry : RetryPolicy or dict
        How often, and how long, the run tries a read again, as ``{"attempts": 3, "deadline_s": 60}``; providers have a
        policy of their own for requests. What a dict leaves out is as by default: five attempts within an hour.
    """

    provider: Provider | str | None
    backend: Provider | str | None
    fetch: FetchSpec | None
    prep: InputPrep | str | None
    sensor: SensorSpec | Sequence[SensorSpec] | None
    n_frames: int | None
    frames: str | None
    device: str | None
    batch_items: int | None
    check_input: bool | None
    retry: RetryPolicy | Mapping[str, Any] | None


class RequestOptions(MapOptions, total=False):
    """The options of a request besides places, models and span: those of `MapOptions`, and the following.

    Attributes
    ----------
    output : OutputSpec or {"pooled", "grid"}
        One vector per place (default), or a georeferenced grid of vectors.
    buffer_m : float
        Half the side, in metres, of the square around each point.
    crs : str
        CRS of places that carry none. Default EPSG:4326.
    ids : sequence of str, or str
        One id per place, or the column of a table that has them. Default: the index of a GeoDataFrame or table unless
        that only counts the rows; else each item's number. For one span, no two places may have one id.
    chunk_items : int
        Items of a chunk of the store, which is written at once, or in parts where it takes long. Default: by the size
        of their vectors.
    max_side_px : int
        The most pixels a side of a place's square, at its finest resolution: larger places are refused. Default 4096.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> options: rs.RequestOptions = {"output": "grid", "provider": "synthetic", "buffer_m": 320}
    """

    output: OutputSpec | str | None
    buffer_m: float | None
    crs: str | None
    ids: Sequence[object] | str | None
    chunk_items: int | None
    max_side_px: int | None


def request_of(models: object, options: RequestOptions) -> Request:
    """Validate the options and open the provider."""
    names = RequestOptions.__annotations__
    for name in options:
        if name not in names:
            raise UnknownNameError.among("option", name, names)
    provider, backend = options.get("provider"), options.get("backend")
    if provider is not None and backend is not None and provider is not backend:
        fix = "give provider= only; backend= is its name in rs-embed"
        raise SpecError("backend", value=backend, reason=f"provider={provider!r} was given too", fix=fix)
    source: Any = backend if provider is None else provider
    request = Request(
        models=models,  # type: ignore[arg-type]  # normalised there, as are the sensors
        provider=open_provider("auto" if source is None else source),
        output=_spec_of(OutputSpec, options.get("output") or "pooled"),
        prep=_spec_of(InputPrep, options.get("prep") or "auto"),
        fetch=_fetch_of(options.get("fetch")),
        sensors=options.get("sensor") or (),  # type: ignore[arg-type]
        n_frames=options.get("n_frames"),
        frames=options.get("frames"),
    )
    device = options.get("device")
    if device is None:
        return request
    placed = (replace(spec, device=device) if spec.device == "auto" else spec for spec in request.models)
    return replace(request, models=tuple(placed))


def statuses_of(only: object) -> frozenset[Status] | None:
    """Resolve statuses or their names, "failed" being all that can be retried. Raises UnknownNameError."""
    if only is None:
        return None
    unchecked: Any = only
    by_name = {status.name.lower(): frozenset({status}) for status in Status} | {"failed": RETRYABLE}
    statuses: frozenset[Status] = frozenset()
    for one in [unchecked] if isinstance(unchecked, (str, Status)) else unchecked:
        name = one.name.lower() if isinstance(one, Status) else str(one).strip().lower().replace("-", "_")
        if name not in by_name:
            raise UnknownNameError.among("status", one, by_name)
        statuses |= by_name[name]
    return statuses


def _fetch_of(value: object) -> FetchSpec:
    if isinstance(value, FetchSpec | None):
        return value or FetchSpec()
    fix = "give FetchSpec(...), or leave fetch out"
    raise SpecError("fetch", value=value, reason=f"{type(value).__name__} is not a FetchSpec", fix=fix)


def _spec_of(kind: type[_Mode], value: _Mode | str) -> _Mode:
    """Return the spec itself, or the one that its mode names. Raises SpecError."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return kind(value)
    fix = f"give {kind.__name__}(...) or the name of its mode"
    raise SpecError(kind.__name__, value=value, reason=f"it is a {type(value).__name__}", fix=fix)
