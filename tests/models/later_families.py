"""Small networks of CROMA, SatVision-TOA, AgriFM and THOR, and made pixels for any of their modalities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card


@dataclass(frozen=True)
class Family:
    """A configuration, the choices that go with it, and what its grids are: 4 x 4 tokens at 4 `cell` pixels."""

    config: dict
    choices: dict
    cell: int
    dim: int = 32


FAMILIES = {
    "croma": Family({"dim": 32, "depth": 2, "heads": 4}, {"size_px": 32}, 8),
    "satvision": Family({"dim": 4, "depths": (1, 2, 2, 1), "heads": (1, 2, 4, 8), "norm_period": 2}, {}, 32),
    "agrifm": Family(
        {"dim": 4, "depths": (1, 2, 1, 1), "heads": (1, 2, 4, 8), "window": (2, 3, 3)}, {"size_px": 128}, 32
    ),
    "thor": Family({"dim": 32, "depth": 1, "heads": 4, "group_dim": 8}, {"size_px": 64}, 16),
}
FAMILIES["thor"].choices["patch_px"] = 16
MODALITIES = [
    *(("croma", name) for name in ("s2", "s1", "s2+s1")),
    ("satvision", "modis"),
    ("agrifm", "s2"),
    *(("thor", name) for name in ("s2", "s1", "s1_hh_hv", "s2+s1")),
]
RANGES = {"reflectance_e4": (200, 4000), "db": (-25, -5)}
EMISSIVE = (5, *range(7, 14))


def small(model, **choices):
    """Load a small network of a family."""
    family = FAMILIES[model]
    config = family.config | choices.pop("config", {})
    return load_model(model, **{"weights": "random", "device": "cpu", "config": config, **family.choices, **choices})


def tensors(model, **choices):
    """The state of a small network, to be written to a file."""
    return {name: value.clone() for name, value in small(model, **choices).encoder.state_dict().items()}


def pixels(model, modality, side, seed=0, frames=1):
    """Make images (T, C, H, W) for each modality of a set; the sides are (H, W), or one number."""
    height, width = (side, side) if isinstance(side, int) else side
    inputs = {one.modality: one for one in card(model).inputs}
    generator = np.random.default_rng(seed)
    made = {}
    for name in modality.split("+"):
        low, high = RANGES.get(inputs[name].unit, (1, 90))
        values = generator.uniform(low, high, (frames, len(inputs[name].bands), height, width)).astype(np.float32)
        if model == "satvision":
            values[:, EMISSIVE] = generator.uniform(210, 300, values[:, EMISSIVE].shape)
        made[name] = values
    return made
