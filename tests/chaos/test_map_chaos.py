"""Maps under attack: nothing lost, doubled or wrong, byte by byte; by one driver and by two."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest

from rs_embed_dask.store import BlockKey, BlockResult, MapStore, Status
from rs_embed_dask.store.durable import PARTIAL
from tests.chaos.children import UNCONNECTED
from tests.chaos.farm import Farm
from tests.chaos.maps import MODELS
from tests.chaos.play import Play, undisturbed
from tests.chaos.schedule import PAIRS, Blow, Request, Schedule
from tests.chaos.stages import stage

pytestmark = pytest.mark.timeout(900)  # seconds on a free machine, minutes on one that is overloaded

ALONE = Schedule(
    0,
    (
        Blow(0.04, "kill", "worker"),
        Blow(0.15, "kill", "nanny", which=1),
        Blow(0.3, "kill", "client"),
        Blow(0.45, "kill", "scheduler"),
        Blow(0.6, "stall", "worker", which=1),
    ),
)
# Of two top-ups that overlap, the one at work is stopped past its lease; the other takes over, and is killed.
TWO = Schedule(
    1,
    (Blow(0.3, "stall", "client"), Blow(0.6, "kill", "client", which=1)),
    tuple(Request(part, wait_s=120.0) for part in PAIRS["overlapping"]),
    before=Request((0.0, 0.125)),
    by_resume=False,
    title="overlapping",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with stage("synthetic", folder, is_map=True) as county:
        with Farm(folder) as farm:
            reference = undisturbed(county, farm)
        yield county, reference


@pytest.mark.parametrize("schedule", [ALONE, TWO], ids=lambda schedule: schedule.title)
def test_a_map_under_attack_ends_as_if_undisturbed(tmp_path, made, schedule):
    county, reference = made
    with Farm(tmp_path) as farm:
        outcome = Play(schedule, county, farm=farm, target=tmp_path / "map.zarr").run(reference)
    assert outcome.is_clean, str(outcome)
    assert outcome.verdict.items == county.blocks * len(MODELS)
    missed = {f"{blow.deed} {blow.target}" for blow in schedule.blows} - {*(+outcome.struck)}
    assert missed <= {"kill client"}  # a call may end before its turn comes, on a slow machine
    endings = Counter(note.ending for note in outcome.notes)
    assert endings["finished"] == len(schedule.requests) + (schedule.before is not None)
    assert endings.keys() <= {"finished", "EngineError", "StoreBusyError", UNCONNECTED}


def test_the_judge_of_maps_finds_what_is_lost_wrong_and_damaged(tmp_path, made):
    (county, reference), target = made, tmp_path / "map.zarr"
    shutil.copytree(reference.target, target)
    assert county.judge(target, reference).is_clean
    store = MapStore.open(target, mode="r+")
    lost, wrong = sorted(store.asked("rcf", "utm31", 0))[:2]
    store.write_block(BlockKey("rcf", "utm31", 0, *lost), BlockResult(Status.READ_FAILED, reason="gone"))
    side, vectors = store.layout("rcf").block, store.array("rcf/utm31/embedding")
    at = (0, 3, wrong[0] * side + 5, wrong[1] * side + 7)
    vectors[at] = np.nextafter(vectors[at], np.float32(np.inf))
    unfinished = target / "rcf" / "utm31" / "embedding" / f"c.0123{PARTIAL}"  # as a killed write leaves it
    unfinished.touch()
    verdict = county.judge(target, reference)
    assert verdict.lost == (f"rcf/utm31/{lost}",)
    assert verdict.wrong == (f"rcf/utm31/{wrong}",)
    assert verdict.details[0].startswith(f"rcf/utm31/{lost} is lost: read failed")
    assert verdict.details[1] == f"rcf/utm31/{wrong} is wrong: embedding"
    (damage,) = verdict.damages
    assert f"row {wrong[0]}, column {wrong[1]}" in damage
    assert not unfinished.exists()
