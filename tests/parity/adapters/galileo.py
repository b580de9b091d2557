"""Galileo: side inputs are months, a patch size, and whatever is hidden."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.preprocess.steps import names
from rs_embed_dask.specs import OutputSpec
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import GRID, items, load, outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.parity.cases import Case
    from tests.parity.running import Outputs


def run(case: Case) -> Outputs:
    renamed = {
        "embedding_size": "dim",
        "depth": "depth",
        "num_heads": "heads",
        "mlp_ratio": "mlp_ratio",
        "max_sequence_length": "max_frames",
        "max_patch_size": "kernel_px",
    }
    side = case.side
    given = {one.role: _galileo_bands(one.role, one.values, one.facts) for one in case.inputs}
    given = {name: items(values, {"space": 4, "time": 3, "static": 2}.get(name, 5)) for name, values in given.items()}
    pixels = {name: values for name, values in given.items() if name in {"s2", "s1", "ndvi"}}
    if strange := given.keys() - pixels.keys() - {"space", "time", "static"}:
        raise NotUnderstoodError(f"inputs {sorted(strange)}")
    hidden = _hidden(side, tuple(pixels))
    modality = "+".join(name for name in ("s2", "s1") if name in pixels) or "s2"
    sides = [values.shape[-1] for values in pixels.values()]
    lonlat = _lonlat(side)
    options = {
        "patch_px": int(side.get("patch_size", 8)),
        "max_px": max(sides, default=8),
        "location": lonlat is not None,
    }
    model = load(case, "galileo", renamed=renamed, variant=case.facts.get("variant"), modality=modality, **options)
    gsd = float(side.get("input_resolution_m", side.get("gsd", 10)))
    months = np.asarray(side.get("months", [6]))
    count = len(next(iter((pixels or given).values())))
    months = np.broadcast_to(items(months, 2), (count, months.shape[-1]))
    if case.raw:
        if set(given) - {"s2", "s1"}:
            raise NotUnderstoodError(f"raw inputs {sorted(given)}")
        for name, frames in hidden.items():
            for i, row in enumerate(_each(frames, count)):
                pixels[name][i, row] = np.nan
        dates = [[dt.date(2022, int(month) + 1, 15) for month in row] for row in months]
        told = {"dates": dates, "resolution_m": gsd, "place": lonlat}
        batch = model.prepare([*arrays.samples(pixels, model.inputs, arrays.SideInputs(**told))[0]])
        found = outputs(model, model.tokens(batch))
        for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
            found[name] = np.asarray(model.embed(pixels, output=output, **told).data)
        return found
    year, day = (torch.full(months.shape, number) for number in (2022, 15))
    dates = torch.stack([year, torch.tensor(months) + 1, day], dim=-1)
    batch = Batch({name: torch.from_numpy(values) for name, values in given.items()}, dates=dates)
    batch.gsd_m = torch.full((count,), gsd)
    batch.lonlat = None if lonlat is None else torch.tensor(lonlat, dtype=torch.float64).expand(count, 2)
    batch.visible = {name: torch.ones(months.shape, dtype=torch.bool) for name in hidden}
    for name, frames in hidden.items():
        for i, row in enumerate(_each(frames, count)):
            batch.visible[name][i, row] = False
    return outputs(model, model.tokens(batch))


def _lonlat(side: Mapping[str, Any]) -> list[float] | None:
    """Find a place among the side inputs, as (longitude, latitude)."""
    if "lon" in side and "lat" in side:
        return [side["lon"], side["lat"]]
    return np.asarray(side["latlon"])[..., ::-1].tolist() if side.get("latlon") is not None else None


def _hidden(side: Mapping[str, Any], everywhere: tuple[str, ...]) -> dict[str, Any]:
    """Find frames that a case hides: a list of them, of all pixels or by input or group, for all items or for each."""
    name = next((name for name in side if re.search("hidden|masked|missing", name)), "")
    frames = side.get(name) or {}
    return frames if isinstance(frames, dict) else dict.fromkeys(everywhere, frames)


def _each(frames: list[Any], count: int) -> list[list[int]]:
    return frames if frames and isinstance(frames[0], list) else [list(frames)] * count


def _galileo_bands(role: str, values: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    if "bands_in_file" not in facts:
        return values
    wanted = {"s2": names("B2 B3 B4 B5 B6 B7 B8 B8A B11 B12"), "s1": names("VV VH")}[role]
    return values[..., [facts["bands_in_file"].index(band) for band in wanted], :, :]
