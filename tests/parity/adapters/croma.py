"""CROMA: an optical image, a radar image, or both; raw ones are scaled by the statistics of all that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch, run_steps
from tests.parity.running import first_item, items, known_variant, outputs, sizes

if TYPE_CHECKING:
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "dim": "dim",
    "s2_depth": "depth",
    "s1_depth": "s1_depth",
    "joint_depth": "joint_depth",
    "heads": "heads",
    "patch": "patch",
}
ROLES = {"optical": "s2", "s2": "s2", "sar": "s1", "s1": "s1"}


def run(case: Case) -> Outputs:
    given = {ROLES[one.role.lower()]: items(one.values, 4) for one in case.inputs}
    frames = {name: given[name] for name in ("s2", "s1") if name in given}
    side = next(iter(frames.values())).shape[-1]
    model = load_model(
        "croma",
        variant=known_variant(case),
        weights=case.weights,
        config=sizes(case, RENAMED),
        modality="+".join(frames),
        device="cpu",
        dtype="float32",
        size_px=side,
        eight_bit=bool(case.facts.get("use_8_bit", True)),
    )
    model.max_images = 1 << 16
    told = {inputs.modality: inputs for inputs in model.inputs}
    seen = {name: torch.from_numpy(images) for name, images in frames.items()}
    if case.raw:
        # Statistics are those of the whole input: as one tall image.
        tall = {name: torch.cat(list(images), dim=1)[None] for name, images in seen.items()}
        done = {name: run_steps(one, told[name].steps, tuple(one.shape[-2:])) for name, one in tall.items()}
        seen = {name: torch.stack(one[0].split(side, dim=1)) for name, one in done.items()}
    batch = Batch({name: images[:, None] for name, images in seen.items()})
    tokens = model.tokens(batch)
    found = outputs(model, tokens)
    if case.raw and len(next(iter(frames.values()))) == 1:
        own = {"s1": "SAR_GAP", "s2": "optical_GAP"}
        name = "joint_GAP" if len(frames) > 1 else own[next(iter(frames))]
        found[name] = np.asarray(model.embed({k: v[:, None] for k, v in frames.items()}).data)
    for name in tokens.extra:
        if name.endswith("_encodings"):
            found[name] = found[name].transpose(0, 3, 1, 2)  # (B, D, h, w)
    one = {str(facts["output"]) for facts in case.facts["expected"] if len(facts["shape"]) in {1, 3}}
    return first_item(case, {name: values[:1] if name in one else values for name, values in found.items()})
