"""Memory for arrays that live briefly, lent over and over: each page that is new costs a fault, and is cleared."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Lender", "scratch"]

_Memory = npt.NDArray[np.uint8]


class _Lent:
    """The base of an array and of all its views: when none of them is left, the memory goes back."""

    __slots__ = ("__array_interface__", "_lender", "_memory")

    def __init__(self, lender: Lender, memory: _Memory, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
        self._lender, self._memory = lender, memory
        address = memory.__array_interface__["data"]
        self.__array_interface__ = {"data": address, "shape": shape, "typestr": kind.str, "version": 3}

    def __del__(self) -> None:
        self._lender.give_back(self._memory)


class Lender:
    """Memory that nobody holds, up to so many bytes, in pieces that are at most a quarter larger than asked for."""

    # The garbage collector may give memory back within any other call of the same thread, so there is no lock here:
    # the steps are such that each leaves a whole state. Another thread may ask for a size that is new meanwhile, so
    # sizes are listed at once: a list of numbers is nothing that starts the collector.

    _LEAST: Final = 2**15  # less than this comes from what the process holds anyway

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._free: defaultdict[int, deque[_Memory]] = defaultdict(deque)

    @property
    def nbytes(self) -> int:
        """Bytes that nobody holds."""
        return sum(size * len(self._free[size]) for size in list(self._free))

    def empty(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of any content, as `numpy.empty` does."""
        kind = np.dtype(kind)
        n_bytes = math.prod(shape) * kind.itemsize
        if not self._LEAST <= n_bytes <= self._most:
            return np.empty(shape, kind)
        step = 1 << (n_bytes - 1).bit_length() - 3
        size = -(-n_bytes // step) * step
        try:
            memory = self._free[size].pop()
        except IndexError:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lent(self, memory, shape, kind))

    def give_back(self, memory: _Memory) -> None:
        """Keep memory that nobody holds any more; beyond the limit the largest pieces go."""
        self._free[memory.size].append(memory)
        while self.nbytes > self._most:
            try:
                self._free[max(size for size in list(self._free) if self._free[size])].popleft()
            except (IndexError, ValueError):  # another thread took the last
                return


_LENDER: Final = Lender(3 * 2**23)


def scratch(shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of any content for numbers that live briefly; its memory is lent again when no view is left."""
    return _LENDER.empty(shape, kind)
