"""The maps that attacked runs compute, judged block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rs_embed_dask.maps.kept import book_of
from rs_embed_dask.providers import Provider
from rs_embed_dask.specs import BBox, TemporalSpec
from rs_embed_dask.store import DONE, BlockKey, MapStore, Status, Target, verify
from rs_embed_dask.store.map_layout import COVERAGE
from tests.chaos.verdict import Verdict

SPAN = TemporalSpec.range("2022-06-01", "2022-07-01")
PIXELS = {"bands": ["red", "nir"], "patch_px": 2}
MODELS = ({"id": "bandstats", "options": PIXELS}, {"id": "rcf", "options": PIXELS | {"features": 8}})
BORDER = BBox(5.985, 50.901, 6.02, 50.925)
"""On both sides of a border of zones: 13 blocks of 1.28 km."""

COVERED = 1e-3
"""By how much the covered share of a token may differ: an edge of a region put together has other corners."""


@dataclass(frozen=True)
class MapStage:
    """A provider, the region of the call, and how many blocks each model has in it."""

    name: str
    provider: Provider
    region: BBox
    blocks: int

    def arguments(self, first: float = 0.0, last: float = 1.0) -> dict[str, Any]:
        """Arguments of `compute_map` for a part of the region, from south to north."""
        south, height = self.region.minlat, self.region.maxlat - self.region.minlat
        return {
            "region": replace(self.region, minlat=south + first * height, maxlat=south + last * height),
            "models": list(MODELS),
            "temporal": SPAN,
            "provider": self.provider,
            "dtype": "float32",
            "preview": False,
        }

    def progress(self, target: Target) -> tuple[float, int]:
        """What share of the blocks is done, and how many are not."""
        counts = MapStore.open(target).counts().values()
        done = sum(codes.get(code, 0) for codes in counts for code in DONE)
        return done / (self.blocks * len(MODELS)), sum(sum(codes.values()) for codes in counts) - done

    def judge(self, target: Target, reference: MapStore | None) -> Verdict:
        """Compare with an undisturbed run; without one, with itself."""
        # Opened as the next run would: that removes what writes left that were killed after the last call.
        store = MapStore.open(target, mode="r+")
        here = _blocks(store)
        right = here if reference is None else _blocks(reference)
        done = [int(code) for code in DONE]
        lost = [name for name in right if name not in here or int(here[name]["status"]) not in done]
        differ = {name: _differing(block, right.get(name)) for name, block in here.items() if name not in lost}
        wrong = {name: arrays for name, arrays in differ.items() if arrays}
        return Verdict(
            len(right),
            lost=tuple(lost),
            doubled=tuple(_doubled(store)),
            wrong=tuple(wrong),
            damages=tuple(f"{one.where}: {one.reason}" for one in verify(target).damages),
            details=(
                *(f"{name} is lost: {_told(here.get(name))}" for name in lost),
                *(f"{name} is wrong: {', '.join(arrays)}" for name, arrays in wrong.items()),
            ),
        )

    def reference(self, target: Target) -> MapStore:
        """Open what an undisturbed run has left, and make sure that there is something to compare with."""
        store = MapStore.open(target)
        there = {
            label: codes.get(Status.OK, 0) + codes.get(Status.PARTIAL, 0) for label, codes in store.counts().items()
        }
        assert there == {model["id"]: self.blocks for model in MODELS}, there
        return store


def _blocks(store: MapStore) -> dict[str, dict[str, Any]]:
    """All that a map holds of each block, by array."""
    content = {}
    for label in store.labels:
        for group in store.groups(label):
            for at in store.asked(label, group.group, 0):
                block = store.block(BlockKey(label, group.group, 0, *at))
                content[f"{label}/{group.group}/{at}"] = {one.name: block.read(one) for one in block.layout.fields}
    return content


def _told(block: dict[str, Any] | None) -> str:
    """What a map says of a block that is not done."""
    return "it is not there" if block is None else f"{Status(int(block['status'])).words} {block['reason']}"


def _differing(block: dict[str, Any], right: dict[str, Any] | None) -> list[str]:
    """Name the arrays of a block that are not byte for byte what they should be."""
    if right is None:
        return ["nobody asked for it"]
    return [name for name, value in block.items() if not _equal(name, value, right[name])]


def _equal(name: str, value: Any, right: Any) -> bool:
    if name == COVERAGE:
        return bool(np.allclose(value, right, rtol=0, atol=COVERED))
    return _bytes(value) == _bytes(right)


def _bytes(value: Any) -> bytes:
    return f"{value}".encode() if np.asarray(value).dtype.kind in "OUT" else np.asarray(value).tobytes()


def _doubled(store: MapStore) -> list[str]:
    """Name the models of whose blocks more were scored than there are: the only place where one could count twice."""
    counts = store.counts()
    return [label for label in store.labels if book_of(store, label).blocks > sum(counts[label].values())]
