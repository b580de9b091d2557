"""AnySat: a dictionary of series with their days, and of images; a patch's side in metres."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.models.anysat import IMAGES, scaled
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import centred, first_item, items, known_variant, outputs, sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {"embed_dim": "dim", "depth": "depth", "num_heads": "heads", "mlp_ratio": "mlp_ratio"}
EPOCH = dt.date(2000, 1, 1)
FORM = np.datetime64(EPOCH)


def run(case: Case) -> Outputs:
    pixels, days = _pixels(case)
    order = [one.modality for one in card("anysat").inputs]
    pixels = {name: pixels[name] for name in sorted(pixels, key=order.index)}
    count = len(next(iter(pixels.values())))
    model = _load(case, pixels, days)
    model.encoder.dense_of = case.side.get("dense_of") or next(iter(pixels))
    if case.raw:
        dates = {
            name: [
                [EPOCH + dt.timedelta(int(day)) for day in row]
                for row in np.broadcast_to(told, (count, told.shape[-1]))
            ]
            for name, told in days.items()
        }
        batch = model.prepare(arrays.samples(pixels, model.inputs, arrays.SideInputs(dates=dates))[0])
    else:
        batch = Batch({name: torch.from_numpy(values) for name, values in pixels.items()})
        batch.dates_of = {
            name: _calendar(np.broadcast_to(told, (count, told.shape[-1]))) for name, told in days.items()
        }
    tokens = model.tokens(batch)
    found = {name: value.numpy() for name, value in tokens.extra.items()}
    found["patch_mean"] = found["patch"].mean((2, 3))
    if case.raw:
        name = model.inputs[0].modality
        found["model_input"] = scaled(batch.images[name], model.inputs[0]).numpy()
        model.encoder.grid = "patch"
        found["tile"] = np.asarray(model.embed(pixels, dates=dates, output=OutputSpec.pooled("cls")).data)
    return first_item(case, found | _plain(model, batch))


def _plain(model: Model, batch: Batch) -> Outputs:
    """The model's own vectors of patches."""
    model.encoder.grid = "patch"
    given = outputs(model, model.tokens(batch))
    return {"patch_mean": given["pooled_mean"], "grid": given["grid"], "pooled": given["pooled_mean"]}


def _pixels(case: Case) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Series and images (N, T, C, H, W), and days since the epoch (N or 1, T)."""
    given: dict[str, np.ndarray] = {}
    for one in case.inputs:
        if not isinstance(one.values, dict):
            given[one.role] = one.values
            continue
        names = one.role.split("+")
        given |= {name: one.values[name] for name in names}
        given |= {
            f"{name}_dates": _of_year(one.values[f"{name}_days"], case)
            for name in names
            if f"{name}_days" in one.values
        }
        cut = re.search(r"aerial cropped to rows and columns (\d+):(\d+)", str(one.facts.get("note")))
        if cut and "aerial" in given:
            inside = slice(*map(int, cut.groups()))
            given["aerial"] = given["aerial"][..., inside, inside]
    given |= {name: case.side[name] for name in case.side if name.endswith("_dates")}
    days = {n.removesuffix("_dates"): items(np.asarray(v, int), 2) for n, v in given.items() if n.endswith("_dates")}
    pixels = {}
    for name, values in given.items():
        if not name.endswith("_dates"):
            wide = items(values.astype(np.float32), 4 if name in IMAGES else 5)
            pixels[name] = wide[:, None] if name in IMAGES else wide
            if "pad" in case.recipe_text and wide.shape[-1] != wide.shape[-2]:
                pixels[name] = centred(pixels[name])
    return pixels, days


def _of_year(days: np.ndarray, case: Case) -> np.ndarray:
    dates = days.astype("datetime64[D]")
    first = 1 if "1 January is 1" in case.recipe_text else 0
    return (dates - dates.astype("datetime64[Y]")).astype(int) + first


def _calendar(days: np.ndarray) -> torch.Tensor:
    dates = [[EPOCH + dt.timedelta(int(day)) for day in row] for row in days]
    return torch.tensor([[(day.year, day.month, day.day) for day in row] for row in dates])


def _load(case: Case, pixels: dict[str, np.ndarray], days: dict[str, np.ndarray]) -> Model:
    found = re.search(r"to (\d+) x \d+", case.recipe_text)
    options: dict[str, Any] = {"size_px": int(found.group(1))} if found else {"max_px": 1 << 12}
    if case.raw:
        options["scale"] = "demo" if "demo_normalisation" in case.recipe_text else "own"
        options["radar"] = "linear"
    model = load_model(
        "anysat",
        variant=known_variant(case),
        weights=case.weights,
        config=sizes(case, RENAMED),
        modality="+".join(pixels),
        device="cpu",
        dtype="float32",
        patch_px=int(case.side["patch_size_m"]) // 10,
        grid="dense",
        days_since=EPOCH.isoformat(),
        **options,
    )
    model.max_images = 1 << 16
    return model
