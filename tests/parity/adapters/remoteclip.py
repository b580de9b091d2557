"""RemoteCLIP: sizes by the tensors, the activation by the case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from tests.parity.running import depth, items, official, outputs, told_heads

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4)
    model = _load(case)
    if not case.raw:
        return outputs(model, model.tokens(Batch({"rgb": torch.from_numpy(images)[:, None]})))
    samples = [Sample({"rgb": image[None]}) for image in images]
    found = _raw(model, samples)
    found["pooled_mean"] = np.asarray(model.embed(images[:, None]).data)
    if any(facts["output"].startswith("float_resize") for facts in case.facts["expected"]):
        found |= {f"float_resize_{name}": v for name, v in _raw(_load(case, resize="float"), samples).items()}
    return found


def _raw(model: Model, samples: list[Sample]) -> Outputs:
    batch = model.prepare(samples)
    return outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}


def _load(case: Case, **options: Any) -> Model:
    told = case.facts.get("config") or {}
    gelu = case.facts.get("activation") == "gelu" or told.get("quick_gelu") is False
    config = {} if official(case) else _sizes(case)
    variant = {"resnet": "rn50", "vit": "vitb32"}[config["body"]] if config else case.facts.get("variant")
    options |= {"activation": "gelu" if gelu else "quick_gelu", "rectangle": "crop", "variant": variant}
    return load_model("remoteclip", weights=case.weights, config=config, device="cpu", dtype="float32", **options)


def _sizes(case: Case) -> dict[str, Any]:
    listed = case.folder.shapes(case.model, case.facts["weights"]["shapes"])
    shapes = {re.sub(r"^(model\.)?visual\.", "", name): shape for name, shape in listed.items()}
    if "attnpool.positional_embedding" in shapes:
        depths = tuple(depth(shapes, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
        depths = tuple(count for count in depths if count)
        tokens, dim = shapes["attnpool.positional_embedding"]
        return {
            "body": "resnet",
            "size": round((tokens - 1) ** 0.5) * (2 << len(depths)),
            "width": shapes["layer1.0.conv1.weight"][0],
            "depths": depths,
            "heads": told_heads(case, dim),
            "out": shapes["attnpool.c_proj.weight"][0],
        }
    dim, _, _, patch = shapes["conv1.weight"]
    return {
        "body": "vit",
        "size": round((shapes["positional_embedding"][0] - 1) ** 0.5) * patch,
        "patch": patch,
        "dim": dim,
        "depth": depth(shapes, r"transformer\.resblocks\.(\d+)\."),
        "heads": told_heads(case, dim),
        "mlp_ratio": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0] / dim,
        "out": shapes["proj"][1],
    }
