"""Faults on demand: which places of the made landscape cannot be read, and how. Data, so that a run can be repeated."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rs_embed_dask.checks import choice
from rs_embed_dask.errors import AccessError, ProviderError, SpecError, TransientError
from rs_embed_dask.providers.made.noise import number
from rs_embed_dask.record import Record

if TYPE_CHECKING:
    from rs_embed_dask.imagery.cube import Read

__all__ = ["KINDS", "Fault"]

KINDS: Final = ("transient", "lasting", "access", "no_imagery", "slow")
_MICRO: Final = 1_000_000
_TRIES: Final[Counter[str]] = Counter()
_LOCK: Final = threading.Lock()


@dataclass(frozen=True)
class Fault(Record):
    """Reads that fail.

    Parameters
    ----------
    kind : {"transient", "lasting", "access", "no_imagery", "slow"}
        A fault that passes after `times` tries, one that lasts, a refusal, no scene at all, or a wait of `seconds`.
    share : float
        Share of the places that have it, chosen by their position and `seed`. Default: all of them.
    bbox : (west, south, east, north), optional
        Only places whose middle lies in this box of degrees.
    times : int
        Tries that fail, of a transient fault.
    seconds : float
        Wait of a slow read, on top of the latency.
    seed : int
        Chooses other places.
    ledger : str, optional
        A folder in which tries are counted, so that all processes of a run share the count. Default: each process
        counts its own.

    Raises
    ------
    SpecError, UnknownNameError
        If the kind is not known or a number is out of range.
    """

    kind: str
    share: float = 1.0
    bbox: tuple[float, float, float, float] | None = None
    times: int = 1
    seconds: float = 0.0
    seed: int = 0
    ledger: str | None = None

    def __post_init__(self) -> None:
        choice("Fault.kind", self.kind, KINDS)
        if self.bbox is not None:
            object.__setattr__(self, "bbox", tuple(self.bbox))
        if not 0 <= self.share <= 1:
            raise SpecError("Fault.share", value=self.share, reason="a share lies in [0, 1]", fix="give 0.1 for 10 %")
        for name in ("times", "seconds"):
            if getattr(self, name) < 0:
                raise SpecError(
                    f"Fault.{name}", value=getattr(self, name), reason="it is negative", fix="give 0 or more"
                )

    def hits(self, read: Read) -> bool:
        """Tell whether a read has this fault.

        Parameters
        ----------
        read : Read
            What is read.

        Returns
        -------
        bool
            The same for the same place, whatever the process.
        """
        lon, lat = read.grid.center_lonlat
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (west <= lon <= east and south <= lat <= north):
                return False
        return self.share >= 1 or number(self.seed, 301, round(lon * _MICRO), round(lat * _MICRO)) < self.share

    def strike(self, read: Read) -> None:
        """Raise the fault if a read has it and it has not passed yet.

        Parameters
        ----------
        read : Read
            What is read.

        Raises
        ------
        TransientError, ProviderError, AccessError
            By its kind.
        """
        if self.kind in {"slow", "no_imagery"} or not self.hits(read):
            return
        lon, lat = read.grid.center_lonlat
        what = f"synthetic: {read.sensor} at {lon:.4f}, {lat:.4f}"
        if self.kind == "access":
            raise AccessError(what, reason="a fault on demand: access refused", fix="take the fault out")
        if self.kind == "lasting":
            raise ProviderError(what, reason="a fault on demand: it lasts", fix="take the fault out")
        tried = self._count(read)
        if tried <= self.times:
            reason = f"a fault on demand: try {tried} of {self.times} that fail"
            raise TransientError(what, reason=reason, fix="try again")

    def _count(self, read: Read) -> int:
        """Count this try of a read, from 1."""
        key = hashlib.sha256(f"{self.to_json()} {read.to_json()}".encode()).hexdigest()[:24]
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
