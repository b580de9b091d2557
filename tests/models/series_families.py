"""Small networks of Presto, OlmoEarth, FoMo and AnySat, and made pixels for any of their modalities."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card


@dataclass(frozen=True)
class Family:
    """A configuration, the choices that go with it, and what its grids are: tokens of `cell` pixels."""

    config: dict
    cell: int
    choices: dict = field(default_factory=dict)
    dim: int = 32
    frames: int = 2
    side: int = 0  # of the network's image, where it is fixed


FAMILIES = {
    "presto": Family({}, 1, dim=128),
    "olmoearth": Family({"dim": 32, "depth": 2, "heads": 2}, 4, {"accept_licence": True}),
    "fomo": Family({"dim": 32, "depth": 1, "heads": 2, "head_dim": 16}, 16, frames=1, side=64),
    "anysat": Family({"dim": 64, "depth": 1, "heads": 2}, 1, dim=64),
}
MODALITIES = [
    *(("presto", name) for name in ("s2", "era5+srtm+dw", "s2+s1")),
    *(("olmoearth", name) for name in ("s2", "s1", "s2+landsat")),
    *(("fomo", name) for name in ("s2+s1", "landsat", "planet+aerial+dem+gaofen2")),
    *(("anysat", name) for name in ("s2", "s1-asc", "l8", "s1+aerial", "spot", "naip")),
]
SIDE = {"place": (3.0, 51.0)}
RANGES = {
    "reflectance_e4": (200, 4000),
    "db": (-25, -5),
    "kelvin, m": (0, 290),
    "class": (0, 9),
    "standardised": (-2, 2),
}
DAYS = ["2022-03-05", "2022-07-17", "2022-11-20", "2021-01-11"]


def small(model, **choices):
    """Load a small network of a family."""
    family = FAMILIES[model]
    config = family.config | choices.pop("config", {})
    return load_model(model, **{"weights": "random", "device": "cpu", "config": config, **family.choices, **choices})


def tensors(model, **choices):
    """The state of a small network, to be written to a file."""
    return {name: value.clone() for name, value in small(model, **choices).encoder.state_dict().items()}


def pixels(model, modality, side, seed=0):
    """Make images (T, C, H, W) for each modality of a set; the sides are (H, W), or one number, of the coarsest."""
    sides = (side, side) if isinstance(side, int) else side
    inputs = {one.modality: one for one in card(model).inputs}
    generator = np.random.default_rng(seed)
    made = {}
    for name in modality.split("+"):
        low, high = RANGES.get(inputs[name].unit, (1, 250))
        frames = 1 if name in {"aerial", "spot", "naip"} else FAMILIES[model].frames
        shape = (frames, len(inputs[name].bands), *(length * inputs[name].fold for length in sides))
        values = generator.uniform(low, high, shape)
        made[name] = (np.floor(values) if inputs[name].unit == "class" else values).astype(np.float32)
    return made


def told(images, first=0):
    """Dates of the images, by modality where their numbers differ, and a place."""
    counts = {name: len(values) for name, values in images.items()}
    days = DAYS[first:] + DAYS[:first]
    if len(set(counts.values())) > 1:
        return {"dates": {name: days[:count] for name, count in counts.items()}} | SIDE
    return {"dates": days[: next(iter(counts.values()))]} | SIDE
