"""Frames of a map that are acquisitions: looked up once for each group and span, and kept, so that they never vary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.engine.framing import dated
from rs_embed_dask.engine.reading import with_retries
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.maps.lattice import Rect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.engine.recipe import ReadGroup, Recipe
    from rs_embed_dask.maps.passes import MapPass
    from rs_embed_dask.specs import TemporalSpec
    from rs_embed_dask.store.map_store import MapStore

__all__ = ["ACQUISITIONS", "dated_recipe"]

ACQUISITIONS: Final = "acquisitions"
"""Part of a map's receipt: by model, group and span, the days of each frame."""


def dated_recipe(recipe: Recipe, store: MapStore, work: MapPass, *, temporal: TemporalSpec) -> Recipe:
    """Return a recipe whose frames are the acquisitions over all blocks of a pass; what was looked up is kept."""
    groups: list[ReadGroup] = []
    found: dict[str, tuple[Span, ...]] = {}
    for group in recipe.groups:
        labels = [need.label for need in group.needs if need.label in work.wanted]
        if not group.is_open or not labels:
            groups.append(group)
            continue
        kept = [_kept(store.receipt, label, work.lattice.group, temporal) for label in labels]
        spans = next(filter(None, kept), ()) or _searched(recipe, group, work, temporal)
        groups.append(replace(group, acquired=spans))
        found |= {label: spans for label, there in zip(labels, kept, strict=True) if spans and not there}
    if found:
        store.update_receipt(**{ACQUISITIONS: _with(store.receipt, found, work.lattice.group, temporal)})
    return replace(recipe, groups=tuple(groups))


def _searched(recipe: Recipe, group: ReadGroup, work: MapPass, temporal: TemporalSpec) -> tuple[Span, ...]:
    """Ask the catalogue for the acquisitions over the rectangle around all blocks; none where there is no scene."""
    rects = [work.lattice.rect(*block) for blocks in work.wanted.values() for block in blocks]
    tops, lefts, bottoms, rights = zip(*rects, strict=True)
    grid = work.lattice.grid(Rect(min(tops), min(lefts), max(bottoms), max(rights)))
    read = Read(grid, group.sensor, group.bands, group.spans(temporal), group.fetch)
    seed = f"{work.lattice.group}/{group.sensor}"
    result = with_retries(lambda: dated(recipe.provider, read, group.frames), seed, recipe.retry, seed=seed)
    if result.value is None:
        assert result.error is not None
        raise result.error
    return () if result.value is read else result.value.frames


def _kept(receipt: Mapping[str, Any], label: str, group: str, temporal: TemporalSpec) -> tuple[Span, ...]:
    listed = receipt.get(ACQUISITIONS, {}).get(label, {}).get(group, {}).get(_name(temporal), ())
    return tuple(Span(start, end) for start, end in listed)


def _with(
    receipt: Mapping[str, Any], found: Mapping[str, tuple[Span, ...]], group: str, temporal: TemporalSpec
) -> dict[str, Any]:
    """Return what the receipt is to hold of all models."""
    kept = dict(receipt.get(ACQUISITIONS, {}))
    for label, spans in found.items():
        groups = dict(kept.get(label, {}))
        days = [[span.start.isoformat(), span.end.isoformat()] for span in spans]
        groups[group] = dict(groups.get(group, {})) | {_name(temporal): days}
        kept[label] = groups
    return kept


def _name(temporal: TemporalSpec) -> str:
    span = Span.of(temporal)
    return f"{span.start}/{span.end}"
