"""SatMAE: raw cases say in words which resize they mean; two outputs are rs-embed's and a float resize's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.samples import Sample
from tests.parity.running import items, outputs, vit_sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs


def run(case: Case) -> Outputs:
    config = vit_sizes(case)
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
