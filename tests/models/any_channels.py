"""Small networks of DINOv3, Panopticon and Copernicus-FM, and made pixels for any of their modalities."""

import gzip
import json

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.models.copernicusfm import NAMES
from rs_embed_dask.specs import ModelSpec
from tests.parity.cases import NUMBERS

SIDE = {"dates": ["2022-07-17"], "place": (3.0, 51.0)}
RANGES = {"reflectance_e4": (200, 4000), "db": (-25, -5), "radiance": (0.2, 2), "mol_m2": (0.01, 0.1), "m": (0, 900)}
CONFIGS = {
    "dinov3sat": {"dim": 32, "depth": 2, "heads": 2},
    "panopticon": {"dim": 32, "depth": 2, "heads": 2, "channel_dim": 48, "channel_heads": 4, "side": 5},
    "copernicusfm": {"dim": 32, "depth": 2, "heads": 2, "wave_dim": 16, "tokens": 4, "dim_feedforward": 32},
}
MODALITIES = [
    ("dinov3sat", "rgb"),
    *(("panopticon", name) for name in ("s2l1c", "s1", "s2+s1")),
    *(("copernicusfm", name) for name in ("s2", "s1", "s3", "s5p_no2")),
]
KEYS = {model: json.loads(gzip.decompress((NUMBERS / model / "keys.json.gz").read_bytes())) for model in CONFIGS}
UNUSED = {
    "dinov3sat": ("mask_token", "local_cls_norm.weight", "rope_embed.periods", "blocks.0.attn.qkv.bias_mask"),
    "panopticon": ("mask_token",),
    "copernicusfm": ("mask_token", "decoder_embed.weight", "coord_fc_decoder.weight", "time_token_dec", "teacher.a.b"),
}


def vectors():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2048, generator=generator) for name in NAMES.values()}


def small(model, **choices):
    """Load a small network whose images have 4 x 4 tokens."""
    config = CONFIGS[model] | choices.pop("config", {})
    if model == "copernicusfm":
        config = {"language": vectors()} | config
    patch = card(model).patch(ModelSpec(model, modality=choices.get("modality")))
    size = {} if model == "copernicusfm" and choices.get("modality") == "dem" else {"size_px": 4 * patch}
    fixed = {"weights": "random", "device": "cpu", "config": config, "accept_licence": True} | size
    return load_model(model, **(fixed | choices))


def tensors(model):
    return {name: value.clone() for name, value in small(model).encoder.state_dict().items()}


def pixels(model, modality, side, seed=0):
    height, width = (side, side) if isinstance(side, int) else side
    inputs = {one.modality: one for one in card(model).inputs}
    generator = np.random.default_rng(seed)
    shapes = {name: (1, len(inputs[name].bands), height, width) for name in modality.split("+")}
    return {
        name: generator.uniform(*RANGES[inputs[name].unit], shape).astype(np.float32) for name, shape in shapes.items()
    }
