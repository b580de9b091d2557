"""Seeded schedules of runs that want one lease: interleaved at every operation, with clocks that disagree.

Time is virtual. Each run has a clock of its own (offset by up to 300 s, fast or slow by up to 3 %); it may be killed
between any two operations, or stand still for up to three terms. Swaps lose their answers, with or without an effect,
which may also come much later.
"""

from __future__ import annotations

import json
import random
import threading

from rs_embed_dask.store.lease import ALL_CHUNKS, Lease
from rs_embed_dask.store.swap import LostAnswerError

TERM_S = 60.0


class KilledError(BaseException):
    """This run is no more. No Exception, so that nothing may handle it."""


class Run(threading.Thread):
    """A run that goes on by one operation whenever it is told to."""

    def __init__(self, name, body):
        super().__init__(name=name, daemon=True)
        self.body, self.is_over, self.is_killed, self.asleep_until = body, False, False, 0.0
        self.go, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.lease, self.error = None, None
        self.start()
        self.stopped.acquire()

    def run(self):
        try:
            self.pause()
            self.body(self)
        except KilledError:
            pass
        except AssertionError as error:
            self.error = error
        finally:
            self.is_over = True
            self.stopped.release()

    def pause(self):
        """Let the others go on; called before each operation of the run, from whatever thread does it."""
        if self.is_killed:
            raise KilledError
        self.stopped.release()
        self.go.acquire()
        if self.is_killed:
            raise KilledError

    def step(self):
        """Go on to the next operation; called by the schedule."""
        self.go.release()
        self.stopped.acquire()

    def kill(self):
        if not self.is_over:
            self.is_killed = True
            self.step()


class World:
    """The clock that all clocks derive from, and what happens later."""

    def __init__(self, seed):
        self.now, self.rng, self.later = 0.0, random.Random(seed), []

    def clock(self):
        offset, rate = self.rng.uniform(-300, 300), self.rng.uniform(0.97, 1.03)
        return lambda: 1000 + offset + self.now * rate

    def advance(self, seconds):
        self.now += seconds
        due = [action for at, action in self.later if at <= self.now]
        self.later = [(at, action) for at, action in self.later if at > self.now]
        for action in due:
            action()


class MemoryCell:
    """The simplest cell that is right."""

    def __init__(self):
        self.value, self.number = None, 0

    def read(self):
        return self.value

    def swap(self, tag, content):
        if (None if self.value is None else self.value[1]) != tag:
            return None
        self.number += 1
        self.value = (content, self.number)
        return self.number


class FaultyCell:
    """A cell as one run sees it: each operation is a step of the schedule, and answers get lost."""

    def __init__(self, world, inner, run, lost=0.2):
        self.world, self.inner, self.current, self.lost = world, inner, run, lost

    def read(self):
        self.current.pause()
        return self.inner.read()

    def swap(self, tag, content):
        self.current.pause()
        fate = self.world.rng.random() / self.lost if self.lost else 9.0
        if fate < 0.25:
            raise LostAnswerError
        if fate < 0.5:
            at = self.world.now + self.world.rng.uniform(0, 1.5 * TERM_S)
            self.world.later.append((at, lambda: self.inner.swap(tag, content)))
            raise LostAnswerError
        if fate < 1:
            self.inner.swap(tag, content)
            raise LostAnswerError
        return self.inner.swap(tag, content)


class Outcome:
    """What a schedule led to."""

    def __init__(self):
        self.doubles = self.kills = self.holders = 0
        self.newcomer_s = None


def new_lease(world, cell, run, *, chunks=ALL_CHUNKS, kind=Lease, lost=0.2):
    return kind(
        FaultyCell(world, cell, run, lost),
        place="store",
        chunks=chunks,
        clock=world.clock(),
        make_id=lambda: f"{world.rng.getrandbits(64):x}",
        term_s=TERM_S,
        seen={},
    )


def working(world, cell, *, kind, chunks):
    """A run that acquires, renews for a while, and ends well or comes back."""

    def body(run):
        while True:
            run.lease = lease = new_lease(world, cell, run, chunks=chunks, kind=kind)
            while lease.acquire() is not None:
                run.asleep_until = world.now + TERM_S / 6
                run.pause()
            for _ in range(world.rng.randint(2, 20)):
                run.asleep_until = world.now + TERM_S / 6 * world.rng.random()
                run.pause()
                lease.renew()
                if lease.lost_to is not None:
                    break
            lease.release()

    return body


def overlapping(runs):
    held = [run.lease for run in runs if run.lease is not None and run.lease.is_held]
    return any(a.chunks == b.chunks for i, a in enumerate(held) for b in held[:i])


def play(seed, *, make_cell=MemoryCell, kind=Lease, steps=250, ranges=(ALL_CHUNKS, ALL_CHUNKS)):
    """Let two runs, and those that replace killed ones, want the lease; then one newcomer alone."""
    world, cell, outcome = World(seed), make_cell(), Outcome()
    # A process that is known to have ended is taken over at once; here no run knows about the others.
    runs = [Run(f"{n}", working(world, cell, kind=kind, chunks=chunks)) for n, chunks in enumerate(ranges)]
    holders = set()
    try:
        for _ in range(steps):
            world.advance(world.rng.expovariate(1 / 2.0))
            ready = [run for run in runs if run.asleep_until <= world.now]
            if ready:
                run = world.rng.choice(ready)
                run.step()
                fate = world.rng.random()
                if fate < 0.01:
                    run.kill()
                    outcome.kills += 1
                    number = runs.index(run)
                    runs[number] = Run(run.name, working(world, cell, kind=kind, chunks=ranges[number]))
                elif fate < 0.02:
                    run.asleep_until = world.now + world.rng.uniform(0, 3 * TERM_S)
            outcome.doubles += overlapping(runs)
            holders |= {id(run.lease) for run in runs if run.lease is not None and run.lease.is_held}
        outcome.holders = len(holders)
        for run in runs:
            run.kill()
        world.later.clear()
        outcome.newcomer_s = newcomer(world, cell, kind)
    finally:
        for run in runs:
            run.kill()
    return outcome


def newcomer(world, cell, kind):
    """Seconds until a run that comes after all others were killed has the lease, or None."""
    run, started = Run("newcomer", working(world, cell, kind=kind, chunks=ALL_CHUNKS)), world.now
    try:
        for _ in range(600):
            world.advance(1.0)
            if run.asleep_until <= world.now:
                run.step()
            if run.lease is not None and run.lease.is_held:
                return world.now - started
    finally:
        run.kill()
    return None


class ByWallClock(Lease):
    """A mutant: an entry is stale once its own clock's time, compared with the reader's, is over."""

    def _is_stale(self, one, started):
        return float(one.since) + self.term_s < started

    def _swap(self, tag, others, *, is_free):
        object.__setattr__(self._me, "since", str(self.clock()))
        return super()._swap(tag, others, is_free=is_free)


class Unread(Lease):
    """A mutant: a lost answer is taken for a success."""

    def _swap(self, tag, others, *, is_free):
        inner = self.cell.swap

        def swap(tag, content):
            try:
                return inner(tag, content)
            except LostAnswerError:
                return tag or 1

        self.cell.swap = swap
        try:
            return super()._swap(tag, others, is_free=is_free)
        finally:
            del self.cell.swap


def entries(cell):
    return json.loads(cell.read()[0])["holders"]
