"""Sentinel-2 in true colour, as models that were trained on 8-bit images take it."""

from typing import Any

from rs_embed_dask.preprocess.inputs import Inputs, When
from rs_embed_dask.preprocess.steps import Byte, Clip, Divide, Multiply, Resize, Step

__all__ = ["BICUBIC", "BYTES", "either", "rgb"]

BYTES = (Clip(0, 10_000), Divide(10_000.0), Multiply(255.0), Byte())
BICUBIC = Resize("bicubic", antialias=True)


def rgb(steps: tuple[Step, ...], *when: When, **more: Any) -> Inputs:
    """Make the modality of red, green and blue, at 224 pixels a side where nothing else is said."""
    more = {"sensors": ("sentinel-2-l2a", "sentinel-2-l1c"), "size_px": 224, "max_cloud_pct": 30, **more}
    return Inputs("rgb", bands=("red", "green", "blue"), steps=steps, when=when, **more)


def either(*scale: Step, first: tuple[Step, ...] = BYTES) -> tuple[tuple[Step, ...], When]:
    """Return the steps of Pillow's resize of 8 bits, and those of the option ``resize="float"``."""
    return (*first, Resize("bicubic_u8"), *scale), When("resize", "float", (("steps", (*first, *scale, BICUBIC)),))
