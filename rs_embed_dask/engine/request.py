"""From the arguments of a verb to a request, its items and its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

from rs_embed_dask.errors import PlanError, SpecError, StoreMismatchError, UnknownNameError
from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs import FetchSpec, InputPrep, ModelSpec, OutputSpec, SensorSpec, TemporalSpec
from rs_embed_dask.specs.places import places
from rs_embed_dask.specs.when import spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.store import Item, Status, Store

__all__ = [
    "Request",
    "RequestOptions",
    "items_of",
    "request_of",
    "statuses_of",
    "store_for",
]


@dataclass(frozen=True)
class Request:
    """Models, shape and source of a run."""

    models: tuple[ModelSpec, ...]
    provider: Provider
    output: OutputSpec = field(default_factory=OutputSpec.pooled)
    prep: InputPrep = field(default_factory=InputPrep.resize)
    fetch: FetchSpec = field(default_factory=FetchSpec)
    sensors: tuple[SensorSpec, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.models
        listed = [given] if isinstance(given, (str, ModelSpec, Mapping)) else list(given)
        object.__setattr__(self, "models", tuple(ModelSpec.of(one) for one in listed))
        sensors: Any = self.sensors or ()
        object.__setattr__(self, "sensors", (sensors,) if isinstance(sensors, SensorSpec) else tuple(sensors))
        if not self.models:
            raise PlanError("models", value=[], reason="there is nothing to compute", fix="name at least one model")
        labels = [spec.label for spec in self.models]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            reason = "two models of the request would share one place in the store"
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
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], provider: Provider | None = None) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            models=tuple(ModelSpec.from_dict(one) for one in data["models"]),
            provider=open_provider(data["provider"]) if provider is None else provider,
            output=OutputSpec.from_dict(data["output"]),
            prep=InputPrep.from_dict(data["prep"]),
            fetch=FetchSpec.from_dict(data["fetch"]),
            sensors=tuple(SensorSpec.from_dict(one) for one in data["sensors"]),
        )


Made = TypeVar("Made", OutputSpec, InputPrep)


class RequestOptions(TypedDict, total=False):
    """What a request may say besides places, models and span; each has a default.

    Attributes
    ----------
    output : OutputSpec or {"pooled", "grid"}
        One vector a place (default, mean over the tokens), or a georeferenced field.
    provider : str or Provider
        Where pixels come from: "planetary_computer", "stac", "files", "synthetic", "auto" (default) or one made by
        `open_provider`.
    backend : str or Provider
        The same by rs-embed's name.
    fetch : FetchSpec
        Resolution, cloud limit, mask, composite, fill, CRS. Default: what each model's card says.
    prep : InputPrep or {"resize", "tile", "auto"}
        How images of another size than the network's meet it. Default resize.
    sensor : SensorSpec or sequence of SensorSpec
        Sensors and bands instead of the cards'.
    buffer_m : float
        Half the side in metres of the square round each point.
    crs : str
        CRS of places that carry none. Default EPSG:4326.
    ids : sequence of str
        A name for each place. Default: its number.
    chunk_items, batch_items : int
        Items that are written at once, and the most in a batch.
    """

    output: OutputSpec | str | None
    provider: Provider | str | None
    backend: Provider | str | None
    fetch: FetchSpec | None
    prep: InputPrep | str | None
    sensor: SensorSpec | Sequence[SensorSpec] | None
    buffer_m: float | None
    crs: str | None
    ids: Sequence[str] | None
    chunk_items: int | None
    batch_items: int


def request_of(models: object, options: RequestOptions) -> Request:
    """Check the options and open the provider."""
    from rs_embed_dask.providers import open_provider

    known = RequestOptions.__annotations__
    for name in options:
        if name not in known:
            raise UnknownNameError.among("option", name, known)
    given: Any = models
    listed = [given] if isinstance(given, (str, dict, ModelSpec)) else list(given)
    provider = options.get("provider")
    backend = options.get("backend")
    if provider is not None and backend is not None and provider is not backend:
        fix = "give provider= alone; backend= is its name in rs-embed"
        raise SpecError("backend", value=backend, reason=f"provider={provider!r} was given too", fix=fix)
    given_provider: Any = backend if provider is None else provider
    return Request(
        models=tuple(ModelSpec.of(one) for one in listed),
        provider=open_provider("auto" if given_provider is None else given_provider),
        output=_made(OutputSpec, options.get("output") or "pooled"),
        prep=_made(InputPrep, options.get("prep") or "resize"),
        fetch=options.get("fetch") or FetchSpec(),
        sensors=options.get("sensor") or (),  # type: ignore[arg-type]
    )


def _made(kind: type[Made], given: Made | str) -> Made:
    """Make a spec of its mode's name, or take the one that is given. Raises SpecError."""
    if isinstance(given, kind):
        return given
    if isinstance(given, str):
        return kind(given)
    fix = f"give {kind.__name__}(...) or the name of its mode"
    raise SpecError(kind.__name__, value=given, reason=f"it is a {type(given).__name__}", fix=fix)


