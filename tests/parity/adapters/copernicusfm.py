"""Copernicus-FM: what is known of an image comes as four numbers, and maps known by name bring their vector."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.inputs import Inputs
from rs_embed_dask.preprocess.samples import Sample
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_heads

if TYPE_CHECKING:
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "patch": "patch",
    "image": "size",
    "wave_planes": "wave_dim",
    "generator_tokens": "tokens",
    "generator_heads": "nhead",
    "generator_ff": "dim_feedforward",
    "mlp_ratio": "mlp_ratio",
    "norm_eps": "norm_eps",
}


def run(case: Case) -> Outputs:
    images = items(next(one for one in case.inputs if "language" not in one.role).values, 4)
    vectors = [one.values for one in case.inputs if "language" in one.role]
    patch = int(case.side.get("kernel_size", 16))
    modality = _modality(case, images.shape[1], named=bool(vectors))
    config = sizes(case, RENAMED)
    if config:
        config["heads"] = told_heads(case, config["dim"])
    language = {modality: torch.from_numpy(vectors[0])} if vectors else {}
    options: dict[str, Any] = {"bands": _bands(case, modality)} if case.raw else {}
    options |= {"size_px": int(case.facts.get("size") or images.shape[-1]) // 4 * 4} if case.raw else {}
    model = load_model(
        "copernicusfm",
        variant=known_variant(case),
        weights=case.weights,
        config={name: value for name, value in config.items() if name != "size"}
        | {"language": language, "size": config.get("size", 224)},
        modality=modality,
        rectangle="stretch",
        device="cpu",
        dtype="float32",
        **options,
    )
    model.max_images = 1 << 16
    batch = Batch({modality: torch.from_numpy(images)[:, None]})
    if case.raw:
        batch = model.prepare([Sample({modality: image[None]}) for image in images])
    batch = replace(batch, inputs={modality: _told(case, modality, patch)}, gsd_m=None, read_m=None)
    batch = replace(batch, **_metadata(case.side.get("meta"), patch, len(images)))
    found = outputs(model, model.tokens(batch)) | {"model_input": batch.image.numpy()}
    return first_item(case, found)


def _modality(case: Case, count: int, *, named: bool) -> str:
    told = str(case.side.get("key") or case.facts.get("modality") or "")
    if told in {one.modality for one in card("copernicusfm").inputs}:
        return told
    return "dem" if named else {2: "s1", 12: "s2", 21: "s3"}.get(count, "s2l1c")


def _bands(case: Case, modality: str) -> tuple[str, ...]:
    """Which of a modality's bands a raw case has: those of its wavelengths."""
    (inputs,) = (one for one in card("copernicusfm").inputs if one.modality == modality)
    waves = tuple(map(float, case.side.get("wavelengths_nm", ())))
    if not waves or len(waves) == len(inputs.bands):
        return ()
    return tuple(inputs.bands[inputs.values("wavelength_nm").index(wave)] for wave in waves)


def _told(case: Case, modality: str, patch: int) -> Inputs:
    names = (("wavelength_nm", "wavelengths_nm"), ("bandwidth_nm", "bandwidths_nm"))
    told = tuple((ours, tuple(map(float, case.side[theirs]))) for ours, theirs in names if theirs in case.side)
    return Inputs(modality, (), (), per_band=told, patch_px=patch)


def _metadata(meta: Any, patch: int, count: int) -> dict[str, torch.Tensor]:
    """What the four numbers say; what is not known of one item is left out for all, as the authors do."""
    if meta is None:
        return {}
    rows = np.atleast_2d(np.array(meta, dtype=float))
    rows = np.broadcast_to(rows, (count, 4))
    known: dict[str, torch.Tensor] = {}
    if not np.isnan(rows[:, :2]).any():
        known["lonlat"] = torch.tensor(rows[:, :2].copy())
    if not np.isnan(rows[:, 2]).any():
        moments = [dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=days) for days in rows[:, 2]]
        known["dates"] = torch.tensor([[(m.year, m.month, m.day, m.hour)] for m in moments])
    if not np.isnan(rows[:, 3]).any():
        known["gsd_m"] = torch.tensor(np.sqrt(rows[:, 3]) * 1000 / patch)
    return known
