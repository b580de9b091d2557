"""Presto: series of pixels as one array of seventeen bands, or images; side inputs are months, places and classes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.steps import names
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import GRID, items, outputs, sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

BANDS = names("VV VH B2 B3 B4 B5 B6 B7 B8 B8A B11 B12 temperature_2m total_precipitation elevation slope NDVI")
PARTS = {"s1": slice(0, 2), "s2": slice(2, 12), "era5": slice(12, 14), "srtm": slice(14, 16), "ndvi": slice(16, 17)}
RENAMED = {
    "embedding_size": "dim",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "max_sequence_length": "max_frames",
}


def run(case: Case) -> Outputs:
    images = _images(case)
    count, frames = next(iter(images.values())).shape[:2]
    months = _months(_side(case, "month"), count, frames)
    latlon = np.broadcast_to(items(np.asarray(_side(case, "latlon"), float), 2), (count, 2))
    pixels = {name: values for name, values in images.items() if name != "ndvi"}
    model = load_model(
        "presto",
        weights=case.weights,
        config=_config(case),
        modality="+".join(pixels),
        device="cpu",
        dtype="float32",
    )
    model.max_images = 1 << 16
    if case.raw:
        dates = [[dt.date(2022, int(month) + 1, 15) for month in row] for row in months]
        told = {"dates": dates, "place": latlon[:, ::-1].tolist()}
        batch = model.prepare(arrays.samples(pixels, model.inputs, arrays.SideInputs(**told))[0])
        found = _outputs(model, batch)
        found["grid"] = np.asarray(model.embed(pixels, output=GRID, **told).data)
        found["image"] = found["pooled"] = np.asarray(model.embed(pixels, **told).data)
        return found
    batch = Batch({name: torch.from_numpy(values) for name, values in images.items()})
    batch.dates = torch.tensor(np.stack([np.full_like(months, 2022), months + 1, np.full_like(months, 15)], axis=-1))
    batch.lonlat = torch.tensor(latlon[:, ::-1].copy())
    return _outputs(model, batch)


def _outputs(model: Model, batch: Batch) -> Outputs:
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    encode = model.encoder.encode
    model.encoder.encode = lambda *given: kept.append(encode(*given)) or kept[-1]
    found = outputs(model, model.tokens(batch))
    del model.encoder.encode
    tokens, seen = kept[0]
    with torch.inference_mode():
        found["tokens_of_first"] = model.encoder.norm(tokens[0][seen[0]]).numpy()
    found["image"] = found["pooled"]
    return found


def _images(case: Case) -> dict[str, np.ndarray]:
    """Images (N, T, C, H, W) by modality; hidden bands are NaN."""
    given = {one.role or "x": one for one in case.inputs}
    images = {name: items(one.values, 5).astype(np.float32) for name, one in given.items() if name in PARTS}
    if "x" in given:
        x, told = given["x"].values.astype(np.float32), given["x"].facts.get("bands_in_file")
        x = items(x if told is None else x[..., [told.index(band) for band in BANDS]], 3).copy()
        for row, bands in zip(x, _hidden(case, len(x)), strict=True):
            row[:, bands] = np.nan
        images = {name: x[..., part, None, None] for name, part in PARTS.items()}
    classes = _side(case, "dynamic_world")
    if classes is not None:
        count, frames = next(iter(images.values())).shape[:2]
        size = next(iter(images.values())).shape[-2:]
        labels = np.broadcast_to(items(np.asarray(classes, np.float32), 2), (count, frames))
        images["dw"] = np.broadcast_to(labels[:, :, None, None, None], (count, frames, 1, *size)).copy()
    return images


def _side(case: Case, name: str) -> Any:
    """A side input: a role, numbers in the case, or the name of an array in the file of pixels."""
    given = next((one.values for one in case.inputs if one.role == name), case.side.get(name))
    if not isinstance(given, str):
        return given
    file = next(str(one.facts["file"]).partition(":")[0] for one in case.inputs if "file" in one.facts)
    with np.load(case.folder.find(file)) as stored:
        return stored[given]


def _months(told: Any, count: int, frames: int) -> np.ndarray:
    """0-based months (N, T); one alone is that of the first frame."""
    months = items(np.asarray(told, int), 2)
    months = (months + np.arange(frames)) % 12 if months.shape[-1] == 1 else months
    return np.broadcast_to(months, (count, frames))


def _hidden(case: Case, count: int) -> list[list[int]]:
    if case.side.get("visible_bands", "all") != "all":
        raise NotUnderstoodError(f"visible_bands {case.side['visible_bands']!r}")
    told = case.side.get("hidden_bands_per_sample") or [case.side.get("hidden_bands") or []] * count
    return [[BANDS.index(band) if isinstance(band, str) else band for band in bands] for bands in told]


def _config(case: Case) -> dict[str, Any]:
    """The configuration by our names; the widths of codes are shares of the whole."""
    told = case.facts.get("config") or {}
    shares = {name: told[f"{name}_embed_ratio"] for name in ("channel", "month") if f"{name}_embed_ratio" in told}
    return sizes(case, RENAMED) | {name: int(told["embedding_size"] * share) for name, share in shares.items()}
