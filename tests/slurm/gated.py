"""A provider that holds some of its reads until a file is there, so that a run is in its middle when a job ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine.fakes import until
from tests.engine.faulty import Fault, Faulty

PATIENCE_S = 400
SOME = Fault("held", share=0.3)


@dataclass(frozen=True)
class Gated(Faulty):
    """Wraps a provider; the gate is a file that every worker sees."""

    gate: str = ""
    name = "gated"

    def cube(self, read):
        if SOME.hits(read):
            until(Path(self.gate).exists, PATIENCE_S)
        return self.provider.cube(read)


@contextmanager
def running(verb, gate, **arguments):
    """Call a verb in a thread; it ends after the gate is opened, which happens on leaving at the latest."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(verb, **arguments)
        try:
            yield run
        finally:
            Path(gate).touch()
        run.result(PATIENCE_S)
