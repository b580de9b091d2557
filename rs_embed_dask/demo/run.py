"""The demo: a cluster, a catalogue and 64 places on this machine, and a worker that dies on the way.

Nothing leaves the machine. It ends with numbers, a Zarr store and a picture.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distributed import Client

from rs_embed_dask import api
from rs_embed_dask.demo import picture
from rs_embed_dask.demo.mishap import KillsOneWorker, process_ids
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.progress import listeners_for
from rs_embed_dask.engine.report import Listener, emit
from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs import ModelSpec, OutputSpec
from rs_embed_dask.store import Status
from tests.services.landscape import Landscape
from tests.services.loopback import Call, Fault
from tests.services.service import Service

if TYPE_CHECKING:
    from rs_embed_dask.engine.report import Event, RunReport
    from rs_embed_dask.store.status import StatusReport

__all__ = ["walk"]

_CHUNK_ITEMS: Final = 4
_PATCH_PX: Final = 4
_ANSWER_S: Final = 0.02
_OURS: Final = ("catalogue", "demo.zarr", "demo.png")


def walk(out: Path, *, side: int = 8) -> int:
    """Run the demo."""
    started = time.perf_counter()
    landscape = Landscape(side)
    _clear(out)
    scenes = landscape.write(out / "catalogue")
    _say(f"made a landscape of {side * landscape.place_m / 1000:g} km in {scenes} tiles of Sentinel-2 scenes in {out}")
    with Service(out / "catalogue", hrefs="local", rule=_slowly) as service:
        _say(f"serving it as a STAC API with cloud-optimised GeoTIFFs at {service.url}")
        report, killed = _embed(landscape, service.url, out / "demo.zarr")
        answered, sent = sum(service.counts().values()), service.bytes_sent()
    found = api.status(out / "demo.zarr")
    _say(f"\n{report.against_plan}")
    _say(f"\n{found}")
    picture.save(landscape, out)
    decided = found.is_finished and not found.n_retryable
    _summary(found, decided=decided, killed=killed)
    _say(f"service  {answered:,} requests answered, {sent / 1e6:.0f} MB sent")
    _say(f"store    {out / 'demo.zarr'}: rs-embed-dask status {out / 'demo.zarr'} --items")
    _say(f"picture  {out / 'demo.png'}")
    _say(f"time     {time.perf_counter() - started:.0f} s in all, {report.seconds:.0f} s of them the run")
    return 0 if decided else 1


def _embed(landscape: Landscape, url: str, store: Path) -> tuple[RunReport, bool]:
    """Plan, then run on two worker processes, one of which is killed half way."""
    models = [ModelSpec(name, options=(("patch_px", _PATCH_PX),)) for name in ("rcf", "bandstats")]
    request: dict[str, Any] = {
        "output": OutputSpec.grid(),
        "provider": open_provider("stac", url=url, source="planetary_computer"),
        "chunk_items": _CHUNK_ITEMS,
    }
    places = landscape.places()
    _say(f"\n{api.plan(places, models, landscape.span, **request)}\n")
    with cluster("local", processes=2) as made, Client(made, set_as_default=False) as client, ExitStack() as stack:
        half = max(1, len(places) // _CHUNK_ITEMS // 2)
        mishap = KillsOneWorker(client.run(process_ids), after=half, say=_say)
        listeners: tuple[Listener, ...] = (*listeners_for(progress=True, stack=stack), mishap)

        def watch(event: Event) -> None:
            emit(listeners, event)

        api.compute_embeddings(places, models, landscape.span, out=store, client=client, progress=watch, **request)
    if mishap.report is None:  # pragma: no cover - the engine always says that a run is over
        raise RuntimeError("the run ended without a report")
    return mishap.report, mishap.killed > 0


def _slowly(call: Call) -> Fault | None:
    """Answer like a service that is far away."""
    return Fault(delay_s=_ANSWER_S) if call.kind in {"range", "search"} else None


def _clear(out: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    out.mkdir(parents=True, exist_ok=True)
    for name in _OURS:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _summary(found: StatusReport, *, decided: bool, killed: bool) -> None:
    states = {state for counts in found.counts.values() for state in counts}
    words = "a worker was killed on the way, and" if killed else "and"
    lost = "nothing was lost: every item is decided" if decided else "something is left to do"
    _say(f"\n{found.n_items} places x {len(found.counts)} models; {words} {lost}")
    if Status.NO_DATA in states:
        _say("(places without data lie beyond the swath's edge, in the south-eastern corner)")


def _say(line: str) -> None:
    print(line, flush=True)
