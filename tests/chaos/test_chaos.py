"""Whole runs of real processes under attack: nothing lost, nothing doubled, nothing wrong, on both providers.

``python -m tests.chaos`` plays any number of drawn schedules; these two strike every kind of process.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.children import UNCONNECTED
from tests.chaos.farm import Farm
from tests.chaos.play import Play, undisturbed
from tests.chaos.schedule import DEEDS, PAIRS, TARGETS, Blow, Request, Schedule
from tests.chaos.stages import PLACES, stage

pytestmark = pytest.mark.timeout(600)  # seconds on a free machine, minutes on one that is overloaded

SYNTHETIC = (
    Blow(0.04, "kill", "scheduler"),
    Blow(0.2, "kill", "client"),
    Blow(0.3, "kill", "nanny"),
    Blow(0.4, "stall", "worker", which=1),
)
STAC = (
    Blow(0.04, "choke", "client", lasts_s=0.3),
    Blow(0.3, "kill", "worker"),
    Blow(0.4, "kill", "group", which=1),
    Blow(0.5, "pause", "scheduler", lasts_s=0.3),
)


@pytest.mark.parametrize(("provider", "blows"), [("synthetic", SYNTHETIC), ("stac", STAC)])
def test_a_run_under_attack_ends_as_if_undisturbed(tmp_path, provider, blows):
    with stage(provider, tmp_path) as chosen, Farm(tmp_path) as farm:
        reference = undisturbed(chosen, farm)
        outcome = Play(Schedule(0, blows), chosen, farm=farm, target=tmp_path / "run.zarr").run(reference)
    assert outcome.is_clean, str(outcome)
    assert outcome.verdict.items == PLACES
    struck = {name for name, count in outcome.struck.items() if count}
    missed = {f"{blow.deed} {blow.target}" for blow in blows} - struck
    assert missed <= {"kill client", "choke client"}  # a call may end before its turn comes, on a slow machine
    endings = Counter(note.ending for note in outcome.notes)
    assert endings["finished"] == 1
    assert endings.keys() <= {"finished", "EngineError", UNCONNECTED}
    assert outcome.killed_calls == sum("client" in name for name in struck)


def test_two_drivers_lose_and_double_nothing(tmp_path):
    """Overlapping top-ups: the one at work is stopped past its lease, and the other takes over and is killed."""
    blows = (Blow(0.3, "stall", "client"), Blow(0.6, "kill", "client", which=1))
    requests = tuple(Request(part, wait_s=120.0) for part in PAIRS["overlapping"])
    schedule = Schedule(0, blows, requests, before=Request((0.0, 0.125)), by_resume=False)
    with stage("synthetic", tmp_path) as chosen, Farm(tmp_path) as farm:
        reference = undisturbed(chosen, farm)
        outcome = Play(schedule, chosen, farm=farm, target=tmp_path / "run.zarr").run(reference)
    assert outcome.is_clean, str(outcome)
    assert outcome.verdict.items == PLACES
    assert outcome.struck["stall client"] == 1
    endings = Counter(note.ending for note in outcome.notes)
    assert endings["finished"] == 3  # what is there before, and both requests
    assert endings.keys() <= {"finished", "StoreBusyError"}
    assert outcome.killed_calls == outcome.struck["kill client"]


def test_schedules_are_drawn_by_their_seeds():
    drawn = [Schedule.drawn(seed) for seed in range(200)]
    assert drawn == [Schedule.drawn(seed) for seed in range(200)]
    assert len({schedule.blows for schedule in drawn}) == 200
    blows = [blow for schedule in drawn for blow in schedule.blows]
    assert {blow.target for blow in blows} == set(TARGETS)
    assert {blow.deed for blow in blows} == set(DEEDS)
    assert {blow.target for blow in blows if blow.deed == "stall"} == {"worker"}
    assert {schedule.by_resume for schedule in drawn} == {True, False}
    assert all(list(schedule.blows) == sorted(schedule.blows, key=lambda blow: blow.share) for schedule in drawn)


def test_two_drivers_ask_for_the_same_disjoint_and_overlapping_places():
    drawn = [Schedule.drawn(seed, drivers=2) for seed in range(60)]
    assert {schedule.title for schedule in drawn} == set(PAIRS)
    for schedule in drawn:
        (first, second), before = schedule.requests, schedule.before
        assert before.part == (0.0, 0.125)
        assert (first.part, second.part) == PAIRS[schedule.title]
        assert min(first.part[0], second.part[0]) == 0
        assert max(first.part[1], second.part[1]) == 1
    struck = Counter((blow.deed, blow.target) for schedule in drawn for blow in schedule.blows)
    assert min(struck[deed, "client"] for deed in DEEDS) > 0
