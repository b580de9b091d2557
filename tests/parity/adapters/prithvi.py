"""Prithvi: frames of one place; dates come as (year, day of the year), from 0 or 1, or as dates."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import first_item, items, known_variant, outputs, sizes, told_px

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "img_size": "size",
    "patch_size": "patch",
    "in_chans": "channels",
}


def run(case: Case) -> Outputs:
    side = case.side
    times, places, calendar = side.get("temporal_coords"), side.get("location_coords"), side.get("dates")
    first_day = int(side.get("day_of_year_base", _first_day(times)))
    _check_place(side)
    used = {name for name, given in (("dates", times or calendar), ("place", places)) if given}
    model = _load(case, first_day, "both" if len(used) == 2 else next(iter(used), "none"))
    values = case.inputs[0].values
    if case.raw:
        frames = items(values, 5)  # (N, T, C, H, W)
        dates = _dates(times, first_day) if times else [calendar] * len(frames)
        known = {"dates": dates if used & {"dates"} else None, "place": _lonlat(side) if used & {"place"} else None}
        batch = model.prepare(arrays.samples(frames, model.inputs, arrays.SideInputs(**known))[0])
        found = _outputs(case, model, batch)
        found["pooled"] = np.asarray(model.embed(frames, output=OutputSpec.pooled(), **known).data)
        return first_item(case, found)
    batch = Batch({"s2": torch.from_numpy(items(values, 5)).transpose(1, 2)})  # (B, T, C, H, W)
    if "dates" in used:
        days = [[(day.year, day.month, day.day) for day in row] for row in _dates(times, first_day)]
        batch.dates = torch.tensor(days).expand(len(batch), -1, 3)
    if "place" in used:
        batch.lonlat = torch.tensor(_lonlat(side), dtype=torch.float64).expand(len(batch), 2)
    return first_item(case, _outputs(case, model, batch))


def _load(case: Case, first_day: int, side: str) -> Model:
    config = sizes(case, RENAMED)
    if "shapes" in case.facts["weights"]:
        names = case.folder.shapes(case.model, case.facts["weights"]["shapes"])
        scales = {"dates": "temporal_embed_enc.scale", "place": "location_embed_enc.scale"}
        config["codes"] = tuple(name for name, scale in scales.items() if scale in names)
    theirs = "rs-embed" in str(case.facts.get("semantics")) or "no mean and std" in case.recipe_text
    model = load_model(
        "prithvi",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        device="cpu",
        dtype="float32",
        side=side,
        first_day=first_day,
        place_order="lon_lat" if "lon, lat" in str(case.side.get("location_order")) else "lat_lon",
        scaling="unit" if theirs else "standard",
        **(told_px(case, case.inputs[0].values) if case.raw else {}),
    )
    model.max_images = 1 << 16
    return model


def _outputs(case: Case, model: Model, batch: Batch) -> Outputs:
    """Everything, and what a block gave before the final norm."""
    kept: list[torch.Tensor] = []
    stage = int(case.facts.get("stage") or 0)
    hook = model.encoder.blocks[stage].register_forward_hook(lambda _, __, out: kept.append(out))
    found = outputs(model, model.tokens(batch))
    hook.remove()
    return found | {"block": kept[0].numpy()}


def _first_day(times: Any) -> int:
    """Say from where days are counted, where a case does not: day 365 of a plain year is there from 1 only."""
    days = [(int(year), int(day)) for row in times or () for year, day in row]
    late = any(day >= dt.date(year, 12, 31).timetuple().tm_yday for year, day in days)
    return int(late)


def _dates(times: Any, first_day: int) -> list[list[dt.date]]:
    return [[dt.date(int(y), 1, 1) + dt.timedelta(days=int(d) - first_day) for y, d in row] for row in times]


def _check_place(side: Mapping[str, Any]) -> None:
    """Refuse a place in plain degrees that is not the one the network gets."""
    places = side.get("location_coords")
    if {"lat", "lon"} & set(side) and not (places and _lonlat(side)[0] == [side.get("lon"), side.get("lat")]):
        raise NotUnderstoodError(f"lat and lon beside location_coords {places}")


def _lonlat(side: Mapping[str, Any]) -> list[list[float]]:
    """Longitude and latitude of each item, from whichever the case gives."""
    told = side["location_coords"]
    return told if "lon, lat" in str(side.get("location_order")) else [[lon, lat] for lat, lon in told]
