"""What the attacked runs compute: small places of a made landscape, from the synthetic provider or a STAC service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rs_embed_dask.providers import Provider, open_provider
from rs_embed_dask.specs import TemporalSpec
from rs_embed_dask.store import Store
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

    def progress(self, target: Path) -> tuple[float, int]:
        """What share of the items is done, and how many chunks are not."""
        store = Store.open(target)
        return done_share(store, PLACES), open_chunks(store)

    def judge(self, target: Path, reference: Store | None) -> Verdict:
        """Compare with an undisturbed run; without one, with itself."""
        store = Store.open(target)
        return judge(store, reference or store)


@contextmanager
def stage(name: str, folder: Path) -> Iterator[Stage]:
    """Set the stage of a provider: for "stac", a service in a thread of this process."""
    if name == "synthetic":
        yield Stage(name, open_provider("synthetic", seed=11, cloud=0.1, revisit_days=10, latency_s=(0.6, 0.3)))
        return
    SQUARE.write(folder / "catalogue")
    with Service(folder / "catalogue", hrefs="local", rule=_slowly) as service:
        yield Stage(name, open_provider("stac", url=service.url, source="planetary_computer"))


def _slowly(call: Call) -> Fault | None:
    return Fault(delay_s=ANSWER_S) if call.kind in {"range", "search"} else None
