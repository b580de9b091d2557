"""The store of a map's call: a new one, or the one that is there with the spans, models and regions that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.position_plan import facts_of
from rs_embed_dask.engine.positions import decide
from rs_embed_dask.errors import StoreMismatchError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.maps.kept import region_of, temporals_of, was_decided
from rs_embed_dask.maps.lattice import Lattice
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.specs.positions import REMOVED
from rs_embed_dask.store.map_layout import BlockKey
from rs_embed_dask.store.map_store import MapStore
from rs_embed_dask.store.receipt import build_receipt, check_request
from rs_embed_dask.store.seal import is_own, seal_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rs_embed_dask.maps.region import Region
    from rs_embed_dask.maps.request import MapRequest, MapRun
    from rs_embed_dask.specs.positions import PositionTable
    from rs_embed_dask.store.document import Target
    from rs_embed_dask.store.map_layout import Asked

__all__ = ["store_for"]

_GROWS: Final = frozenset({"region", "temporals"})
_AUTO: Final = "auto"


def store_for(run: MapRun, out: Target) -> MapStore:
    """Make the map, or add to the one that is there what it lacks. Every refusal comes before the first write."""
    asked = run.asked()
    if not MapStore.exists(out):
        request = run.wanted.to_dict() | {"region": run.region.to_dict()}
        cards = {label: layout.attrs["card"] for label, layout in run.layouts.items()}
        receipt = build_receipt(request, cards=cards, provider=request["provider"]) | seal_of(request)
        receipt |= {"positions": _facts(run.tables)} if run.tables else {}
        return MapStore.create(out, asked, request=request, receipt=receipt)
    store = MapStore.open(out, mode="r+")
    request = _continued(store, run.wanted)
    tables = _new_tables(store, run)
    adds = _adds(store, asked)
    whole = region_of(store) | run.region
    if whole.digest != region_of(store).digest:
        if run.wanted.request.frames is not None:
            reason = "its frames are the acquisitions over the region that it was made for"
            fix = "write the larger region to another out="
            raise StoreMismatchError("map region", value=store.location.name, reason=reason, fix=fix)
        # Before the store says that the region has grown: a run that ends here begins again with it.
        _cover(store, whole, run.region)
    is_sealed = is_own(store.request, store.receipt)
    grown = request | {"region": whole.to_dict()}
    if adds or tables or grown != store.request:
        cards = {label: one.attrs["card"] for label, one in run.layouts.items()}
        added = {"cards": cards} | ({"positions": _facts(tables)} if tables else {})
        receipt = {name: store.receipt.get(name, {}) | new for name, new in added.items()}
        # With what it says of the tables, all at once: a model without its table would measure one of its own.
        store.top_up(asked, request=grown, receipt=receipt | (seal_of(grown) if is_sealed else {}))
    return store


def _continued(store: MapStore, wanted: MapRequest) -> dict[str, Any]:
    """Return the store's request with what a call adds. Raises StoreMismatchError if it would change what is there."""
    stored, asked = store.request, wanted.to_dict()
    if asked["positions"] == _AUTO:
        asked["positions"] = stored["positions"]
    fixed, same = ({name: part for name, part in one.items() if name not in _GROWS} for one in (stored, asked))
    check_request(fixed, same, place=store.location.name)
    spans = {(span.start, span.end) for span in map(Span.of, temporals_of(store))}
    added = [one.to_dict() for one, span in zip(wanted.temporals, wanted.spans, strict=True) if span not in spans]
    labels = {ModelSpec.from_dict(one).label for one in stored["models"]}
    models = [one.to_dict() for one in wanted.request.models if one.label not in labels]
    return stored | {
        "temporals": [*stored["temporals"], *added],
        "models": [*stored["models"], *models],
    }


def _new_tables(store: MapStore, run: MapRun) -> dict[str, PositionTable]:
    """Return the given tables that the map lacks; refuse one that is not that by which vectors were made."""
    tables = dict(run.tables)
    for label in tables.keys() & set(store.labels):
        kept, given = store.table(label), tables[label]
        if kept is None and not was_decided(store, label):
            continue
        if kept is None or kept.digest != given.digest:
            own = "without a table" if kept is None else f"with another table, {kept.digest}"
            fix = "leave positions out, or write to another out="
            raise StoreMismatchError("map positions", value=given.digest, reason=f"{label} was made {own}", fix=fix)
        del tables[label]
    return tables


def _facts(tables: Mapping[str, PositionTable]) -> dict[str, Any]:
    return {label: facts_of(table, decide(table, REMOVED)) for label, table in tables.items()}


def _adds(store: MapStore, asked: Sequence[Asked]) -> bool:
    """Return whether a call asks for a model, span or block that the store does not know."""
    return store.document.asking(asked) != store.document


def _cover(store: MapStore, whole: Region, added: Region) -> None:
    """Write anew which share of each token the regions cover, in the blocks of all models that a region touches."""
    for label in store.labels:
        for group in store.groups(label):
            lattice = Lattice(**vars(group))
            there = {at for listed in store.decided(label, group.group).values() for at in listed}
            for at in there.intersection(added.blocks(lattice)):
                block = store.block(BlockKey(label, group.group, 0, *at))
                block.write_coverage(whole.coverage(lattice, lattice.rect(*at)))
