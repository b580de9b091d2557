"""A provider that holds its reads while a file is there, so that a run is in its middle when a job ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rs_embed_dask.engine.report import ChunkDone
from tests.engine.fakes import until
from tests.engine.faulty import Faulty

PATIENCE_S = 400


@dataclass(frozen=True)
class Gated(Faulty):
    """Wraps a provider; the gate is a file that every worker sees."""

    gate: str = ""
    name = "gated"

    def cube(self, read):
        until(lambda: not Path(self.gate).exists(), PATIENCE_S)
        return self.provider.cube(read)

    def describe(self):
        """The gate leaves no trace in the store, whose checksums cover how it was made."""
        return self.provider.describe()


@contextmanager
def running(verb, gate, **arguments):
    """A run in a thread, of which something is stored; it reads no further while the gate is there."""
    stored = []

    def watch(event):
        if isinstance(event, ChunkDone) and not stored:
            Path(gate).touch()
            stored.append(event)

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(verb, **arguments, progress=watch)
        try:
            until(lambda: run.done() or stored, PATIENCE_S)
            yield run
        finally:
            Path(gate).unlink(missing_ok=True)
        run.result(PATIENCE_S)
