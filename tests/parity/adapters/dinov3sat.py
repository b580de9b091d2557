"""DINOv3: images of any size; the mean of the patches goes by a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_heads

if TYPE_CHECKING:
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "patch": "patch",
    "patch_size": "patch",
    "norm_eps": "norm_eps",
    "storage_tokens": "storage",
    "rope_base": "rope_base",
}


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4).astype(np.float32)
    config = sizes(case, RENAMED)
    if config:
        told = case.facts["config"]
        config["heads"] = told_heads(case, config["dim"])
        if "ffn" in told:
            config["mlp_ratio"] = told["ffn"] / config["dim"]
    model = load_model(
        "dinov3sat",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        scale="dn40" if case.inputs[0].values.dtype != np.uint8 else "bytes",
        size_px=int(case.facts.get("size") or images.shape[-1] // 16 * 16),
        rectangle="stretch",
        device="cpu",
        dtype="float32",
    )
    model.max_images = 1 << 16
    batch = Batch({"rgb": torch.from_numpy(images)[:, None]})
    if case.raw:
        batch = model.prepare([Sample({"rgb": image[None]}) for image in images])
    found = outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}
    if case.raw:
        found["cls"] = np.asarray(model.embed(images[:, None], output=OutputSpec.pooled("cls")).data)
    found["pooled"], found["patch_mean"] = found["cls"], found["pooled_mean"]
    return first_item(case, found)