def items_of(spatials: object, temporal: object, options: RequestOptions) -> list[Item]:
    """Pair every place with its span and name."""
    from rs_embed_dask.store import Item

    found = places(spatials, options.get("crs"), buffer_m=options.get("buffer_m"))
    named: Sequence[str] | None = options.get("ids")
    if named is not None and len(named) != len(found):
        reason = f"there are {len(found)} places"
        raise SpecError(
            "ids", value=f"{len(named)} names", reason=reason, fix="give one name a place, or leave ids= out"
        )
    listed: Iterable[tuple[Any, TemporalSpec]] = zip(found, spans(temporal, len(found)), strict=True)
    return [
        Item(index, spatial, span, "" if named is None else str(named[index]))
        for index, (spatial, span) in enumerate(listed)
    ]


def store_for(out: str | Path, made: Plan) -> tuple[Store, Plan]:
    """Make the store, or open the one that is there and add the items and models that are new."""
    from rs_embed_dask.store import Store, build_receipt

    request = made.request.to_dict()
    if Store.exists(out):
        store = Store.open(out, mode="r+")
        return store, _topped_up(store, made)
    cards = {layout.label: layout.attrs.get("card") for layout in made.layouts}
    receipt = build_receipt(request, cards=cards, provider=request["provider"])
    size = made.chunk_items
    store = Store.create(out, items=made.items, models=made.layouts, request=request, chunk_items=size, receipt=receipt)
    return store, made


def _topped_up(store: Store, made: Plan) -> Plan:
    """Add what a request has and a store lacks, once it is known that both can be one."""
    from rs_embed_dask.engine.plan import Sizes, StoredItems, make_plan
    from rs_embed_dask.store import check_request

    request = made.request.to_dict()
    check_request(store.request, request, place=str(store.target))
    _check_room(store, made)
    found = store.match_items(made.items)
    if not (found.new or found.absent or {layout.label for layout in made.layouts} - set(store.labels)):
        return made
    if found.new:
        store.append_items(found.new)
    grown = make_plan(
        StoredItems(store), made.request, sizes=Sizes(store.chunk_items, made.recipe.batch_items, made.recipe.retry)
    )
    missing = [layout for layout in grown.layouts if layout.label not in store.labels]
    if missing:
        labels = {layout.label for layout in missing}
        added = [spec.to_dict() for spec in made.request.models if spec.label in labels]
        cards = store.receipt.get("cards", {}) | {layout.label: layout.attrs.get("card") for layout in missing}
        store.add_models(missing, request=store.request | {"models": [*store.request["models"], *added]})
        store.update_receipt(cards=cards)
    return grown


def _check_room(store: Store, made: Plan) -> None:
    """Refuse items that are larger, or have more frames, than the store has room for."""
    for layout in made.layouts:
        if layout.label not in store.labels:
            continue
        held = store.layout(layout.label)
        sizes = [
            ("frames", held.frames, layout.frames),
            *zip(("grid rows", "grid columns"), held.grid_shape or (), layout.grid_shape or (), strict=False),
        ]
        for name, has, needs in sizes:
            if needs > has:
                raise StoreMismatchError(
                    f"{name} of {layout.label}",
                    value=needs,
                    reason=f"the store at {store.target} was made for at most {has} an item",
                    fix="write these items to another out=, or cut them to the size of the first ones",
                )


def statuses_of(only: object) -> frozenset[Status] | None:
    """Read the names of states. Raises UnknownNameError."""
    from rs_embed_dask.store import Status

    if only is None:
        return None
    given: Any = only
    listed = [given] if isinstance(given, (str, Status)) else list(given)
    names = [one.name if isinstance(one, Status) else str(one).upper() for one in listed]
    for name in names:
        if name not in Status.__members__:
            raise UnknownNameError.among("only", name.lower(), [one.lower() for one in Status.__members__])
    return frozenset(Status[name] for name in names)
