"""The root document of a map's store: its spans, models, groups, and which blocks were asked for.

As with places, what is made or added becomes visible when this one key is replaced (see `document`).
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from rs_embed_dask.errors import StoreError, StoreMismatchError
from rs_embed_dask.store.document import MAP, RootDocument
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import MapGroup, MapLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rs_embed_dask.store.map_layout import Asked, TimeSpan

__all__ = ["MapDocument", "Wanted"]

Wanted: TypeAlias = "Mapping[tuple[str, str], Mapping[int, BlockSet]]"
"""The blocks that were asked for, by label and group, and by the number of the span."""


@dataclass(frozen=True, kw_only=True)
class MapDocument(RootDocument[MapLayout]):
    """The root document of a map."""

    groups: Mapping[str, tuple[MapGroup, ...]] = field(default_factory=dict)
    spans: tuple[TimeSpan, ...] = ()
    wanted: Wanted = field(default_factory=dict)

    kind: ClassVar[str] = MAP
    noun: ClassVar[str] = "map"
    title: ClassVar[str] = "maps of embeddings of remote-sensing foundation models"

    def group(self, label: str, name: str) -> MapGroup:
        """Find a group of a model."""
        self.layout(label)
        for one in self.groups[label]:
            if one.group == name:
                return one
        names = ", ".join(one.group for one in self.groups[label])
        raise StoreError(
            "group", value=name, reason=f"the map has no such group for {label}", fix=f"use one of {names}"
        )

    def asking(self, asked: Iterable[Asked]) -> Self:
        """Return the document that holds what is asked too. Raises StoreMismatchError where that cannot be."""
        spans, layouts, groups = list(self.spans), list(self.layouts), {**self.groups}
        wanted = defaultdict(dict, {key: dict(blocks) for key, blocks in self.wanted.items()})
        for one in asked:
            label = one.layout.label
            _add(layouts, one.layout, lambda old, new: old.label == new.label)
            spans += [span for span in one.spans if span not in spans]
            listed = list(groups.get(label, ()))
            for group, blocks in one.blocks.items():
                _check_block(one.layout, group)
                _add(listed, group, lambda old, new: old.group == new.group)
                by_time = wanted[label, group.group]
                for time in map(spans.index, one.spans):
                    by_time[time] = by_time.get(time, BlockSet()) | blocks
            groups[label] = tuple(listed)
        return replace(self, spans=tuple(spans), layouts=tuple(layouts), groups=groups, wanted=dict(wanted))

    @property
    def _mark(self) -> dict[str, Any]:
        return {
            "kind": MAP,
            "spans": [[first.isoformat(), stop.isoformat()] for first, stop in self.spans],
            "groups": {label: [one.to_dict() for one in groups] for label, groups in self.groups.items()},
            "asked": _grouped(self.wanted),
        }

    @property
    def _listed(self) -> dict[str, dict[str, Any]]:
        # Sorted by group, for Zarr loses children of a group that are not listed one after the other.
        return dict(sorted(self.metadata.items(), key=lambda one: one[0].split("/")))

    @classmethod
    def _parsed(cls, mark: dict[str, Any], models: list[dict[str, Any]], **common: Any) -> Self:
        return cls(
            layouts=tuple(map(MapLayout.from_dict, models)),
            groups={label: tuple(map(MapGroup.from_dict, groups)) for label, groups in mark["groups"].items()},
            spans=tuple((dt.date.fromisoformat(first), dt.date.fromisoformat(stop)) for first, stop in mark["spans"]),
            wanted=_spread(mark["asked"]),
            **common,
        )


def _add(listed: list[Any], new: Any, is_same: Any) -> None:
    """Add to a list what is not there; what is there must be equal, for nothing that is stored can change its shape."""
    for old in listed:
        if is_same(old, new):
            _check_equal(old.to_dict(), new.to_dict())
            return
    listed.append(new)


def _check_equal(old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in old.keys() - {"attrs"}:
        if old[name] != new[name]:
            what, reason = old.get("label") or old["group"], f"{name} is {old[name]} there and {new[name]} here"
            fix = "write to another out=, or ask for the map as it was made"
            raise StoreMismatchError("map", value=what, reason=reason, fix=fix)


def _check_block(layout: MapLayout, group: MapGroup) -> None:
    if (layout.token_m, layout.block) != (group.token_m, group.block):
        reason = f"its blocks are {group.block} tokens of {group.token_m:g} m"
        fix = f"use the lattice of {layout.label}: {layout.block} tokens of {layout.token_m:g} m"
        raise StoreError("group", value=group.group, reason=reason, fix=fix)


def _grouped(wanted: Wanted) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Write blocks as texts, each once with the spans that it is asked for in."""
    texts: dict[str, dict[str, dict[str, list[int]]]] = {}
    for (label, group), by_time in wanted.items():
        lines = texts.setdefault(label, {}).setdefault(group, {})
        for time, blocks in by_time.items():
            lines.setdefault(blocks.to_text(), []).append(time)
    return texts


def _spread(texts: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]]) -> Wanted:
    return {
        (label, group): {
            time: blocks for line, times in lines.items() for blocks in [BlockSet.from_text(line)] for time in times
        }
        for label, groups in texts.items()
        for group, lines in groups.items()
    }
