"""What a map is made of, and what that means for each model: lattices, blocks, passes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from rs_embed_dask.engine.inputs import input_facts
from rs_embed_dask.engine.plan import Sizes
from rs_embed_dask.engine.position_plan import given_tables
from rs_embed_dask.engine.recipe import choose, recipe_for
from rs_embed_dask.engine.request import Request
from rs_embed_dask.errors import PlanError, SpecError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.maps.lattice import DIVISIONS, UTM, Lattice, lattice_for, lattice_of
from rs_embed_dask.maps.passes import MapModel, MapPass, models_of, shared
from rs_embed_dask.maps.precision import PRECISIONS
from rs_embed_dask.maps.windows import BlockIndex, share_of
from rs_embed_dask.specs import OutputSpec, TemporalSpec
from rs_embed_dask.specs.accepted import CrsLike
from rs_embed_dask.specs.base import choice, whole
from rs_embed_dask.specs.ground import WGS84, crs_text, metric_crs
from rs_embed_dask.specs.positions import AUTO, MODES, REMOVED, PositionTable, positions_given
from rs_embed_dask.store.map_layout import Asked, MapGroup, MapLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set as AbstractSet

    from rs_embed_dask.engine.recipe import Chosen, Recipe
    from rs_embed_dask.maps.region import Region
    from rs_embed_dask.store import Status
    from rs_embed_dask.store.map_blocks import BlockSet
    from rs_embed_dask.store.map_layout import TimeSpan
    from rs_embed_dask.store.map_store import MapStore

__all__ = ["MapRequest", "MapRun"]

_BYTES_PER_VALUE: Final = 4


@dataclass(frozen=True)
class MapRequest:
    """What a map is made of.

    Parameters
    ----------
    request : Request
        Models, provider and fetch settings.
    temporals : tuple of TemporalSpec
        One layer along ``time`` each.
    crs : str or int or CRS, default "utm"
        UTM zones, or one projection in metres, or the degrees in which products are published; kept as its canonical
        text.
    overlap : float
        Share of a window's side that the next window covers too.
    dtype : str
        "float16", "float32" or "int8".
    positions : "auto", "removed", "kept", table or path
        Whether what the position in the window adds to a vector is taken away; see `positions.decide`. A table, or
        those of a store, are used as they are.
    dims : int, optional
        Keep the first numbers of each vector, of models that were trained for it.
    """

    request: Request
    temporals: tuple[TemporalSpec, ...]
    crs: CrsLike = "utm"
    overlap: float = 1 / 12
    dtype: str = "float16"
    positions: str | PositionTable = AUTO
    dims: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON, as the store keeps it; a table of positions is kept there as an array."""
        return self.request.to_dict() | {
            "crs": self.crs,
            "overlap": self.overlap,
            "dtype": self.dtype,
            "positions": self.mode,
            "dims": self.dims,
            "temporals": [one.to_dict() for one in self.temporals],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], request: Request) -> Self:
        """Read what `to_dict` wrote; `request` is what was made of the rest of it."""
        temporals = tuple(TemporalSpec.from_dict(one) for one in data["temporals"])
        return cls(request, temporals, data["crs"], data["overlap"], data["dtype"], data["positions"], data["dims"])

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", replace(self.request, output=OutputSpec.grid()))
        if len(set(self.spans)) < len(self.spans):
            raise SpecError("temporal", value=self.temporals, reason="a span is given twice", fix="give each span once")
        object.__setattr__(self, "crs", _projection(self.crs))
        object.__setattr__(self, "overlap", share_of(self.overlap))
        if self.dims is not None:
            object.__setattr__(self, "dims", whole("dims", self.dims, low=1, high=2**20))
        choice("dtype", self.dtype, PRECISIONS)
        object.__setattr__(self, "positions", positions_given("positions", self.positions))

    @property
    def mode(self) -> str:
        """Whether positions are taken away; a table is given to be used."""
        return self.positions if isinstance(self.positions, str) and self.positions in MODES else REMOVED

    @property
    def spans(self) -> tuple[TimeSpan, ...]:
        """First day and the day after the last of each span."""
        return tuple((span.start, span.end) for span in map(Span.of, self.temporals))


