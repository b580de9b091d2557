"""A provider whose reads fail as told: it wraps another one, travels to workers, and can count tries across them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rs_embed_dask.errors import AccessError, NoImageryError, ProviderError, TransientError
from rs_embed_dask.providers import open_provider
from rs_embed_dask.providers.registry import Provider
from rs_embed_dask.providers.synthetic.landscape import number

FIX = "none is needed, this is a test"
LASTING = {"lasting": ProviderError, "access": AccessError, "no_imagery": NoImageryError}
_TRIES = Counter()
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Fault:
    """What goes wrong at a share of all places: `kind` is transient, slow or one of `LASTING`.

    `times` tries of a transient fault fail. They are counted in this process, or across processes by one file per try
    in the folder `ledger`.
    """

    kind: str
    share: float = 1.0
    times: int = 1
    seconds: float = 0.0
    seed: int = 0
    ledger: str | None = None

    def hits(self, read):
        lon, lat = read.grid.center_lonlat
        return self.share >= 1 or number(self.seed, 301, round(lon * 1e6), round(lat * 1e6)) < self.share

    def strike(self, read):
        """Wait or raise if the fault hits a read, and has not passed yet."""
        if not self.hits(read):
            return
        if self.kind == "slow":
            time.sleep(self.seconds)
        elif self.kind != "transient":
            raise LASTING[self.kind](f"a read of {read.sensor}", reason="a fault on demand", fix=FIX)
        elif (tried := self._count(read)) <= self.times:
            reason = f"a fault on demand: try {tried} of {self.times} that fail"
            raise TransientError(f"a read of {read.sensor}", reason=reason, fix=FIX)

    def _count(self, read):
        """Number this try of a read, from 1."""
        key = hashlib.sha256(f"{self} {read.to_json()}".encode()).hexdigest()[:24]
        if self.ledger is None:
            with _LOCK:
                _TRIES[key] += 1
                return _TRIES[key]
        folder = Path(self.ledger)
        folder.mkdir(parents=True, exist_ok=True)
        tried = 1
        while True:
            try:
                (folder / f"{key}-{tried}").touch(exist_ok=False)
            except FileExistsError:
                tried += 1
            else:
                return tried


@dataclass(frozen=True)
class Faulty:
    """A provider that fails as told, and else does what the wrapped one does."""

    provider: Provider
    faults: tuple[Fault, ...] = ()
    name = "faulty"

    def sensors(self):
        return self.provider.sensors()

    def search(self, sensor, grid, span, *, fetch):
        return self.provider.search(sensor, grid, span, fetch=fetch)

    def estimate(self, read):
        return self.provider.estimate(read)

    def cube(self, read):
        for fault in self.faults:
            fault.strike(read)
        return self.provider.cube(read)

    def describe(self):
        faults = [asdict(fault) for fault in self.faults]
        return {"name": self.name, "provider": self.provider.describe(), "faults": faults}


def faulty(provider, faults):
    """Make the provider again from its description: a factory for `register_provider`."""
    return Faulty(open_provider(provider), tuple(Fault(**fault) for fault in faults))
