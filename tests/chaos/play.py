"""One run under one schedule, from its first call to the verdict."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rs_embed_dask.errors import StoreError
from rs_embed_dask.store import MapStore, Store
from tests.chaos.children import UNCONNECTED, Job, Note
from tests.chaos.farm import Farm, Process, sent
from tests.chaos.maps import MapStage
from tests.chaos.schedule import ALONE, Blow, Request, Schedule
from tests.chaos.stages import CHUNK_ITEMS, Stage
from tests.chaos.verdict import Verdict

if TYPE_CHECKING:
    import psutil

    from rs_embed_dask.store import Target

PATIENCE_S = 150.0
TICK_S = 0.1
LINGER_S = 5.0
FORESEEN = {"finished", "StoreBusyError", "EngineError", UNCONNECTED}
"""How a call may end."""
NO_SCHEDULER = (("it is gone", "resume"), ("it is not connected", "make a new one"))
"""What a call says whose scheduler was killed: while it ran, or before it began."""


@dataclass
class Outcome:
    """What happened to a run."""

    schedule: Schedule
    verdict: Verdict | None = None
    struck: Counter[str] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)
    killed_calls: int = 0
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.verdict is not None and self.verdict.is_clean and not self.trouble

    def __str__(self) -> str:
        blows = ", ".join(f"{count} {name}" for name, count in sorted(self.struck.items())) or "no blow"
        calls = len(self.notes) + self.killed_calls
        ends = "; ".join(self.trouble) or str(self.verdict)
        return (
            f"seed {self.schedule.seed:>4}  {self.schedule.title}: {blows}; {calls} calls, {self.seconds:.0f} s: {ends}"
        )


class Driver:
    """One driver's request, called again until a call is answered; without a request it resumes."""

    def __init__(self, play: Play, request: Request | None) -> None:
        self.play, self.request = play, request
        self.process: Process | None = None
        self.note_at: Path | None = None
        self.chunks = sys.maxsize
        self.ending = ""

    @property
    def is_done(self) -> bool:
        return self.ending == "finished"

    @property
    def is_stopped(self) -> bool:
        return self.process is not None and self.process.is_stopped

    @property
    def is_refused(self) -> bool:
        return self.process is None and self.ending == "StoreBusyError"

    def call(self) -> None:
        """Start the call, or start it again."""
        play, request = self.play, self.request
        if play.schedule.by_resume and self.ending and play.done > 0:
            request = None
        arguments, wait_s = (None, None) if request is None else (play.stage.arguments(*request.part), request.wait_s)
        self.note_at = play.farm.path("note.json")
        self.chunks = play.chunks if play.schedule.requests == ALONE else sys.maxsize  # others add items meanwhile
        self.process = play.farm.drive(Job(play.farm.address(), play.target, self.note_at, arguments, wait_s))

    def look(self) -> None:
        """Take down how a call has ended."""
        if self.process is None or self.process.is_running:
            return
        outcome, note = self.play.outcome, Note.read(self.note_at)
        self.process = None
        if note is None:
            outcome.killed_calls += 1
            self.ending = "killed"
            return
        outcome.notes.append(note)
        self.ending = note.ending
        if note.ending not in FORESEEN:
            outcome.trouble.append(f"a call ended with {note.ending}: {note.message}")
        if note.ending == "EngineError" and not any(
            all(word in note.message for word in words) for words in NO_SCHEDULER
        ):
            outcome.trouble.append(f"a call ended with {note.message}")
        if note.chunks > self.chunks or note.reads > note.chunks * CHUNK_ITEMS:
            text = f"a call computed {note.chunks} chunks by {note.reads} reads, with {self.chunks} chunks left to do"
            outcome.trouble.append(text)