class MapRun:
    """One region and request, resolved: models, lattices and recipe, and whether a preview is drawn in the end."""

    def __init__(
        self, region: Region, wanted: MapRequest, *, sizes: Sizes | None = None, has_preview: bool = False
    ) -> None:
        request, sizes = wanted.request, sizes or Sizes()
        chosen = choose(request)
        for crs in (one.fetch.crs for one in chosen if one.fetch.crs is not None):
            fix = "leave fetch.crs out, and give crs= to the map"
            raise PlanError("fetch.crs", value=crs, reason="a map has its own projection", fix=fix)
        _check_crs(chosen, wanted.crs)
        self.region, self.wanted, self.has_preview = region, wanted, has_preview
        self.recipe: Recipe = sizes.on(recipe_for(request, chosen))
        self.passes = shared(models_of(chosen, wanted.overlap, dims=wanted.dims))
        self.models = {one.label: one for models in self.passes for one in models}
        self.chosen = {one.spec.label: one for one in chosen}
        self.tables = self._given_tables()
        self.layouts = {
            label: MapLayout(
                label,
                one.dim,
                one.token_m,
                one.tiling.block,
                wanted.dtype,
                _facts(self.chosen[label], one),
            )
            for label, one in self.models.items()
        }

    def _given_tables(self) -> dict[str, PositionTable]:
        """Return the tables that were given; refuse what no model can use, or what one was not measured for."""
        abouts = {label: self.about(one) for label, one in self.models.items() if self.has_windows(one)}
        given = given_tables("positions", self.wanted.positions, abouts)
        sizes = {label: {"dim": self.models[label].dim, "window": self.models[label].tiling.window} for label in given}
        return {label: table.fitting(**abouts[label], **sizes[label]) for label, table in given.items()}

    def asked(self) -> list[Asked]:
        """Return the blocks of every model, and the table that was given for it."""
        tables = {label: table.mean for label, table in self.tables.items()}
        return [
            Asked(self.layouts[label], self.wanted.spans, self.blocks(label), tables.get(label))
            for label in self.models
        ]

    def blocks(self, label: str) -> dict[MapGroup, BlockSet]:
        """Return the blocks of one model, by group."""
        one = self.models[label]
        lattices = self.region.lattices(one.token_m, one.tiling.block, one.division or self.wanted.crs)
        return {MapGroup.from_dict(lattice.to_dict()): self.region.blocks(lattice) for lattice in lattices}

    def lattice(self, group: MapGroup, one: MapModel, *, pixels: bool = False) -> Lattice:
        """Return the lattice of a model's tokens in a group, or of their pixels."""
        side, count = (one.pixel_m, one.block_px) if pixels else (one.token_m, one.tiling.block)
        if (one.division or self.wanted.crs) in DIVISIONS:
            return lattice_for(group.group, side, count)
        return lattice_of(group.crs, side, count)

    def about(self, one: MapModel) -> dict[str, Any]:
        """Return what a table of positions belongs to."""
        chosen = self.chosen[one.label]
        variant = chosen.card.variant_for(chosen.spec).name
        return {"model": chosen.card.id, "variant": variant, "patch_px": one.tiling.patch_px}

    def has_windows(self, one: MapModel) -> bool:
        """Return whether a token's vector depends on its position in a window."""
        chosen = self.chosen[one.label]
        if one.tiling.window == 1 or one.tiling.rim:
            return False
        return not chosen.card.resolved_inputs(chosen.spec)[0].native

    def pending(
        self, store: MapStore, models: tuple[MapModel, ...], *, only: AbstractSet[Status] | None = None
    ) -> Iterator[tuple[MapPass, int]]:
        """Go through what is to compute of models that share their reads: one pass per group and span."""
        todo: dict[tuple[str, int], dict[str, frozenset[BlockIndex]]] = defaultdict(dict)
        groups: dict[str, MapGroup] = {}
        for one in models:
            for group, number, blocks in store.pending(one.label, only=only):
                todo[group.group, number][one.label] = frozenset(BlockIndex(*block) for block in blocks)
                groups[group.group] = group
        for (name, number), by_label in sorted(todo.items()):
            lattice = self.lattice(groups[name], models[0], pixels=True)
            there = tuple(one for one in models if one.label in by_label)
            yield MapPass(lattice, there, by_label), number

    def tile_bytes(self, work: MapPass) -> int:
        """Estimate the memory of one tile: its pixels, and its sums."""
        groups = [self.recipe.groups[number] for visit in self.recipe.visits(work.wanted) for number in visit]
        values = sum(len(group.bands) * len(group.spans(self.wanted.temporals[0])) for group in groups)
        sums = sum(one.dim * one.tiling.block**2 for one in work.models)
        return _BYTES_PER_VALUE * (values * work.lattice.block**2 + 2 * sums)


def _facts(chosen: Chosen, one: MapModel) -> dict[str, Any]:
    """Return what the store says of a model."""
    sources = [f"urn:rs-embed-dask:sensor:{source.sensor}" for source, _ in chosen.inputs]
    return {
        "card": chosen.card.describe(),
        "spec": chosen.spec.to_dict(),
        "gsd_m": one.pixel_m,
        "chip_px": [one.tiling.patch_px, one.tiling.patch_px],
        "source_data": sources or [f"urn:rs-embed-dask:product:{chosen.card.id}"],
        "window": one.tiling.window,
        "stride": one.tiling.stride,
        **input_facts(chosen),
    }


def _projection(crs: CrsLike) -> str:
    """Return the canonical text of what a map is asked for in; degrees are looked at with the models."""
    if isinstance(crs, str) and crs.lower() == UTM:
        return UTM
    name = crs_text("crs", crs)
    return name if name == WGS84 else metric_crs("crs", crs)


def _check_crs(chosen: Iterable[Chosen], crs: object) -> None:
    """Refuse published vectors on another grid than their own, and pixels in degrees."""
    for one in chosen if crs != UTM else ():
        if one.product is None:
            metric_crs("crs", crs)
            continue
        own, cells = ("", "UTM zones") if one.product.reader.native_m else (WGS84, f"cells of degrees ({WGS84})")
        if crs != own:
            reason = f"its vectors lie in {cells}, and vectors must not be resampled"
            fix = "leave crs out, or map it by itself"
            raise PlanError(f"crs of {one.spec.label}", value=crs, reason=reason, fix=fix)
