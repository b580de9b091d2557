"""What goes wrong, as data: the service applies it, this decides when.

A `Happening` says which requests it concerns and how often it happens; a `FaultPlan` is a list of them, asked for every
request, and the first that concerns it wins. Both can be written as JSON for a service in another process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.services.loopback import Call, Fault
from tests.services.stac_api import Json

BUSY = Fault(status=503)


@dataclass
class Happening:
    """A fault, the requests it concerns, and how many of them it still hits."""

    fault: Fault
    kinds: tuple[str, ...] = ("range",)
    path: str = ""
    times: int | None = None
    each: bool = False
    """Count `times` for each file apart, not for all together."""
    hits: dict[str, int] = field(default_factory=dict)

    def concerns(self, call: Call) -> bool:
        if call.kind not in self.kinds or self.path not in call.path:
            return False
        key = call.path if self.each else ""
        if self.times is not None and self.hits.get(key, 0) >= self.times:
            return False
        self.hits[key] = self.hits.get(key, 0) + 1
        return True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Happening:
        fields = dict(data)
        return cls(Fault(**fields.pop("fault")), tuple(fields.pop("kinds", ("range",))), **fields)


class FaultPlan:
    """The rule of a service: what happens to a request."""

    def __init__(self, happenings: Iterable[Happening] = ()) -> None:
        self.happenings = list(happenings)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> Fault | None:
        with self._lock:
            return next((h.fault for h in self.happenings if h.concerns(call)), None)


@dataclass(frozen=True)
class Disorder:
    """Pages in random order, with `repeats` of the items listed a second time."""

    seed: int
    repeats: int = 0

    def __call__(self, items: list[Json]) -> list[Json]:
        random = Random(self.seed)
        mixed = [*items, *random.sample(items, min(self.repeats, len(items)))]
        random.shuffle(mixed)
        return mixed
