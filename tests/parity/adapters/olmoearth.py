"""OlmoEarth: side inputs are time stamps (day, month from 0, year), a patch size, and the ground size of a pixel."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.olmoearth import NAMES
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.running import GRID, centred, items, known_variant, outputs, sizes

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {"embedding_size": "dim", "depth": "depth", "num_heads": "heads", "mlp_ratio": "mlp_ratio"}


def run(case: Case) -> Outputs:
    ours = {known: name for name, (known, _) in NAMES.items()}
    given = {ours.get(one.role, one.role): one for one in case.inputs}
    pixels = {name: items(one.values, 5).astype(np.float32) for name, one in given.items() if name in NAMES}
    pixels = {name: pixels[name] for name in NAMES if name in pixels}
    count, frames = next(iter(pixels.values())).shape[:2]
    metres = float(case.side.get("input_resolution_m", 10))
    stamps = items(np.asarray(case.side["timestamps"]), 3)
    stamps = np.broadcast_to(stamps, (count, frames, 3))
    if case.raw:
        return _raw(case, pixels, stamps, metres)
    model = _load(case, pixels)
    batch = Batch({name: torch.from_numpy(values) for name, values in pixels.items()})
    batch.dates = torch.tensor(stamps[..., ::-1] + np.array([0, 1, 0]))
    batch.gsd_m = torch.full((count,), metres)
    return outputs(model, model.tokens(batch))


def _raw(case: Case, pixels: dict[str, np.ndarray], stamps: np.ndarray, metres: float) -> Outputs:
    found = re.search(r"to (\d+) x \d+", case.recipe_text)
    if found:
        pixels = {name: centred(values) for name, values in pixels.items()}
        side = next(iter(pixels.values())).shape[-1]
        metres = metres * int(found.group(1)) / side  # the case keeps the ground size through the resize
    model = _load(case, pixels, **({"size_px": int(found.group(1))} if found else {"max_px": 1 << 12}))
    dates = [[dt.date(int(year), int(month) + 1, int(day)) for day, month, year in row] for row in stamps]
    told: dict[str, Any] = {"dates": dates, "resolution_m": metres}
    batch = model.prepare(arrays.samples(pixels, model.inputs, arrays.SideInputs(**told))[0])
    given = outputs(model, model.tokens(batch))
    for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
        given[name] = np.asarray(model.embed(pixels, output=output, **told).data)
    return given


def _load(case: Case, pixels: dict[str, np.ndarray], **options: Any) -> Model:
    config = sizes(case, RENAMED)
    spec = case.facts["weights"]
    if config:
        shapes = case.folder.shapes(case.model, spec["shapes"])
        pixel = next((shape[0] for name, shape in shapes.items() if name.endswith("pixel_proj.0.weight")), 0)
        rotary, pooler = (any(part in name for name in shapes) for part in ("rope_mixed", "attention_pooler"))
        config |= {"hidden": pixel, "rotary": rotary, "pooler": pooler}
    model = load_model(
        "olmoearth",
        variant=known_variant(case),
        weights=case.weights,
        config=config,
        modality="+".join(pixels),
        device="cpu",
        dtype="float32",
        accept_licence=True,
        patch_px=int(case.side.get("patch_size", 4)),
        **options,
    )
    model.max_images = 1 << 16
    return model
