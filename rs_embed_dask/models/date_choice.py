"""Which of a pixel's dates TESSERA sees: all of them, padded to a bin by repeating some, or forty drawn at random."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_BIN: Final = 8
_MOST: Final = 256
DRAWN: Final = 40
_NONE: Final = -1  # no date: a row of zeros


@lru_cache(maxsize=1024)
def spread(count: int) -> NDArray[np.int64]:
    """Return which of `count` dates v1.1 sees: all and evenly spaced repeats, or the middles of 256 runs."""
    if count > _MOST:
        return _middles(count, _MOST)
    extra = _padding(count) if count else _BIN
    repeats = np.rint(np.linspace(0, count - 1, extra + 2)[1:-1]) if count else np.full(extra, _NONE)
    return np.concatenate([np.arange(count), repeats.astype(np.int64)])


@lru_cache(maxsize=1024)
def split(count: int) -> NDArray[np.int64]:
    """Return which of `count` dates v2 sees: all and the middles of runs of them, or 256 evenly spaced."""
    if count > _MOST:
        return np.linspace(0, count - 1, _MOST, dtype=np.int64)
    if not count:
        return np.full(1, _NONE)
    extra = _padding(count)
    repeats = _middles(count, extra) if extra <= count else np.arange(extra) % count
    return np.concatenate([np.arange(count), repeats])


def _padding(count: int) -> int:
    return -count % _BIN


def _middles(count: int, runs: int) -> NDArray[np.int64]:
    """Return the middle, of two the later, of each of some runs of equal length, the longer ones first."""
    parts = np.array_split(np.arange(count), runs) if runs else []
    return np.array([part[len(part) // 2] for part in parts], np.int64)


RULES: Final[dict[str, Callable[[int], NDArray[np.int64]]]] = {"spread": spread, "split": split}


def chosen(valid: Tensor, rule: Literal["spread", "split"]) -> tuple[Tensor, Tensor]:
    """Choose among valid dates (P, T): their numbers (P, L), T for none, and how many count in each row (P,)."""
    counts, last = valid.sum(1), valid.shape[1]
    order = valid.int().argsort(dim=1, descending=True, stable=True)
    order = functional.pad(order, (0, 1), value=last)  # the last one, -1, is none
    lists = {count: torch.from_numpy(RULES[rule](count)).to(valid.device) for count in counts.unique().tolist()}
    numbers = order.new_full((len(valid), max(map(len, lists.values()), default=0)), last)
    lengths = torch.zeros_like(counts)
    for count, rows in lists.items():
        (pixels,) = (counts == count).nonzero(as_tuple=True)
        numbers[pixels, : len(rows)] = order[pixels][:, rows]
        lengths[pixels] = len(rows)
    return numbers, lengths


def drawn(candidates: NDArray[np.bool_], generator: np.random.RandomState) -> NDArray[np.int64]:
    """Draw forty of each pixel's candidates (P, T), more than once where there are fewer, in order: (P, 40)."""
    numbers = np.empty((len(candidates), DRAWN), np.int64)
    for row, there in zip(numbers, candidates, strict=True):
        (dates,) = np.nonzero(there)
        row[:] = np.sort(generator.choice(dates, DRAWN, replace=len(dates) < DRAWN))
    return numbers
