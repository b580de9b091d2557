"""Clay: a platform, some of its bands, and side inputs given as dates and degrees, or as zeros."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_px

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "head_dim",
    "mlp_ratio": "mlp_ratio",
    "patch_size": "patch",
    "wave_dim": "wave_dim",
    "num_latent_tokens": "tokens",
}
PLATFORMS = {"sentinel-2-l2a": "s2", "sentinel-1-rtc": "s1", "landsat-c2l2-sr": "landsat", "naip": "naip"}


def run(case: Case) -> Outputs:
    side = case.side
    images = items(case.inputs[0].values, 4)
    modality = PLATFORMS.get(str(case.facts.get("platform")), "s2")
    model = _load(case, modality, images)
    gsd = float(side.get("gsd", model.inputs[0].resolution_m))
    frames = images[:, None]
    if not case.raw:
        batch = Batch({modality: torch.from_numpy(frames)}, {modality: _bands(case, model, modality)})
        batch.gsd_m = torch.full((len(images),), gsd)
        if model.encoder.config.metadata:
            dates = [[_hours(date)] for date in side["dates"]]
            batch.dates = torch.tensor(dates).expand(len(images), 1, 4)
            batch.lonlat = torch.tensor(side["lat_lon"], dtype=torch.float64).flip(-1).expand(len(images), 2)
        return first_item(case, _outputs(model, batch))
    if modality == "landsat":  # from the numbers in the files
        frames = frames * np.float32(0.275) - np.float32(2000)
    known = {"dates": [[date[:10]] for date in side["dates"]], "resolution_m": gsd}
    known["place"] = [[lon, lat] for lat, lon in side["lat_lon"]]
    batch = model.prepare(arrays.samples(frames, model.inputs, arrays.SideInputs(**known))[0])
    batch.inputs = {modality: _bands(case, model, modality)}
    found = _outputs(model, batch)
    found["pooled"] = np.asarray(model.embed(frames, output=OutputSpec.pooled("cls"), **known).data)
    return first_item(case, found)


def _load(case: Case, modality: str, images: np.ndarray) -> Model:
    inputs = next(one for one in card("clay").inputs if one.modality == modality)
    told = tuple(case.facts.get("bands") or ())
    bands = told if set(told) <= set(inputs.bands) else _common(inputs.sensors, told)
    options: dict[str, Any] = {"bands": bands} if set(bands) <= set(inputs.bands) else {}
    if case.raw:
        hours = {_hours(date)[3] for date in case.side["dates"]}
        options |= {"hour": hours.pop(), **told_px(case, images)}
    codes = [bool(np.any(case.side.get(name, 1))) for name in ("time", "latlon")]
    model = load_model(
        "clay",
        variant=known_variant(case),
        weights=case.weights,
        config=sizes(case, RENAMED),
        modality=modality,
        device="cpu",
        dtype="float32",
        metadata=any(codes),
        **options,
    )
    model.max_images = 1 << 16
    return model


def _common(sensors: tuple[str, ...], bands: tuple[str, ...]) -> tuple[str, ...]:
    return sensor(sensors[0]).common(bands) if sensors and bands else bands


def _bands(case: Case, model: Model, modality: str) -> Any:
    """Say what the bands are: by the case's own wavelengths where it gives them."""
    inputs = model.inputs[0]
    waves = case.side.get("waves")
    return inputs if waves is None else replace(inputs, modality=modality, per_band=(("wavelength_um", tuple(waves)),))


def _hours(text: str) -> list[int]:
    """(year, month, day, hour) of a date with or without a time."""
    when = dt.datetime.fromisoformat(text)
    return [when.year, when.month, when.day, when.hour]


def _outputs(model: Model, batch: Batch) -> Outputs:
    found = outputs(model, model.tokens(batch))
    return found | {"pooled": found["cls"]}
