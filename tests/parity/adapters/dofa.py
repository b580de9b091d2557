"""DOFA: the side input is one wavelength per band; raw cases say in words which 8-bit scale they mean."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.samples import Sample
from tests.parity.running import first_item, items, known_variant, load, outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "num_heads": "heads",
    "img_size": "size",
    "patch_size": "patch",
    "mlp_ratio": "mlp_ratio",
    "eps": "norm_eps",
    "dynamic_embed_dim": "wave_dim",
}


def run(case: Case) -> Outputs:
    (given,) = case.inputs
    images = items(given.values, 4)
    waves = case.side.get("wavelengths_um", case.side.get("wavelengths"))
    waves = None if waves is None else tuple(map(float, waves))
    if not case.raw:
        told = Inputs("any", (), tuple(map(str, range(len(waves)))), per_band=(("wavelength_um", waves),))
        batch = Batch({"any": torch.from_numpy(images)[:, None]}, {"any": told})
        found = _encoded(_load(case), batch)
    else:
        options = _options(case, given.facts, len(images[0]))
        samples = [Sample({options["modality"]: image[None]}) for image in images]
        model = _load(case, **options)
        batch = model.prepare(samples)
        if waves is not None:
            batch.inputs = {n: replace(i, per_band=(("wavelength_um", waves),)) for n, i in batch.inputs.items()}
        found = _encoded(model, batch) | {"model_input": batch.image.numpy()}
        if waves in {None, model.inputs[0].values("wavelength_um")}:
            found["pooled"] = np.asarray(model.embed(images[:, None]).data)
    theirs = _load(case, pool_norm="file")
    return first_item(case, found | {f"{name}_rs_embed": value for name, value in _encoded(theirs, batch).items()})


def _load(case: Case, **options: Any) -> Model:
    return load(case, "dofa", renamed=RENAMED, variant=known_variant(case), rectangle="stretch", **options)


def _options(case: Case, facts: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Which modality, bands and 8-bit scale a raw case means."""
    modality = "s1" if facts.get("fn") == "backscatter_db" else "s2"
    (known,) = (inputs for inputs in card("dofa").inputs if inputs.modality == modality)
    named = facts.get("bands") or case.facts.get("bands")
    bands = sensor(known.sensors[0]).common(named) if named else known.bands[:count]
    words = f"{case.facts.get('semantics', '')} {case.recipe_text}"
    scale = "rs_embed" if re.search("rs.embed|10 ?000", words) else "satlas8"
    return {"modality": modality, "bands": tuple(bands), "scale": scale}


def _encoded(model: Model, batch: Batch) -> Outputs:
    return outputs(model, model.tokens(batch))
