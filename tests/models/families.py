"""Small networks of four families, and made pixels for any of their modalities."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card

CONFIGS = {
    "prithvi": {"dim": 64, "depth": 2, "heads": 4, "size": 64, "patch": 16},
    "clay": {"dim": 40, "depth": 2, "heads": 2, "head_dim": 16, "wave_dim": 16, "tokens": 4, "size": 32},
    "terrafm": {"dim": 32, "depth": 2, "heads": 4, "size": 64, "patch": 16},
    "terramind": {"dim": 32, "depth": 2, "heads": 2, "size": 64, "patch": 16, "mlp_ratio": 2.0},
}
MODALITIES = [
    ("prithvi", "s2"),
    *(("clay", name) for name in ("s2", "s1", "landsat", "naip")),
    *(("terrafm", name) for name in ("s2", "s2l1c", "s1")),
    *(("terramind", name) for name in ("s2l2a", "s2l1c", "rgb", "s1grd", "s1rtc", "dem", "s2l2a+s1rtc+dem")),
]
SIDE = {"dates": ["2022-07-17"], "place": (3.0, 51.0)}
RANGES = {"reflectance_e4": (200, 4000), "db": (-25, -5), "byte": (10, 250), "m": (0, 900)}


def small(model, **choices):
    """Load a small network of a family."""
    config = CONFIGS[model] | choices.pop("config", {})
    return load_model(model, **{"weights": "random", "device": "cpu", "config": config, **choices})


def tensors(model, **choices):
    """The state of a small network, to be written to a file."""
    return {name: value.clone() for name, value in small(model, **choices).encoder.state_dict().items()}


def pixels(model, modality, side, seed=0):
    """Make images (1, C, H, W) for each modality of a set; the sides are (H, W), or one number."""
    height, width = (side, side) if isinstance(side, int) else side
    inputs = {one.modality: one for one in card(model).inputs}
    generator = np.random.default_rng(seed)
    made = {}
    for name in modality.split("+"):
        low, high = RANGES[inputs[name].unit]
        made[name] = generator.uniform(low, high, (1, len(inputs[name].bands), height, width)).astype(np.float32)
    return made
