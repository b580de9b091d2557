"""SatMAE: raw cases say in words which resize they mean; two outputs are rs-embed's and a float resize's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.models import load_model
from rs_embed_dask.models.batch import Batch
from rs_embed_dask.models.samples import Sample
from tests.parity.running import items, outputs

if TYPE_CHECKING:
    from rs_embed_dask.models.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs


def run(case: Case) -> Outputs:
    config = _vit_config(case)
    images = items(case.inputs[0].values, 4)
    if not case.raw:
        model = _satmae(case, config)
        return outputs(model, model.tokens(Batch({"rgb": torch.from_numpy(images)[:, None]})))
    crop = "crop 224" in case.recipe_text or "centre crop" in case.recipe_text
    samples = [Sample({"rgb": image[None]}) for image in images]
    model = _satmae(case, config, resize="crop" if crop else "pillow")
    found = _satmae_raw(model, samples)
    found["pooled_mean"] = np.asarray(model.embed(images[:, None]).data)
    wanted = {facts["output"] for facts in case.facts["expected"]}
    others = {"rs_embed": {"norm_eps": 1e-5}, "float_resize": {"resize": "float"}}
    for prefix, options in others.items():
        if any(name.startswith(prefix) for name in wanted):
            more = _satmae_raw(_satmae(case, config, **options), samples)
            found |= {f"{prefix}_{name}": value for name, value in more.items()}
    return found


def _satmae(case: Case, config: dict[str, int], **options: Any) -> Model:
    return load_model(
        "satmae", weights=case.weights, config=config, device="cpu", dtype="float32", rectangle="stretch", **options
    )


def _satmae_raw(model: Model, samples: list[Sample]) -> Outputs:
    batch = model.prepare(samples)
    return outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}


def _vit_config(case: Case) -> dict[str, int]:
    """Read a ViT's sizes off its tensors; the heads, which leave no trace, off the configuration."""
    spec = case.facts["weights"]
    if "file" in spec:
        return {}
    shapes = case.folder.shapes(case.model, spec["shapes"])
    told = case.facts.get("config") or {}
    dim = shapes["pos_embed"][-1]
    patch = shapes["patch_embed.proj.weight"][-1]
    depth = 1 + max(int(found.group(1)) for name in shapes if (found := re.match(r"blocks\.(\d+)\.", name)))
    heads = next((int(told[name]) for name in ("num_heads", "heads") if name in told), dim // 64)
    size = round((shapes["pos_embed"][1] - 1) ** 0.5) * patch
    ratio = shapes["blocks.0.mlp.fc1.weight"][0] / dim
    return {"dim": dim, "depth": depth, "heads": heads, "mlp_ratio": ratio, "size": size, "patch": patch}
