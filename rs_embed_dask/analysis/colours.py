"""Colours of classes: far apart for names, like the vectors themselves for clusters."""

from __future__ import annotations

import colorsys
from typing import Final

__all__ = ["class_colours"]

_TURN: Final = 0.618033988749895
_LIGHTS: Final = (0.45, 0.62, 0.36)


def class_colours(count: int) -> list[list[int]]:
    """Return colours in bytes, (count, 3), neighbours in the list far apart; more of them begin with the same."""
    tones = ((at * _TURN % 1.0, _LIGHTS[at % len(_LIGHTS)]) for at in range(count))
    return [[round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.65)] for hue, light in tones]
