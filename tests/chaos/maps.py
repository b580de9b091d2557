"""The map that attacked runs compute: blocks on both sides of a border of zones, judged block by block."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rs_embed_dask.providers import Provider, open_provider
from rs_embed_dask.specs import BBox, TemporalSpec
from rs_embed_dask.store import DONE, BlockKey, MapStore, Status, verify
from tests.chaos.play import Play
from tests.chaos.schedule import Schedule
from tests.chaos.verdict import Verdict

SPAN = TemporalSpec.range("2022-06-01", "2022-07-01")
PIXELS = {"bands": ["red", "nir"], "patch_px": 2}
MODELS = ({"id": "bandstats", "options": PIXELS}, {"id": "rcf", "options": PIXELS | {"features": 8}})
WEST, EAST, SOUTH, NORTH = 5.985, 6.02, 50.901, 50.925
BLOCKS = 13
"""Of each model, over both zones."""


@dataclass(frozen=True)
class MapStage:
    """A provider and the arguments of the call."""

    provider: Provider = field(
        default_factory=lambda: open_provider("synthetic", seed=11, cloud=0.1, revisit_days=10, latency_s=(0.6, 0.3))
    )
    name: str = "map"

    def arguments(self, first: float = 0.0, last: float = 1.0) -> dict[str, Any]:
        """Arguments of `compute_map` for a part of the region, from south to north."""
        south, north = (SOUTH + share * (NORTH - SOUTH) for share in (first, last))
        return {
            "region": BBox(WEST, south, EAST, north),
            "models": list(MODELS),
            "temporal": SPAN,
            "provider": self.provider,
            "dtype": "float32",
            "preview": False,
        }

    def progress(self, target: Path) -> tuple[float, int]:
        """What share of the blocks is done, and how many are not."""
        counts = MapStore.open(target).counts().values()
        done = sum(codes.get(code, 0) for codes in counts for code in DONE)
        return done / (BLOCKS * len(MODELS)), sum(sum(codes.values()) for codes in counts) - done

    def judge(self, target: Path, reference: MapStore | None) -> Verdict:
        """Compare with an undisturbed run; without one, with itself."""
        here = _blocks(MapStore.open(target))
        right = here if reference is None else _blocks(reference)
        lost = [name for name in right if name not in here or Status(here[name]["status"][0]) not in DONE]
        wrong = [name for name in here if name not in lost and here[name] != right.get(name)]
        damages = [f"{one.where}: {one.reason}" for one in verify(target).damages]
        return Verdict(len(right), tuple(lost), (), (*wrong, *damages))


def _blocks(store: MapStore) -> dict[str, dict[str, bytes]]:
    """All that a map holds of each block but for what the regions cover of it, as bytes by array."""
    content = {}
    for label in store.labels:
        for group in store.groups(label):
            for at in store.asked(label, group.group, 0):
                block = store.block(BlockKey(label, group.group, 0, *at))
                fields = (one for one in block.layout.fields if one.name != "coverage")
                values = {one.name: block.read(one) for one in fields}
                content[f"{label}/{group.group}/{at}"] = {name: _bytes(value) for name, value in values.items()}
    return content


def _bytes(value: Any) -> bytes:
    return f"{value}".encode() if np.asarray(value).dtype.kind in "OUT" else np.asarray(value).tobytes()


def undisturbed(stage: MapStage, farm: Any) -> MapStore:
    """Make the map without a blow."""
    target = farm.folder / "undisturbed.zarr"
    outcome = Play(Schedule(-1, ()), stage, farm=farm, target=target).run(None)
    assert outcome.is_clean, str(outcome)
    store = MapStore.open(target)
    counts = store.counts()
    assert {label: sum(codes.values()) for label, codes in counts.items()} == dict.fromkeys(counts, BLOCKS)
    return store
