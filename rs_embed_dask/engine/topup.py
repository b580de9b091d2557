"""The store of a call: a new one, or an existing one that gains the items and models it lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rs_embed_dask.engine.ids import check_known
from rs_embed_dask.engine.plan import Plan, Sizes, StoredItems, make_plan
from rs_embed_dask.engine.position_plan import check_given, settled_positions
from rs_embed_dask.engine.recipe import choose
from rs_embed_dask.errors import StoreError, StoreMismatchError
from rs_embed_dask.specs.places import check_places
from rs_embed_dask.specs.positions import REMOVED
from rs_embed_dask.store import (
    ALL_CHUNKS,
    ItemColumns,
    Store,
    build_receipt,
    check_fixed,
    check_request,
    has_lost_chunks,
    mend_lost_chunks,
    parts_record,
)
from rs_embed_dask.store.seal import is_own, seal_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.store import ChunkRange, ModelLayout, Part, StoreView
    from rs_embed_dask.store.document import Target

__all__ = ["finished_store", "keep_columns", "lacks", "new_plan", "store_for"]


def _chunks(part: Part | None, n_chunks: int) -> ChunkRange:
    return ALL_CHUNKS if part is None else part.chunks(n_chunks)


def lacks(items: ItemColumns, request: Request, store: StoreView) -> bool:
    """Whether a store lacks an item or a model of a request."""
    return bool(set(request.labels) - set(store.labels) or store.match_items(items).new)


def finished_store(out: Target, items: ItemColumns, request: Request, *, part: Part | None = None) -> Store | None:
    """Return the store at `out` if it holds all that is asked for, or a part of it, finished: that needs no lease."""
    if not Store.exists(out):
        return None
    store = Store.open(out)
    if set(request.labels) - set(store.labels):
        return None
    check_request(store.request, request.to_dict(), place=str(store.target))
    if request.output.positions_mode == REMOVED:
        check_given(request, choose(request), store)
    if store.match_items(items).new:
        return None
    chunks = ALL_CHUNKS if part is None else part.of_store(store)
    is_open = any(len(store.open_rows(label, chunks=chunks)) for label in request.labels)
    if is_open or has_lost_chunks(store, request.labels, chunks=chunks):
        return None
    check_known(store, items)
    return None if store.differing_columns(items, store.rows_of(items)) else store


def keep_columns(store: Store, items: ItemColumns) -> None:
    """Keep the columns that came with the places, where the store lacks them or has other values."""
    if items.columns:
        rows = store.rows_of(items)
        store.set_columns(store.differing_columns(items, rows), rows)


def new_plan(
    out: Target, items: ItemColumns, request: Request, *, sizes: Sizes, part: Part | None = None
) -> Plan | None:
    """Plan a store that is not there yet. Every refusal comes before anything is written, the lease included."""
    try:
        if Store.exists(out):
            return None
        Store.check_vacant(out)
    except StoreError:
        if Store.exists(out):  # another run has made it meanwhile, as parts do that begin at once
            return None
        raise
    check_places(items.places)
    plan = make_plan(items, request, sizes=sizes)
    _chunks(part, plan.figures.chunks)
    return plan


def store_for(
    out: Target,
    items: ItemColumns,
    request: Request,
    *,
    sizes: Sizes,
    new: Plan | None = None,
    part: Part | None = None,
) -> tuple[Store, Plan]:
    """Create the store, as planned, or open and top up the one at `out`; the plan covers all that it then holds."""
    if Store.exists(out):
        store = Store.open(out, mode="r+")
        todo = _topped_up(store, items, request, sizes=sizes, part=part)
        mend_lost_chunks(store, chunks=_chunks(part, store.n_chunks))
        return store, todo
    plan = new or new_plan(out, items, request, sizes=sizes, part=part)
    assert plan is not None
    written = request.to_dict()
    cards = {layout.label: layout.attrs.get("card") for layout in plan.layouts}
    receipt = build_receipt(written, cards=cards, provider=written["provider"]) | seal_of(written)
    receipt["outputs"] = _outputs(plan.layouts, plan)
    receipt |= parts_record(part, len(items), [layout.label for layout in plan.layouts])
    store = Store.create(
        out, items=items, models=plan.layouts, request=written, chunk_items=plan.chunk_items, receipt=receipt
    )
    return store, plan


def _topped_up(store: Store, items: ItemColumns, request: Request, *, sizes: Sizes, part: Part | None) -> Plan:
    """Add the items and models that the store lacks. Every refusal comes before the first write."""
    check_request(store.request, request.to_dict(), place=str(store.target))
    match = store.match_items(items)
    check_known(store, items)
    check_places(ItemColumns.of(match.new).places)
    is_larger = bool(match.new or set(request.labels) - set(store.labels))
    if is_larger:
        check_fixed(store)
    is_as_stored = not (is_larger or match.absent)
    # The plan is made before the items are appended and covers them too, because a new model embeds all items.
    future = items if is_as_stored else StoredItems(store, match.new)
    chosen = replace(sizes, chunk_items=store.chunk_items)
    settled = settled_positions(store, may_change=part is None)  # another part may be writing by it
    plan = make_plan(future, request, sizes=chosen, stored=store.layouts, added=match.new, settled=settled)
    _check_room(store, plan)
    _chunks(part, plan.figures.chunks)
    if is_as_stored:
        return plan
    if match.new:
        store.append_items(match.new, after=store.n_items, digest=items.digest if match.is_in_order else "")
    _add_models(store, plan)
    return replace(plan, items=StoredItems(store))


def _outputs(layouts: Iterable[ModelLayout], plan: Plan) -> dict[str, dict[str, str]]:
    """State each model's pooling, whether a polygon is its shape or the box around it, its frames, and its token."""
    outputs = {}
    for one in layouts:
        pooling, within = one.attrs.get("output", {}).get("pooling", ""), one.attrs.get("within", "")
        outputs[one.label] = {"pooling": pooling, "within": within}
        outputs[one.label] |= {
            name: str(facts[one.label])
            for name, facts in (("token", plan.scales), ("frames", plan.outlook.frames))
            if one.label in facts
        }
    return outputs


def _add_models(store: Store, plan: Plan) -> None:
    missing = [layout for layout in plan.layouts if layout.label not in store.labels]
    if not missing:
        return
    labels = {layout.label for layout in missing}
    specs = [spec.to_dict() for spec in plan.request.models if spec.label in labels]
    is_sealed = is_own(store.request, store.receipt)
    store.add_models(missing, request=store.request | {"models": [*store.request["models"], *specs]})
    cards = {layout.label: layout.attrs.get("card") for layout in missing}
    outputs = _outputs(missing, plan)
    store.update_receipt(cards=cards, outputs=outputs, **(seal_of(store.request) if is_sealed else {}))


def _check_room(store: Store, plan: Plan) -> None:
    """Refuse items that are larger, or have more frames, than the store has room for."""
    for layout in plan.layouts:
        if layout.label not in store.labels:
            continue
        stored = store.layout(layout.label)
        sizes = [
            ("frames", stored.frames, layout.frames),
            *zip(("grid rows", "grid columns"), stored.grid_shape or (), layout.grid_shape or (), strict=False),
        ]
        for name, limit, needed in sizes:
            if needed > limit:
                raise StoreMismatchError(
                    f"{name} of {layout.label}",
                    value=needed,
                    reason=f"the store at {store.target} was made for at most {limit} per item",
                    fix="write these items to another out=, or cut them to the size of the first ones",
                )
