"""TerraFM: the stem says which modality a case is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_px

if TYPE_CHECKING:
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "img_size": "size",
    "patch_size": "patch",
    "eps": "norm_eps",
}


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4)
    stem = str(case.facts.get("stem") or ("s1" if images.shape[1] == 2 else "s2_l1c"))
    modality = "s1" if stem == "s1" else "s2"
    options = {} if stem == "s1" else {"stem": stem.removeprefix("s2_")}
    if case.raw:
        options |= told_px(case, images)
    model = load_model(
        "terrafm",
        variant=known_variant(case),
        weights=case.weights,
        config=sizes(case, RENAMED),
        modality=modality,
        device="cpu",
        dtype="float32",
        **options,
    )
    model.max_images = 1 << 16
    frames = images[:, None]
    batch = Batch({modality: torch.from_numpy(frames)})
    if case.raw:
        batch = model.prepare(arrays.samples(frames, model.inputs, arrays.SideInputs())[0])
    found = outputs(model, model.tokens(batch))
    found["pooled"] = found["cls"]
    if case.raw:
        found["pooled"] = np.asarray(model.embed(frames, output=OutputSpec.pooled("cls")).data)
    return first_item(case, found)
