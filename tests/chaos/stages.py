"""What the attacked runs compute: small places of a made landscape, from the synthetic provider or a STAC service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rs_embed_dask.providers import Provider, open_provider
from rs_embed_dask.specs import TemporalSpec
from rs_embed_dask.store import Status, Store, Target
from tests.chaos.maps import BORDER, MapStage
from tests.chaos.verdict import Verdict, done_share, judge, open_chunks
from tests.services.landscape_catalog import Landscape
from tests.services.loopback import Call, Fault
from tests.services.service import Service

SPAN = TemporalSpec.range("2022-06-01", "2022-07-01")
SQUARE = Landscape(side=5, place_m=160.0, span=SPAN, cloud=0.1)
MODELS = ({"id": "bandstats", "options": {"bands": ["red", "nir"]}}, {"id": "rcf", "options": {"features": 8}})
PLACES = SQUARE.side**2
CHUNK_ITEMS = 3
ANSWER_S = 0.05


@dataclass(frozen=True)
class Stage:
    """A provider and the arguments of the call."""

    name: str
    provider: Provider

    def arguments(self, first: float = 0.0, last: float = 1.0) -> dict[str, Any]:
        """Arguments of `compute_embeddings` for a part of the places, given by shares of all."""
        places = SQUARE.places()
        rows = range(round(first * len(places)), round(last * len(places)))
        return {
            "spatials": [places[row] for row in rows],
            "models": list(MODELS),
            "temporal": SPAN,
            "provider": self.provider,
            "ids": [f"place-{row}" for row in rows],
            "chunk_items": CHUNK_ITEMS,
        }

    def progress(self, target: Target) -> tuple[float, int]:
        """What share of the items is done, and how many chunks are not."""
        store = Store.open(target)
        return done_share(store, PLACES), open_chunks(store)

    def judge(self, target: Target, reference: Store | None) -> Verdict:
        """Compare with an undisturbed run; without one, with itself."""
        # Opened as the next run would: that removes what writes left that were killed after the last call.
        store = Store.open(target, mode="r+")
        return judge(store, reference or store)

    def reference(self, target: Target) -> Store:
        """Open what an undisturbed run has left, and make sure that there is something to compare with."""
        store = Store.open(target)
        embedded = sum(
            counts.get(code, 0) for counts in store.counts().values() for code in (Status.OK, Status.PARTIAL)
        )
        assert embedded > PLACES, f"only {embedded} of {2 * PLACES} vectors are there to be compared"
        return store


@dataclass(frozen=True)
class TwoBands(Landscape):
    """A landscape in the bands of the models, and the mask of clouds."""

    def _layers(self, scene: Any, grid: Any, names: tuple[str, ...]) -> Any:
        return super()._layers(scene, grid, ("B04", "B08") if "B04" in names else ("SCL",))


COUNTY = TwoBands(side=4, place_m=640.0, span=SPAN, cloud=0.1)


@contextmanager
def stage(name: str, folder: Path, *, is_map: bool = False) -> Iterator[Stage | MapStage]:
    """Set the stage of a provider, for places or a map; "stac" is a service in a thread of this process."""
    if name == "synthetic":
        provider = open_provider("synthetic", seed=11, cloud=0.1, revisit_days=10, latency_s=(0.6, 0.3))
        yield MapStage("map", provider, BORDER, blocks=13) if is_map else Stage(name, provider)
        return
    ground = COUNTY if is_map else SQUARE
    ground.write(folder / "catalogue")
    with Service(folder / "catalogue", hrefs="local", rule=_slowly) as service:
        served = open_provider("stac", url=service.url, source="planetary_computer")
        yield MapStage("map, stac", served, ground.whole, blocks=6) if is_map else Stage(name, served)


def _slowly(call: Call) -> Fault | None:
    return Fault(delay_s=ANSWER_S) if call.kind in {"range", "search"} else None
