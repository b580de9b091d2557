"""Weights and inputs that anyone can draw again: every tensor from a counter-based generator keyed by its name.

The published numbers were computed with these draws, so each line here decides bits; `test_recipe.py` holds known ones.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

VERSION = 1
_BLOCK = 8  # side of the even blocks that make neighbouring pixels alike
_FAN_IN_CAP = 2500


def _stream(*key: object) -> np.random.Generator:
    text = "|".join([str(VERSION), *map(str, key)])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=number))


def weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Draw one tensor of a state dict: norms near one, matrices by their fan-in, the rest small."""
    draw = _stream("weight", seed, name).standard_normal(shape, dtype=np.float32)
    last = name.rpartition(".")[2]
    if last == "running_var":
        return 1 + 0.1 * np.abs(draw)
    if len(shape) > 1:
        fan_in = np.float32(math.sqrt(min(math.prod(shape[1:]), _FAN_IN_CAP)))
        return np.divide(draw, fan_in, out=draw)  # fresh memory for billions of numbers costs a third of the draws
    small = np.float32(0.1) * draw
    return 1 + small if last in {"weight", "gamma"} else small


class Weights(dict[str, "NDArray[np.float32]"]):
    """A state dict of drawn tensors."""

    @classmethod
    def draw(cls, shapes: Mapping[str, list[int]], seed: int) -> Weights:
        return cls({name: weight(name, tuple(shape), seed) for name, shape in shapes.items()})


def standard_normal(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return _stream("input", seed, name).standard_normal(shape, dtype=np.float32)


def reflectance(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Whole digital numbers, 0 to 10 000: even blocks with texture."""
    stream = _stream("reflectance", seed, name)
    even = _blocks(stream.gamma(2.0, 900.0, size=_coarse(shape)), shape)
    noise = stream.normal(0.0, 150.0, size=shape)
    return np.clip(np.rint(even + noise), 0, 10_000).astype(np.float32)


def backscatter_db(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Radar in dB, -40 to 5: even blocks with texture."""
    stream = _stream("backscatter", seed, name)
    even = _blocks(stream.normal(-14.0, 4.0, size=_coarse(shape)), shape)
    return np.clip(even + stream.normal(0.0, 1.0, size=shape), -40, 5).astype(np.float32)


def _coarse(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], *(math.ceil(side / _BLOCK) for side in shape[-2:]))


def _blocks(coarse: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    fine = coarse.repeat(_BLOCK, axis=-2).repeat(_BLOCK, axis=-1)
    return fine[..., : shape[-2], : shape[-1]]


def functions() -> Iterator[tuple[str, object]]:
    """Names by which cases call the draws."""
    for draw in (standard_normal, reflectance, backscatter_db):
        yield draw.__name__, draw
