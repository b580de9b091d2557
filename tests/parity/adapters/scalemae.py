"""Scale-MAE: the side input is the ground resolution of what the network sees, or of the raw image (``scale_m``)."""

from __future__ import annotations

from collections import ChainMap
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
    images = items(case.inputs[0].values, 4)
    facts = ChainMap(case.side, case.facts)
    seen = np.broadcast_to(np.asarray(facts.get("input_res", 10.0), np.float32), len(images))
    if not case.raw:
        batch = Batch({"rgb": torch.from_numpy(images)[:, None]}, gsd_m=torch.tensor(seen))
        model = _load(case)
        return outputs(model, model.tokens(batch))
    size = int(facts.get("image_size", 224))
    metres = facts.get("scale_m", seen * size / min(images.shape[-2:]))
    samples = [
        Sample({"rgb": image[None]}, resolution_m=float(each))
        for image, each in zip(images, np.broadcast_to(metres, len(images)), strict=True)
    ]
    model = _load(case, size_px=size)
    found = _raw(model, samples)
    if np.ndim(metres) == 0:
        found["pooled_mean"] = np.asarray(model.embed(images[:, None], resolution_m=float(metres)).data)
    wanted = {expected["output"] for expected in facts["expected"]}
    for prefix, options in {"rs_embed": {"ending": "none"}, "float_resize": {"resize": "float"}}.items():
        if any(name.startswith(prefix) for name in wanted):
            more = _raw(_load(case, size_px=size, **options), samples)
            found |= {f"{prefix}_{name}": value for name, value in more.items()}
    return found


def _load(case: Case, **options: Any) -> Model:
    sizes = {name: value for name, value in vit_sizes(case).items() if name != "size"}
    told = {"device": "cpu", "dtype": "float32", "rectangle": "stretch"}
    return load_model("scalemae", weights=case.weights, config=sizes, **told, **options)


def _raw(model: Model, samples: list[Sample]) -> Outputs:
    batch = model.prepare(samples)
    return outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}
