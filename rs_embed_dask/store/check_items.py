"""Checks of a store's items, of their copies beside each model, and of files that belong to nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import RsEmbedError, StoreError
from rs_embed_dask.store.arrays import item_checksums, rewrite
from rs_embed_dask.store.damage import Damage, Finding, Remedy
from rs_embed_dask.store.document import ITEMS
from rs_embed_dask.store.items import ItemColumns, decoded_items, encoded_items, strange_rows
from rs_embed_dask.store.layout import CHECKSUM, COORDS, ITEM_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rs_embed_dask.store.document import Document
    from rs_embed_dask.store.view import StoreView

    Columns = dict[str, np.ndarray[Any, Any]]
    Span = tuple[int, int]

__all__ = ["Sound", "check_copies", "check_items"]

_TOLD: Final = ("spatial", "temporal")
"""What was asked for; every other column but the name follows from these two."""


@dataclass(frozen=True, eq=False)
class Sound:
    """What holds of the items: their keys, and the columns that stand in for damaged ones."""

    keys: np.ndarray[Any, Any]
    lost: set[Span] = field(default_factory=set)
    columns: dict[tuple[str, Span], np.ndarray[Any, Any]] = field(default_factory=dict)


def _spans(document: Document) -> Iterator[Span]:
    """Cut the rows into those of one file each."""
    for start in range(0, document.n_items, document.item_rows):
        yield start, min(start + document.item_rows, document.n_items)


def check_items(view: StoreView, document: Document, *, sound: Sound) -> Iterator[Finding]:
    """Check items by their checksums, or by their keys where none were recorded."""
    names = [one.name for one in (*ITEM_FIELDS, CHECKSUM) if f"{ITEMS}/{one.name}" in document.metadata]
    for span in _spans(document):
        columns = _readable(view, names, span)
        whole = columns if _is_sound(columns, names, span) else _rebuilt(view, columns, span)
        if whole is None:
            what = ", ".join(name for name in names if name not in columns) or "a column"
            where = f"{ITEMS} rows {span[0]} to {span[1] - 1}"
            yield Finding(Damage(where, f"{what} cannot be read or does not match", Remedy.RESTORE))
            # What stands there proves nothing: neither vectors nor copies may be changed to match it.
            sound.lost.add(span)
            continue
        sound.keys[slice(*span)] = whole["key"]
        for name in names:
            if name not in columns or not _are_equal(columns[name], whole[name]):
                path = f"{ITEMS}/{name}"
                shard = span[0] // document.item_rows
                damage = Damage(f"{path}/c/{shard}", "it is lost or altered", Remedy.REBUILD)
                sound.columns[name, span] = whole[name]
                yield Finding(damage, partial(rewrite, document=document, path=path, shard=shard, values=whole[name]))


def _readable(view: StoreView, names: list[str], span: Span) -> Columns:
    columns = {}
    for name in names:
        try:
            columns[name] = view.values(ITEMS, name, span)
        except StoreError:
            continue
    return columns


def _is_sound(columns: Columns, names: list[str], span: Span) -> bool:
    if len(columns) < len(names):
        return False
    if not np.array_equal(columns["item"], np.arange(*span)):  # rows of another place may be whole in themselves
        return False
    if CHECKSUM.name in columns:
        return bool(np.array_equal(columns[CHECKSUM.name], item_checksums(columns)))
    return not strange_rows(columns)


def _rebuilt(view: StoreView, columns: Columns, span: Span) -> Columns | None:
    """Make the rows of one file again from the places, the spans and the names, if these can be proven."""
    if not all(name in columns for name in _TOLD):
        return None
    candidates = _names(view, columns, span)
    for names in candidates:
        told = {name: columns[name] for name in _TOLD} | {"id": names}
        try:
            made = encoded_items(ItemColumns.of(decoded_items(told, span[0])), span[0])
        except (RsEmbedError, ValueError, KeyError, TypeError):
            return None
        whole = made | {name: columns[name] for name in _TOLD}
        whole[CHECKSUM.name] = item_checksums(whole)
        differing = {name for name in whole if name not in columns or not _are_equal(columns[name], whole[name])}
        # Proven by the checksum; or, where that is what was lost or never was, by all the other columns and copies.
        if CHECKSUM.name not in differing or (len(candidates) == 1 and differing <= {CHECKSUM.name, "key"}):
            return whole
    return None


def _names(view: StoreView, columns: Columns, span: Span) -> list[np.ndarray[Any, Any]]:
    """List what may be the items' names, as stored and as copied beside each model, each once."""
    names = [columns["id"]] if "id" in columns else []
    for label in view.labels:
        try:
            copied = view.values(label, "id", span)
        except StoreError:
            continue
        if not any(_are_equal(copied, one) for one in names):
            names.append(copied)
    return names


def _are_equal(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    if second.dtype.kind in "OUT":
        return [str(one) for one in first] == [str(one) for one in second]
    return bool(np.array_equal(first, second, equal_nan=second.dtype.kind == "f"))


def check_copies(view: StoreView, document: Document, label: str, *, sound: Sound) -> Iterator[Finding]:
    """Compare the coordinates beside a model with the items'."""
    for coord in COORDS:
        path = f"{label}/{coord.name}"
        for span in (one for one in _spans(document) if one not in sound.lost):
            expected = sound.columns.get((coord.name, span))
            try:
                expected = view.values(ITEMS, coord.name, span) if expected is None else expected
            except StoreError:
                continue  # reported as a damage of the items
            try:
                is_copy = _are_equal(view.values(label, coord.name, span), expected)
            except StoreError:
                is_copy = False
            if not is_copy:
                shard = span[0] // document.item_rows
                damage = Damage(f"{path}/c/{shard}", f"it is not the same as {ITEMS}/{coord.name}", Remedy.REBUILD)
                yield Finding(damage, partial(rewrite, document=document, path=path, shard=shard, values=expected))
