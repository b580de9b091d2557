"""THOR: bands by upstream's names; the side on the ground tells the size of a pixel."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.models.thor import GROUPS
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import GRID, first_item, items, known_variant, load, one_tile, outputs

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {"embed_dim": "dim", "depth": "depth", "heads": "heads", "band_embed_dim": "group_dim"}
COMMON = {
    "COASTAL_AEROSOL": "coastal",
    "RED_EDGE_1": "rededge1",
    "RED_EDGE_2": "rededge2",
    "RED_EDGE_3": "rededge3",
    "NIR_BROAD": "nir",
    "NIR_NARROW": "nir08",
    "WATER_VAPOR": "nir09",
    "SWIR_1": "swir16",
    "SWIR_2": "swir22",
}
SIXTY = {"coastal", "nir09"}
RADAR = {"s1": {"vv", "vh"}, "s1_hh_hv": {"hh", "hv"}}


def run(case: Case) -> Outputs:
    bands = tuple(COMMON.get(band, band.lower()) for band in case.side["bands"])
    return _raw(case, bands) if case.raw else _normalised(case, bands)


def _normalised(case: Case, bands: tuple[str, ...]) -> Outputs:
    """All bands together, at the finest resolution among them."""
    images = items(np.concatenate([items(one.values, 4) for one in case.inputs], axis=1), 4)
    metres = min(metres for metres, known in GROUPS if set(known) & set(bands))
    batch = Batch({"any": torch.from_numpy(images)[:, None]}, {"any": Inputs("any", (), bands, resolution_m=metres)})
    batch.gsd_m = torch.full((len(images),), case.side["ground_cover_m"] / images.shape[-1])
    model = load(case, "thor", renamed=RENAMED, variant=known_variant(case), **_patch(case))
    return _all(case, model, batch)


def _raw(case: Case, bands: tuple[str, ...]) -> Outputs:
    radar = {name for name, known in RADAR.items() if known & set(bands)}
    given = {}
    for one in case.inputs:
        optical = one.facts.get("fn") == "reflectance" or one.role == "s2"
        given["s2" if optical else next(iter(radar))] = items(one.values, 4)
    modality = "+".join(name for name in ("s2", "s1", "s1_hh_hv") if name in given)
    options: dict[str, Any] = {"bands60": bool(SIXTY & set(bands)), **_patch(case)}
    if len(given) == 1:
        options["bands"] = bands
    found = re.search(r"to (\d+) x \1", case.recipe_text)
    side = int(found.group(1)) if found else next(iter(given.values())).shape[-1]
    options |= {"fit": "snap"} if "native_snap_applied" in case.recipe_text else {"size_px": side}
    options["gsd"], metres = "read", case.side["ground_cover_m"] / side
    kind = re.search(r"S1:([IE]W)-\w\w_(\d+)", case.recipe_text)
    if kind:
        options["radar"] = "".join(kind.groups()).lower()
    told = {"variant": known_variant(case), "modality": modality, "rectangle": "stretch", **options}
    model = load(case, "thor", renamed=RENAMED, **told)
    frames = {name: images[:, None] for name, images in given.items()}
    frames = {name: _ordered(frames[name], bands, model, name) for name in frames}
    batch = model.prepare(arrays.samples(frames, model.inputs, arrays.SideInputs(resolution_m=metres))[0])
    seen = torch.cat([images[:, 0] for images in batch.images.values()], dim=1)
    outcome = _all(case, model, batch) | {"model_input": seen.numpy()}
    for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
        outcome[name] = np.asarray(model.embed(frames, output=output, resolution_m=metres).data)
    return first_item(case, outcome)


def _ordered(frames: np.ndarray, bands: tuple[str, ...], model: Model, modality: str) -> np.ndarray:
    """Put a modality's bands into the order that the model wants."""
    wanted = next(inputs.bands for inputs in model.inputs if inputs.modality == modality)
    known = [band for band in bands if band in wanted]
    return frames[:, :, [known.index(band) for band in wanted]]


def _patch(case: Case) -> dict[str, int]:
    return {"patch_px": int(case.side.get("patch_size", 8))}


def _all(case: Case, model: Model, batch: Batch) -> Outputs:
    tokens = model.tokens(batch)
    side_by_side = model.reduce(replace(tokens, over="concat"), one_tile(tokens), GRID)
    return first_item(case, outputs(model, tokens) | {"grid_concat": side_by_side})
