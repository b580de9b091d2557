"""SatMAE++: RGB or ten bands, told by the tensors; raw cases say in words whether the centre is cut out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from tests.parity.running import GRID, items, known_variant, one_tile, outputs, vit_sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4)
    config = _sizes(case)
    ten = bool(config.get("grouped", "s2" in str(case.facts.get("variant"))))
    modality = "s2_10b" if ten else "rgb"
    if not case.raw:
        batch = Batch({modality: torch.from_numpy(images)[:, None]})
        return _encoded(_load(case, config, modality=modality), batch)
    options = {"modality": modality, "resize": "crop" if "crop" in case.recipe_text else "float"}
    samples = [Sample({modality: image[None]}) for image in images]
    model = _load(case, config, **options)
    found = _encoded(model, model.prepare(samples))
    found["pooled_mean"] = np.asarray(model.embed(images[:, None]).data)
    if any(facts["output"].startswith("rs_embed") for facts in case.facts["expected"]):
        theirs = _load(case, config, **options, **({"scaling": "float32"} if ten else {"norm_eps": 1e-5}))
        found |= {f"rs_embed_{name}": value for name, value in _encoded(theirs, theirs.prepare(samples)).items()}
    return found


def _load(case: Case, config: dict[str, Any], **options: Any) -> Model:
    told = {"device": "cpu", "dtype": "float32", "rectangle": "stretch", "variant": known_variant(case)}
    return load_model("satmaepp", weights=case.weights, config=config, **told, **options)


def _encoded(model: Model, batch: Batch) -> Outputs:
    tokens = model.tokens(batch)
    peaks = model.reduce(replace(tokens, over="max"), one_tile(tokens), GRID)
    return outputs(model, tokens) | {"model_input": batch.image.numpy(), "grid_max": peaks}


def _sizes(case: Case) -> dict[str, Any]:
    """Sizes by the tensors; what is particular to ten bands, or to fine-tuning, too."""
    sizes = vit_sizes(case)
    if not sizes:
        return sizes
    shapes = case.folder.shapes(case.model, case.facts["weights"]["shapes"])
    if "fc_norm.weight" in shapes:
        sizes["ending"] = "fc_norm"
    if "channel_embed" in shapes:
        sizes |= {"grouped": True, "group_dim": shapes["channel_embed"][-1]}
    return sizes
