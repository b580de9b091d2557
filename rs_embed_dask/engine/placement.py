"""Where tasks may run, and how much may be in flight: read off the workers that are there."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

import dask

from rs_embed_dask.errors import EngineError

__all__ = ["EMBED", "FETCH", "GPU", "InFlight", "Placement", "Workers"]

GPU: Final = "GPU"
EMBED: Final = "EMBED"
FETCH: Final = "FETCH"
_SHARE: Final = 1 / 64
_MEMORY_SHARE: Final = 0.4
_MEMORY_IF_UNKNOWN: Final = 2**31
_READS_AHEAD: Final = 3


@dataclass(frozen=True)
class Placement:
    """The worker resources that tasks ask for.

    Attributes
    ----------
    read : mapping of str to float
        For reads: one FETCH slot, where any worker has such slots.
    embed : mapping of str to float
        For embedding: a 64th of a GPU or of EMBED, so that up to 64 tasks of a process feed one embedder.
    """

    read: Mapping[str, float] = field(default_factory=dict)
    embed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def on(cls, resources: AbstractSet[str]) -> Placement:
        """Choose by the names of the resources that workers have, or had: lost workers come back."""
        where = next((name for name in (GPU, EMBED) if name in resources), None)
        return cls(read={FETCH: 1} if FETCH in resources else {}, embed={} if where is None else {where: _SHARE})

    @property
    def needed(self) -> frozenset[str]:
        """Names of the resources that tasks ask for."""
        return frozenset((*self.read, *self.embed))


@dataclass(frozen=True)
class Workers:
    """The workers of a cluster at one moment.

    Attributes
    ----------
    addresses : frozenset of str
        Where they are.
    resources : mapping of str to float
        Their resources, summed.
    threads : int
        Their threads, summed.
    memory : int
        Their memory limits in bytes, summed; 0 where none is known.
    room : int
        The lowest limit of those that embed on a CPU; 0 where none is known.
    """

    addresses: frozenset[str]
    resources: Mapping[str, float]
    threads: int
    memory: int
    room: int = 0

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Workers:
        """Read what `Client.scheduler_info` says.

        Parameters
        ----------
        info : mapping
            With ``workers``, a mapping of address to ``resources``, ``nthreads`` and ``memory_limit``.

        Returns
        -------
        Workers
        """
        found = info.get("workers", {})
        totals: dict[str, float] = {}
        for worker in found.values():
            for name, amount in (worker.get("resources") or {}).items():
                totals[name] = totals.get(name, 0.0) + amount
        threads = sum(int(worker.get("nthreads", 1)) for worker in found.values())
        limits = {address: int(worker.get("memory_limit") or 0) for address, worker in found.items()}
        here = Placement.on(totals.keys()).embed.keys()
        embedding = [limits[at] for at, worker in found.items() if here <= (worker.get("resources") or {}).keys()]
        room = 0 if GPU in here else min(filter(None, embedding), default=0)
        return cls(frozenset(found), totals, threads, sum(limits.values()), room)

    def hold(self, nbytes: int) -> None:
        """Make sure that weights fit into a worker: Dask pauses one that is full, for good where nothing can be freed.

        Raises
        ------
        EngineError
            If they take more than the share of its memory at which Dask pauses a worker.
        """
        share = dask.config.get("distributed.worker.memory.pause", 0.8)
        if self.room and share and nbytes > share * self.room:
            has, needs = (f"{count / 2**30:.1f} GiB" for count in (self.room, nbytes))
            fix = "give workers more memory, take fewer or smaller models a run, or embed on a GPU"
            raise EngineError("memory of a worker", value=has, reason=f"the models' weights need {needs}", fix=fix)

    @property
    def offered(self) -> frozenset[str]:
        """Names of the resources that some worker has."""
        return frozenset(name for name, amount in self.resources.items() if amount)

    @property
    def fetch_slots(self) -> int:
        """How many reads run at once."""
        return max(1, int(self.resources.get(FETCH, 0)) or self.threads)

    @property
    def embedders(self) -> int:
        """How many processes embed."""
        return max(1, int(self.resources.get(GPU, 0) or self.resources.get(EMBED, 0)) or len(self.addresses))


@dataclass(frozen=True)
class InFlight:
    """How much may be on its way at once. At least one chunk always may.

    Parameters
    ----------
    chunks : int, optional
        Most chunks submitted and not yet written. Left out: enough to keep every fetch slot and embedder busy while
        one chunk waits for a straggler.
    nbytes : int, optional
        Most bytes of decoded pixels in them. Left out: 40 % of the workers' memory.
    """

    chunks: int | None = None
    nbytes: int | None = None

    def limit(self, workers: Workers, *, chunk_items: int, chunk_bytes: int, batch_items: int) -> int:
        """How many chunks may be in flight on these workers.

        Parameters
        ----------
        workers : Workers
            Those that are there.
        chunk_items : int
            Items of a whole chunk.
        chunk_bytes : int
            Bytes of decoded pixels of a whole chunk, as planned.
        batch_items : int
            Most items in a batch.

        Returns
        -------
        int
            At least 1.
        """
        wanted = _READS_AHEAD * workers.fetch_slots + 2 * batch_items * workers.embedders
        chunks = self.chunks or -(-wanted // chunk_items) + 1
        room = self.nbytes or int(_MEMORY_SHARE * (workers.memory or _MEMORY_IF_UNKNOWN))
        return max(1, min(chunks, room // max(1, chunk_bytes)))
