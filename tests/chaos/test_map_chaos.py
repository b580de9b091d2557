"""Maps under attack: nothing lost, nothing wrong, the checksums right, by one driver and by two."""

from __future__ import annotations

import pytest

from tests.chaos.farm import Farm
from tests.chaos.maps import BLOCKS, MODELS, MapStage, undisturbed
from tests.chaos.play import Play
from tests.chaos.schedule import Blow, Request, Schedule

pytestmark = pytest.mark.timeout(900)  # seconds on a free machine, minutes on one that is overloaded

ALONE = Schedule(
    0,
    (
        Blow(0.04, "kill", "worker"),
        Blow(0.2, "kill", "client"),
        Blow(0.4, "kill", "scheduler"),
        Blow(0.6, "stall", "worker", which=1),
    ),
)
TWO = Schedule(
    1,
    (Blow(0.3, "kill", "worker"), Blow(0.5, "pause", "client", lasts_s=1.0)),
    requests=(Request((0.0, 0.7), 240.0), Request((0.3, 1.0), 240.0)),
    by_resume=False,
    title="overlapping",
)


@pytest.mark.parametrize("schedule", [ALONE, TWO], ids=lambda schedule: schedule.title)
def test_a_map_under_attack_ends_as_if_undisturbed(tmp_path, schedule):
    stage = MapStage()
    with Farm(tmp_path) as farm:
        reference = undisturbed(stage, farm)
        outcome = Play(schedule, stage, farm=farm, target=tmp_path / "map.zarr").run(reference)
    assert outcome.is_clean, str(outcome)
    assert outcome.verdict.items == BLOCKS * len(MODELS)
    assert sum(outcome.struck.values()) >= 1
