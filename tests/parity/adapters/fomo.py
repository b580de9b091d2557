"""FoMo: channels are known by their keys, whatever image they come in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import GRID, centred, first_item, items, known_variant, outputs, sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from rs_embed_dask.preprocess.inputs import Inputs
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "head_dim",
    "image_size": "size",
    "patch_size": "patch",
}


def run(case: Case) -> Outputs:
    keys = tuple(int(key) for key in case.side["keys"])
    if not case.raw:
        image = torch.from_numpy(np.concatenate([items(one.values, 4) for one in case.inputs], axis=1))
        model = _load(case)
        batch = Batch({"s2": image[:, None]}, {"s2": replace(model.inputs[0], per_band=(("key", keys),))})
        return first_item(case, outputs(model, model.tokens(batch)))
    pixels = {one.role or "s2": items(one.values, 4).astype(np.float32)[:, None] for one in case.inputs}
    order, options = "+".join(pixels), {}
    own = [key for name in pixels for key in _inputs(name).values("key")]
    if keys != tuple(own):
        (name,) = pixels
        options["bands"] = tuple(_inputs(name).bands[_inputs(name).values("key").index(key)] for key in keys)
    if "pad" in case.recipe_text:
        pixels = {name: centred(values) for name, values in pixels.items()}
    found = re.search(r"to (\d+) x \d+", case.recipe_text)
    side = int(found.group(1)) if found else next(iter(pixels.values())).shape[-1]
    scale = "reflectance" if "/ 10000" in case.recipe_text else "statistics"
    model = _load(case, modality=order, scale=scale, size_px=side, rectangle="stretch", **options)
    batch = model.prepare(arrays.samples(pixels, model.inputs, arrays.SideInputs())[0])
    batch.images = {name: batch.images[name] for name in pixels}
    found = outputs(model, model.tokens(batch))
    found["model_input"] = torch.cat([batch.only_frame(name) for name in pixels], dim=1).numpy()
    for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
        found[name] = np.asarray(model.embed(pixels, output=output).data)
    return first_item(case, found)


def _inputs(name: str) -> Inputs:
    return next(one for one in card("fomo").inputs if one.modality == name)


def _load(case: Case, **options: Any) -> Model:
    told = case.facts.get("config") or {}
    config = sizes(case, RENAMED)
    if "mlp_dim" in told:
        config["mlp_ratio"] = told["mlp_dim"] / told["dim"]
    weights = case.facts["weights"]["shapes"]
    config["channels"] = case.folder.shapes(case.model, weights)["spectral_embedding"][1] - 1
    model = load_model(
        "fomo",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        device="cpu",
        dtype="float32",
        **options,
    )
    model.max_images = 1 << 16
    return model
