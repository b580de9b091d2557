"""Panopticon: the side input is a channel's id; the names of the bands are ours by their number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.samples import Sample
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_heads

if TYPE_CHECKING:
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "patch": "patch",
    "patch_size": "patch",
    "pos_embed_grid": "side",
    "channel_dim": "channel_dim",
    "channel_heads": "channel_heads",
    "norm_eps": "norm_eps",
    "mlp_ratio": "mlp_ratio",
}
CLS = OutputSpec.pooled("cls")


def run(case: Case) -> Outputs:
    images = items(case.inputs[0].values, 4)
    config = sizes(case, RENAMED)
    if config:
        config["heads"] = told_heads(case, config["dim"])
    patch = config.get("patch", 14)
    ids = tuple(map(float, np.ravel(case.side["chn_ids"])[: images.shape[1]]))
    options, bands = {"modality": "s2l1c"}, case.side.get("bands") or case.inputs[0].facts.get("bands")
    if case.raw and case.inputs[0].facts["fn"] == "backscatter_db":
        options = {"modality": "s1", "bands": tuple(name.lower() for name in bands or ("vv", "vh"))}
    elif case.raw and bands:
        whole = next(i for i in card("panopticon").inputs if i.modality == "s2l1c")
        numbers = [f"B{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, "8A", 9, 10, 11, 12)]
        options["bands"] = tuple(whole.bands[numbers.index(name.replace("B0", "B"))] for name in bands)
    model = load_model(
        "panopticon",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        size_px=int(case.facts.get("size") or images.shape[-1] // patch * patch),
        rectangle="stretch",
        device="cpu",
        dtype="float32",
        **options,
    )
    model.max_images = 1 << 16
    told = Inputs("any", (), tuple(map(str, ids)), per_band=(("channel_id", ids),))
    batch = Batch({"any": torch.from_numpy(images)[:, None]}, {"any": told})
    if case.raw:
        batch = model.prepare([Sample({options["modality"]: image[None]}) for image in images])
        batch.inputs = {name: replace(one, per_band=told.per_band) for name, one in batch.inputs.items()}
    found = outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}
    if case.raw and ids == model.inputs[0].values("channel_id"):
        found["cls"] = np.asarray(model.embed(images[:, None], output=CLS).data)
    found["pooled"] = found["cls"]
    return first_item(case, found)