class Play:
    """A run under attack."""

    def __init__(self, schedule: Schedule, stage: Stage | MapStage, *, farm: Farm, target: Target) -> None:
        self.schedule, self.stage, self.farm, self.target = schedule, stage, farm, target
        self.outcome = Outcome(schedule)
        self.drivers: list[Driver] = []
        self.done, self.chunks = 0.0, sys.maxsize
        self._stopped: list[psutil.Process] = []

    def run(self, reference: Store | MapStore | None) -> Outcome:
        """Play the schedule to its end and judge the store; without a reference, this run is the reference."""
        started = time.monotonic()
        if self.schedule.before is not None:
            self._let([self.schedule.before])
        self._let(self.schedule.requests, self.schedule.blows)
        if self.done < 1:  # an item that was struck again and again is a failure, with which a run ends
            self._let([None])
        self._proceed()
        if not self.outcome.trouble:
            self.outcome.verdict = self.stage.judge(self.target, reference)
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    def _look(self) -> None:
        """See what share of the items is done, and how many chunks are not."""
        try:
            self.done, self.chunks = self.stage.progress(self.target)
        except StoreError:
            self.done, self.chunks = 0.0, sys.maxsize

    def _let(self, requests: Sequence[Request | None], blows: Sequence[Blow] = ()) -> None:
        """Let drivers run to their ends, and strike."""
        self.drivers = [Driver(self, request) for request in requests]
        for blow in blows:
            self._until(lambda share=blow.share: self.done >= share or self._is_over())
            time.sleep(blow.delay_s)
            self._until(lambda blow=blow: self._victims(blow) or self._is_over())
            self._strike(blow)
        self._until(self._is_over)

    def _is_over(self) -> bool:
        return all(driver.is_done for driver in self.drivers)

    def _until(self, happened: Callable[[], bool]) -> None:
        """Keep the cluster and the drivers going until something has happened, or nothing happens any more."""
        before, since = -1.0, time.monotonic()
        while not self.outcome.trouble:
            self._look()
            self.farm.mend()
            self._release()
            for driver in self.drivers:
                driver.look()
                if driver.process is None and not driver.is_done and self._may_call(driver):
                    driver.call()
            if happened():
                return
            before, since = self.done, since if self.done == before else time.monotonic()
            if time.monotonic() - since > PATIENCE_S:
                self.outcome.trouble.append(f"hung with {before:.0%} done: nothing was stored for {PATIENCE_S:.0f} s")
            time.sleep(TICK_S)

    def _may_call(self, driver: Driver) -> bool:
        """Whether a driver has reason to call: one that was refused waits until no other is at work."""
        return not driver.is_refused or all(other.process is None for other in self.drivers)

    def _release(self) -> None:
        """Let drivers that stand still go on, once the others are done or have been refused because of them."""
        stopped = [driver for driver in self.drivers if driver.is_stopped]
        if all(driver.is_done or driver.is_refused for driver in self.drivers if driver not in stopped):
            for process in (one for driver in stopped for one in driver.process.members("client")):
                sent(process, signal.SIGCONT)

    def _strike(self, blow: Blow) -> None:
        first = signal.SIGKILL if blow.deed == "kill" else signal.SIGSTOP
        struck = [process for process in self._victims(blow) if sent(process, first)]
        self.outcome.struck[f"{blow.deed} {blow.target}"] += bool(struck)
        if blow.deed == "stall":
            self._stopped += struck
        elif blow.deed != "kill":
            time.sleep(blow.lasts_s)
            for process in struck:
                sent(process, signal.SIGCONT if blow.deed == "pause" else signal.SIGKILL)

    def _victims(self, blow: Blow) -> list[psutil.Process]:
        return [process for one, part in self._struck(blow) for process in one.members(part)]

    def _struck(self, blow: Blow) -> list[tuple[Process, str]]:
        """What a blow strikes, each with what of it."""
        farm, drivers = self.farm, [driver.process for driver in self.drivers if driver.process is not None]
        nanny = farm.nannies[blow.which % len(farm.nannies)]
        if blow.target == "client":
            return [(driver, "client") for driver in drivers[blow.which % len(drivers) :][:1]] if drivers else []
        if blow.target == "all":
            return [(one, "group") for one in (*farm.nannies, farm.scheduler, *drivers)]
        return [(farm.scheduler if blow.target == "scheduler" else nanny, blow.target)]

    def _proceed(self) -> None:
        """Let those that still stand go on, and do what they may, before the store is judged."""
        zombies = [process for process in self._stopped if sent(process, signal.SIGCONT)]
        deadline = time.monotonic() + LINGER_S
        while any(process.is_running() for process in zombies) and time.monotonic() < deadline:
            time.sleep(TICK_S)


def undisturbed(stage: Stage | MapStage, farm: Farm) -> Store | MapStore:
    """Run a stage's request without a blow, and return the store that all others are compared with."""
    target = farm.folder / "undisturbed.zarr"
    outcome = Play(Schedule(-1, ()), stage, farm=farm, target=target).run(None)
    assert outcome.is_clean, str(outcome)
    return stage.reference(target)
