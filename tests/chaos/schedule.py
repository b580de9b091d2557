"""What is done to a run, drawn from a seed: who is struck, how, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

TARGETS = {"worker": 4, "nanny": 2, "group": 2, "client": 3, "scheduler": 2, "all": 1}
"""How often each is struck. A group is a nanny with its worker; all is every process of the run at once."""

DEEDS = {"kill": 6, "pause": 3, "choke": 2, "stall": 1}
"""How: killed; stopped and continued; stopped and then killed; stopped until the run is over, and then continued.

Of two drivers, one is stopped until the other is done or refused, past the term of its lease.
"""

OFTEN_DRIVERS = TARGETS | {"client": 9}
STALLED = {1: {"worker"}, 2: {"worker", "client"}}
"""What can stand still while a run with one driver, or two, goes on."""

PAUSES_S = (0.2, 4.0)


@dataclass(frozen=True)
class Blow:
    """One strike, when a share of all rows is done and a moment has passed."""

    share: float
    deed: str
    target: str
    which: int = 0
    delay_s: float = 0.0
    lasts_s: float = 1.0

    def __str__(self) -> str:
        return f"{self.deed} {self.target} at {self.share:.0%}"


@dataclass(frozen=True)
class Request:
    """What one driver asks for: a part of the places, by shares of all, and how long it waits for the store."""

    part: tuple[float, float] = (0.0, 1.0)
    wait_s: float | None = None


ALONE = (Request(),)

PAIRS = {
    "the same": ((0.0, 1.0), (0.0, 1.0)),
    "disjoint": ((0.0, 0.5), (0.5, 1.0)),
    "overlapping": ((0.0, 0.7), (0.3, 1.0)),
}
"""What two drivers ask for at once; what is there before is the first eighth of the places, so both top up."""


@dataclass(frozen=True)
class Schedule:
    """All that happens to one run."""

    seed: int
    blows: tuple[Blow, ...]
    requests: tuple[Request, ...] = ALONE
    before: Request | None = None
    by_resume: bool = True
    title: str = "alone"

    @classmethod
    def drawn(cls, seed: int, *, drivers: int = 1) -> Schedule:
        """Draw one to five blows, and whether a lost run goes on by `resume` or by the same call."""
        dice = random.Random(seed)
        blows = [_drawn(dice, drivers) for _ in range(dice.randint(1, 5))]
        ordered = tuple(sorted(blows, key=lambda blow: blow.share))
        if drivers == 1:
            return cls(seed, ordered, by_resume=dice.random() < 0.5)
        title = dice.choice(sorted(PAIRS))
        waits = dice.choice([(None, None), (120.0, 120.0), (None, 120.0)])
        requests = tuple(Request(part, wait) for part, wait in zip(PAIRS[title], waits, strict=True))
        return cls(seed, ordered, requests, before=Request((0.0, 0.125)), by_resume=False, title=title)


def _drawn(dice: random.Random, drivers: int) -> Blow:
    target, deed = _weighted(dice, TARGETS if drivers == 1 else OFTEN_DRIVERS), _weighted(dice, DEEDS)
    if deed == "stall" and target not in STALLED[drivers]:
        deed = "kill"  # the only driver, a scheduler or a machine that stands still for ever is what `choke` ends
    return Blow(
        share=max(0.0, dice.uniform(-0.2, 0.95)),
        deed=deed,
        target=target,
        which=dice.randrange(2),
        delay_s=dice.uniform(0.0, 0.5),
        lasts_s=dice.uniform(*PAUSES_S),
    )


def _weighted(dice: random.Random, weights: dict[str, int]) -> str:
    names: Sequence[str] = sorted(weights)
    return dice.choices(names, [weights[name] for name in names])[0]
