"""WildSAT: sizes by the tensors; raw cases say in words whether they go the authors' way, and to which size."""

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
    if not case.raw:
        model = _load(case)
        return outputs(model, model.tokens(Batch({"rgb": torch.from_numpy(images)[:, None]})))
    samples = [Sample({"rgb": image[None]}) for image in images]
    model = _load(case)
    found = _raw(model, samples)
    found["pooled_mean"] = np.asarray(model.embed(images[:, None]).data)
    if any(facts["output"].startswith("float_resize") for facts in case.facts["expected"]):
        found |= {f"float_resize_{name}": v for name, v in _raw(_load(case, resize="float"), samples).items()}
    return found


def _raw(model: Model, samples: list[Sample]) -> Outputs:
    batch = model.prepare(samples)
    return outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}


def _load(case: Case, **options: Any) -> Model:
    size = re.search(r"to (\d+) x \1", case.recipe_text)
    if size:
        options["size_px"] = int(size.group(1))
    if "bilinear" in case.recipe_text:
        options["scaling"] = "authors"
    config = {} if official(case) else _sizes(case)
    variant = {"vit": "vitb16", "resnet": "resnet50", "swin": "swint"}[config["body"]] if config else None
    told = {"device": "cpu", "dtype": "float32", "rectangle": "stretch"}
    options["variant"] = variant or case.facts.get("variant")
    return load_model("wildsat", weights=case.weights, config=config, **told, **options)


def _sizes(case: Case) -> dict[str, Any]:
    listed = case.folder.shapes(case.model, case.facts["weights"]["shapes"])
    shapes = {re.sub(r"^(module\.)?(backbone\.)?", "", name): shape for name, shape in listed.items()}
    head = shapes["decoder.backbone3.0.weight"]
    config: dict[str, Any] = {"out": head[0], "classes": head[1]}
    if "conv_proj.weight" in shapes:
        return config | _vit(shapes, case)
    if "features.0.0.weight" in shapes:
        return config | _swin(shapes)
    depths = tuple(depth(shapes, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    config |= {"body": "resnet", "width": shapes["conv1.weight"][0]}
    return config | {"depths": tuple(count for count in depths if count)}


def _vit(shapes: dict[str, list[int]], case: Case) -> dict[str, Any]:
    dim, _, _, patch = shapes["conv_proj.weight"]
    return {
        "body": "vit",
        "size": round((shapes["encoder.pos_embedding"][1] - 1) ** 0.5) * patch,
        "patch": patch,
        "dim": dim,
        "depth": depth(shapes, r"encoder\.layers\.encoder_layer_(\d+)\."),
        "heads": told_heads(case, dim),
        "mlp_ratio": shapes["encoder.layers.encoder_layer_0.mlp.0.weight"][0] / dim,
    }


def _swin(shapes: dict[str, list[int]]) -> dict[str, Any]:
    tables = {
        int(found.group(1)): shape
        for name, shape in shapes.items()
        if (found := re.match(r"features\.(\d+)\.\d+\.attn\.relative_position_bias_table", name))
    }
    return {
        "body": "swin",
        "dim": shapes["features.0.0.weight"][0],
        "depths": tuple(depth(shapes, rf"features\.{part}\.(\d+)\.") for part in sorted(tables)),
        "heads": tuple(tables[part][1] for part in sorted(tables)),
        "window": (round(tables[1][0] ** 0.5) + 1) // 2,
    }
