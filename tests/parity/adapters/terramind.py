"""TerraMind: one input per modality; RGB comes as 0..255."""

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
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "dim": "dim",
    "encoder_depth": "depth",
    "num_heads": "heads",
    "patch_size": "patch",
    "img_size": "size",
    "eps": "norm_eps",
}


def run(case: Case) -> Outputs:
    modalities = case.facts.get("modalities")
    roles = [one.role or str(modalities[i]) for i, one in enumerate(case.inputs)]
    frames = {
        role.lower(): items(one.values, 4)[:, None].astype(np.float32)
        for role, one in zip(roles, case.inputs, strict=True)
    }
    config = sizes(case, RENAMED)
    if "mlp_hidden" in (case.facts.get("config") or {}):
        config["mlp_ratio"] = case.facts["config"]["mlp_hidden"] / config["dim"]
    model = load_model(
        "terramind",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        modality="+".join(frames),
        device="cpu",
        dtype="float32",
        merge=case.facts.get("merge") or "mean",
        rgb="bytes",
        clip="clip" in case.recipe_text.split(";")[0],
        **(told_px(case, case.inputs[0].values) if case.raw else {}),
    )
    model.max_images = 1 << 16
    if not case.raw:
        batch = Batch({name: torch.from_numpy(values) for name, values in frames.items()})
        return first_item(case, _outputs(model, batch))
    found = _outputs(model, model.prepare(arrays.samples(frames, model.inputs, arrays.SideInputs())[0]))
    found["pooled"] = np.asarray(model.embed(frames, output=OutputSpec.pooled()).data)
    return first_item(case, found)


def _outputs(model: Model, batch: Batch) -> Outputs:
    """Everything, and what the block in the middle gave before any norm, merged as the tokens are."""
    kept: list[torch.Tensor] = []
    blocks = model.encoder.encoder
    hook = blocks[len(blocks) // 2].register_forward_hook(lambda _, __, out: kept.append(out))
    found = outputs(model, model.tokens(batch))
    hook.remove()
    return found | {"block": model.encoder.merged(kept[0], len(batch.images)).numpy()}
