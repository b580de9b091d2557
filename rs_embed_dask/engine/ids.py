"""Ids of items: each stands for one place and span, in a call and in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_embed_dask.errors import SpecError, StoreMismatchError
from rs_embed_dask.store.document import ITEMS

if TYPE_CHECKING:
    from rs_embed_dask.store import ItemColumns, Store

__all__ = ["check_known", "check_unique"]


def check_unique(items: ItemColumns) -> None:
    """Refuse an id that two items of a call have for the same span. Raises SpecError, which shows both."""
    if items.ids is None:
        return
    seen: dict[tuple[Any, Any], int] = {}
    for row, (name, span) in enumerate(zip(items.ids, items.spans, strict=True)):
        other = seen.setdefault((name, span), row)
        if other != row:
            first, second = (f"places[{one // items.spans_each}] {items.places[one]!r}" for one in (other, row))
            fix = "give each place an id of its own, or ids= the name of a column that has one"
            raise SpecError("ids", value=name, reason=f"two places have it: {first} and {second}", fix=fix)


def check_known(store: Store, items: ItemColumns) -> None:
    """Refuse ids that the store has for another place, and places that it has under another id."""
    if items.ids is None:
        return
    stored = {name: store.values(ITEMS, name) for name in ("id", "key", "temporal")}
    ids = [str(name) for name in stored["id"]]
    by_key = dict(zip(stored["key"].tolist(), ids, strict=True))
    by_id = {pair: row for row, pair in enumerate(zip(ids, map(str, stored["temporal"]), strict=True))}
    texts = {span: span.to_json() for span in set(items.spans)}
    for row, (key, name) in enumerate(zip(items.keys.tolist(), items.ids, strict=True)):
        known = by_key.get(key)
        if known is not None and known != name and (name, texts[items.spans[row]]) not in by_id:
            reason = f"the store has this place as {known!r}: {items.places[row]!r}"
            raise _mismatch(store, name, reason, "leave ids= out, use the store's ids, or write to another out=")
        other = by_id.get((name, texts[items.spans[row]]))
        if other is not None and int(stored["key"][other]) != key:
            place = store.values(ITEMS, "spatial", (other, other + 1))[0]
            reason = f"the store has it at {place}, and here it is at {items.places[row].to_json()}"
            raise _mismatch(store, name, reason, "give the new place another id, or write to another out=")


def _mismatch(store: Store, name: object, reason: str, fix: str) -> StoreMismatchError:
    return StoreMismatchError("ids", value=name, reason=f"{reason} ({store.target})", fix=fix)
