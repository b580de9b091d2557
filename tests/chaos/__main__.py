"""``python -m tests.chaos --seeds 200``: runs under attack, each compared with an undisturbed one; figures at the end.

Each seed draws what is killed and stopped, and when. A run that lost, doubled or changed an item, that hung or ended in
an unforeseen way is printed with its seed; ``--first SEED --seeds 1`` plays it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rs_embed_dask.store import MapStore, Store
from tests.chaos.depots import DEPOTS, Bucket, Folder
from tests.chaos.farm import Farm
from tests.chaos.maps import MapStage
from tests.chaos.play import Outcome, Play, undisturbed
from tests.chaos.schedule import Schedule
from tests.chaos.stages import Stage, stage

PROVIDERS = ("synthetic", "stac")


def attack(
    name: str, schedules: list[Schedule], folder: Path, *, is_map: bool, depot: Folder | Bucket
) -> list[Outcome]:
    """Play schedules with one provider, one after the other, on a cluster that they share until they kill it."""
    folder.mkdir()
    with stage(name, folder, is_map=is_map) as chosen, Farm(folder) as farm:
        reference = undisturbed(chosen, farm)
        return [_played(schedule, chosen, farm=farm, depot=depot, reference=reference) for schedule in schedules]


def _played(
    schedule: Schedule, chosen: Stage | MapStage, *, farm: Farm, depot: Folder | Bucket, reference: Store | MapStore
) -> Outcome:
    target = depot.place(farm.folder / f"seed-{schedule.seed}.zarr")
    outcome = Play(schedule, chosen, farm=farm, target=target).run(reference)
    print(f"{chosen.name:<13}  {outcome}", flush=True)
    if outcome.is_clean:
        depot.remove(target)
    if any("scheduler" in blow or "all" in blow for blow in outcome.struck):
        farm.close()  # with what is left of the old cluster
    return outcome


def figures(outcomes: list[Outcome]) -> str:
    """Sum up many runs in a few lines."""
    struck: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for outcome in outcomes:
        struck += outcome.struck
        ends += Counter(note.ending for note in outcome.notes) + Counter(killed=outcome.killed_calls)
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict is not None]
    items = sum(verdict.items for verdict in verdicts)
    kinds = ("lost", "doubled", "wrong", "damages")
    counts = [f"{sum(len(getattr(verdict, kind)) for verdict in verdicts)} {kind}" for kind in kinds]
    return "\n".join(
        [
            f"{len(outcomes)} runs, {struck.total()} blows, {ends.total()} calls, {items:,} items compared",
            "blows: " + ", ".join(f"{count} {name}" for name, count in struck.most_common()),
            "calls: " + ", ".join(f"{count} {name}" for name, count in ends.most_common()),
            f"{', '.join(counts)}; {sum(bool(o.trouble) for o in outcomes)} runs in trouble",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many schedules for each provider")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--provider", choices=PROVIDERS, help="one of the two; both if left out")
    parser.add_argument("--maps", action="store_true", help="attack a map instead of places, compared block by block")
    parser.add_argument("--store", choices=DEPOTS, default="folder", help="a folder, or an S3 service with faults")
    parser.add_argument("--drivers", type=int, choices=(1, 2), default=1, help="calls that write to one store at once")
    parser.add_argument("--out", type=Path, help="folder for logs, notes and the stores of runs that went wrong")
    chosen = parser.parse_args()
    schedules = [Schedule.drawn(chosen.first + n, drivers=chosen.drivers) for n in range(chosen.seeds)]
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.out or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        names = PROVIDERS if chosen.provider is None else (chosen.provider,)
        with DEPOTS[chosen.store]() as depot:
            outcomes = [
                outcome
                for name in names
                for outcome in attack(name, schedules, folder / name, is_map=chosen.maps, depot=depot)
            ]
    print(figures(outcomes))
    print(depot)
    return 0 if all(outcome.is_clean for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
