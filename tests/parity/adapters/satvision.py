"""SatVision-TOA: sizes by the configuration; the giant's tensors are drawn block by block, as each one runs."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import factory
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import OutputSpec
from tests.parity import recipe
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import GRID, first_item, items, outputs, sizes, told_px

if TYPE_CHECKING:
    from torch import nn

    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depths": "depths",
    "num_heads": "heads",
    "window_size": "window",
    "mlp_ratio": "mlp_ratio",
    "extra_norm_period": "norm_period",
}
LARGE = 5e8  # numbers; more are never held at once
SMALL = {"dim": 8, "depths": (1,), "heads": (1,)}
UNIT = re.compile(r"layers\.\d+\.(blocks\.\d+|downsample)|patch_embed|norm")


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4)
    options = told_px(case, images) if case.raw else {"size_px": images.shape[-1]}
    model = _load(case, **options)
    if not case.raw:
        return _encoded(case, model, Batch({"modis": torch.from_numpy(images)[:, None]}))
    batch = model.prepare([Sample({"modis": image[None]}) for image in images])
    found = _encoded(case, model, batch) | {"model_input": batch.image.numpy()}
    if not next(model.encoder.parameters()).is_meta:
        for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
            found[name] = np.asarray(model.embed(images[:, None], output=output).data)
    return first_item(case, found)


def _encoded(case: Case, model: Model, batch: Batch) -> Outputs:
    found = outputs(model, model.tokens(batch))
    for name in ("grid_before_norm", *(name for name in found if name.startswith("stage"))):
        found[name] = found[name].transpose(0, 3, 1, 2)  # (B, D, h, w)
    single = {str(facts["output"]) for facts in case.facts["expected"] if len(facts["shape"]) in {1, 3}}
    return first_item(case, {name: values[:1] if name in single else values for name, values in found.items()})


def _load(case: Case, **options: Any) -> Model:
    told = {"device": "cpu", "dtype": "float32", **options}
    config = _config(case)
    spec = case.facts["weights"]
    shapes = None if "file" in spec else case.folder.shapes(case.model, spec["shapes"])
    if shapes is None or sum(map(math.prod, shapes.values())) < LARGE:
        return load_model("satvision", weights=case.weights, config=config, **told)
    model = load_model("satvision", weights="random", config=SMALL, **told)
    model.encoder = _streamed(config, shapes, int(spec.get("seed", 0)))
    return model


def _config(case: Case) -> dict[str, Any]:
    told = case.facts.get("config") or {}
    if told.get("extra_norm_stage") or any(told.get("pretrained_window_sizes") or ()):
        raise NotUnderstoodError("a norm after each stage, or windows of another size in pretraining")
    config = sizes(case, RENAMED)
    config |= {name: tuple(config[name]) for name in ("depths", "heads") if name in config}
    config |= {"stem": (told["in_chans"], told["patch_size"])} if {"in_chans", "patch_size"} <= set(told) else {}
    config["norm_period"] = int(config.get("norm_period") or 0) if told else 6
    spec = case.facts["weights"]
    if "shapes" in spec and not any(".norm3." in name for name in case.folder.shapes(case.model, spec["shapes"])):
        config["norm_period"] = 0
    return config


def _streamed(config: dict[str, Any], shapes: dict[str, list[int]], seed: int) -> nn.Module:
    """Build a network without tensors, whose parts draw theirs when they run and drop them after."""
    with torch.device("meta"):
        encoder: nn.Module = factory("satvision")(**config).eval().requires_grad_(requires_grad=False)
    if {name: list(value.shape) for name, value in encoder.state_dict().items()} != shapes:
        raise NotUnderstoodError("other names or shapes than the network's")
    units: dict[str, list[str]] = defaultdict(list)
    for name in shapes:
        units[UNIT.match(name).group()].append(name)

    def draw(part: nn.Module, _: Any, *, unit: str) -> None:
        drawn = {name: torch.from_numpy(recipe.weight(name, tuple(shapes[name]), seed)) for name in units[unit]}
        part.load_state_dict({name[len(unit) + 1 :]: value for name, value in drawn.items()}, assign=True)

    for unit in units:
        part = encoder.get_submodule(unit)
        part.register_forward_pre_hook(lambda part, given, unit=unit: draw(part, given, unit=unit))
        part.register_forward_hook(lambda part, _, __: part.to("meta") and None)
    return encoder
