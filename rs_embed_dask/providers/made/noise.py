"""Numbers that depend on place and seed only: hashes of lattice cells, and smooth noise between them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["cell_hash", "number", "rough", "smooth", "unit"]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint32]

_X: Final = 0x9E3779B1
_Y: Final = 0x85EBCA77
_SEED: Final = 0xC2B2AE3D
_MIX: Final = ((15, 0x2C1B3C6D), (12, 0x297A2D39))
_LAST_SHIFT: Final = 15
_WORD: Final = 0xFFFFFFFF
_SPAN: Final = 1 << 32


def number(*parts: int) -> float:
    """Return a number in [0, 1) that depends on some whole numbers only.

    Parameters
    ----------
    *parts : int
        For example a seed and a day.

    Returns
    -------
    float
    """
    value = 0
    for part in parts:
        value = (value * _X ^ (part & _WORD) * _SEED) & _WORD
        value = _mixed(value)
    return value / _SPAN


def _mixed(value: int) -> int:
    for shift, factor in _MIX:
        value = ((value ^ value >> shift) * factor) & _WORD
    return value ^ value >> _LAST_SHIFT


def cell_hash(column: npt.NDArray[np.int64], row: npt.NDArray[np.int64], seed: int) -> Hashes:
    """Return 32 well-mixed bits for each cell of a lattice.

    Parameters
    ----------
    column, row : ndarray of int64
        Cells; any shapes that broadcast.
    seed : int
        Another seed gives unrelated bits.

    Returns
    -------
    ndarray of uint32
    """
    value = column.astype(np.uint32) * np.uint32(_X)
    value = value ^ (row.astype(np.uint32) * np.uint32(_Y))
    value ^= np.uint32((seed * _SEED + 1) & _WORD)
    for shift, factor in _MIX:
        value ^= value >> np.uint32(shift)
        value *= np.uint32(factor)
    value ^= value >> np.uint32(_LAST_SHIFT)
    return value


def unit(bits: Hashes) -> Floats:
    """Return hashes as numbers in [0, 1).

    Parameters
    ----------
    bits : ndarray of uint32
        Hashes.

    Returns
    -------
    ndarray of float32
    """
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(1 / (1 << 24))


def smooth(x: Places, y: Places, size_m: float, *, seed: int) -> Floats:
    """Return smooth noise in [0, 1]: a number at each corner of a lattice, and a smooth passage between.

    Parameters
    ----------
    x, y : ndarray of float64
        Places in metres, one shape.
    size_m : float
        Distance of lattice corners, so about half the size of a hill.
    seed : int
        Another seed gives unrelated noise.

    Returns
    -------
    ndarray of float32
        At each place; the same whatever other places are asked for.
    """
    column, a = _between(x, size_m)
    row, b = _between(y, size_m)
    low_left, low_right, high_left, high_right = _corners(column, row, seed)
    low = low_left + (low_right - low_left) * a
    high = high_left + (high_right - high_left) * a
    return low + (high - low) * b


def _between(at: Places, size: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the cell before each place, and how far it is on the way to the next, smoothed."""
    scaled = at * (1.0 / size)
    whole = np.floor(scaled)
    part = (scaled - whole).astype(np.float32)
    return whole.astype(np.int64), part * part * (np.float32(3) - np.float32(2) * part)


def _corners(
    column: npt.NDArray[np.int64], row: npt.NDArray[np.int64], seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the numbers at the four corners round each place: hashed once a corner where places lie close together."""
    c0, r0 = int(column.min()), int(row.min())
    wide, high = int(column.max()) - c0 + 2, int(row.max()) - r0 + 2
    if wide * high <= column.size:
        table = unit(cell_hash(np.arange(c0, c0 + wide)[None, :], np.arange(r0, r0 + high)[:, None], seed)).ravel()
        at = (row - r0) * wide + (column - c0)
        return table.take(at), table[1:].take(at), table[wide:].take(at), table[wide + 1 :].take(at)
    found = [unit(cell_hash(column + i, row + j, seed)) for j in (0, 1) for i in (0, 1)]
    return found[0], found[1], found[2], found[3]


def rough(x: Places, y: Places, size_m: float, *, seed: int, octaves: int = 2) -> Floats:
    """Return noise in [0, 1] with detail: each octave half as large and half as strong.

    Parameters
    ----------
    x, y, size_m, seed
        As for `smooth`; the size is that of the largest octave.
    octaves : int
        How many.

    Returns
    -------
    ndarray of float32
    """
    total = smooth(x, y, size_m, seed=seed)
    weight = 1.0
    for octave in range(1, octaves):
        strength = 0.5**octave
        total = total + np.float32(strength) * smooth(x, y, size_m * strength, seed=seed + 7919 * octave)
        weight += strength
    return total * np.float32(1 / weight)
