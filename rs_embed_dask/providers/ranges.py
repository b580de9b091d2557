"""Which ranges of a file to ask for: between two blocks, what takes less time to read than to ask again is read too.

That depends on the server: how long it takes to begin an answer, and how quickly its answers then come. Both are
measured from the answers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from rs_embed_dask.imagery.threads import lasting_threads

__all__ = ["LEAST_GAP", "MOST_GAP", "Paces", "Run", "at_once", "runs"]

LEAST_GAP: Final = 2**16
MOST_GAP: Final = 2**18
AT_ONCE: Final = 16

Run = tuple[int, int]
"""First byte, and the one after the last."""

_Value = TypeVar("_Value")


class Pace(NamedTuple):
    """How a server answers: seconds until an answer begins, and bytes per second from then on."""

    wait_s: float
    rate: float


class Paces:
    """How the servers answer that this process has asked, the newest answers counting most."""

    _WEIGHT: Final = 0.125
    _WEIGHT_OF_WAITS: Final = 1 / 64
    _TELLING_BYTES: Final = 2**16

    def __init__(self) -> None:
        self._of: dict[str, Pace] = {}

    def note(self, server: str, *, wait_s: float, body_s: float, n_bytes: int) -> None:
        """Take in an answer; short ones say little about the rate."""
        if n_bytes < self._TELLING_BYTES or body_s <= 0:
            return
        rate = n_bytes / body_s
        known = self._of.get(server, Pace(wait_s, rate))
        # what a busy moment adds to the wait, asking less often does not save: it falls at once and rises slowly
        weight = 1.0 if wait_s < known.wait_s else self._WEIGHT_OF_WAITS
        self._of[server] = Pace(
            known.wait_s + weight * (wait_s - known.wait_s), known.rate + self._WEIGHT * (rate - known.rate)
        )

    def gap(self, server: str) -> int:
        """Return how many bytes of a server take as long to read as another request takes to be answered."""
        known = self._of.get(server)
        return LEAST_GAP if known is None else min(max(LEAST_GAP, int(known.wait_s * known.rate)), MOST_GAP)


def runs(blocks: Iterable[Run], available: Iterable[Run], gap: int = LEAST_GAP) -> list[Run]:
    """Return the fewest runs of bytes [start, stop) that hold blocks of (offset, length) beyond what is available.

    Parameters
    ----------
    blocks
        Offset and length of each.
    available
        Runs that are there already.
    gap
        Most bytes between two blocks that are read for the sake of one request less.

    Examples
    --------
    >>> runs([(40_000, 100), (40_108, 100), (9_000_000, 50)], [(0, 32_768)])
    [(40000, 40208), (9000000, 9000050)]
    """
    have = tuple(available)
    merged: list[Run] = []
    for offset, length in sorted(set(blocks)):
        stop = offset + length
        if any(a <= offset and stop <= b for a, b in have):
            continue
        if merged and offset - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((offset, stop))
    return merged


def at_once(fetch: Callable[[Run], _Value], wanted: Sequence[Run]) -> list[_Value]:
    """Fetch the ranges of one file side by side."""
    side_by_side = lasting_threads("rs-range", AT_ONCE).map if len(wanted) > 1 else map
    return list(side_by_side(fetch, wanted))
