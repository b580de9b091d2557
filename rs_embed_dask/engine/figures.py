"""The numbers of a plan, worked out without reading a pixel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

__all__ = ["Figures", "bytes_text", "seconds_text"]

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000
_FEW_S: Final = 10.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0


@dataclass(frozen=True)
class Figures:
    """What a run will take.

    Attributes
    ----------
    items, chunks : int
        Places and times, and the parts they are stored in.
    reads : int
        Cubes to read.
    scenes, requests : float
        Scenes that go into them and requests to the provider, as estimated.
    download_bytes : float
        Bytes on the wire, as estimated.
    decoded_bytes : float
        Bytes of decoded pixels, which workers hold for a while.
    item_bytes : int
        Of one item.
    batches : dict of str to int
        Fewest batches of each model.
    read_seconds : float
        Time of all reads, added up.
    embed_seconds : float
        Time of all models on one device, added up; a rough figure.
    store_bytes : int
        Size of the vectors before compression.
    sampled : int
        Places that the estimate was made from.
    """

    items: int
    chunks: int
    reads: int
    scenes: float
    requests: float
    download_bytes: float
    decoded_bytes: float
    item_bytes: int
    batches: dict[str, int]
    read_seconds: float
    embed_seconds: float
    store_bytes: int
    sampled: int

    @classmethod
    def nothing(cls) -> Self:
        """Return the figures of a run that has nothing to do."""
        return cls(0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, {}, 0.0, 0.0, 0, 0)

    def wall_seconds(self, fetch_slots: int, embedders: int) -> float:
        """How long a run takes on a cluster.

        Parameters
        ----------
        fetch_slots : int
            Reads at once.
        embedders : int
            Devices, or processes that embed.

        Returns
        -------
        float
            The longer of reading and embedding, which go on side by side.
        """
        return max(self.read_seconds / max(1, fetch_slots), self.embed_seconds / max(1, embedders))

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return asdict(self)


def bytes_text(count: float) -> str:
    """Write a number of bytes for people, in powers of 1000.

    Examples
    --------
    >>> bytes_text(1_532_000)
    '1.53 MB'
    """
    unit = 0
    while count >= _STEP and unit < len(_UNITS) - 1:
        count /= _STEP
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.3g} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """Write a time for people.

    Examples
    --------
    >>> seconds_text(5400)
    '1.5 h'
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.2g} s" if seconds < _FEW_S else f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < _DAY_S else f"{seconds / _DAY_S:.1f} days"
