"""AgriFM: films (B, T, C, H, W), or one frame; patches by the tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.agrifm import folded
from rs_embed_dask.preprocess.batch import Batch
from rs_embed_dask.specs import OutputSpec
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import GRID, first_item, outputs, sizes, told_px

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "embed_dim": "dim",
    "depths": "depths",
    "num_heads": "heads",
    "window_size": "window",
    "in_chans": "channels",
    "mlp_ratio": "mlp_ratio",
}


def run(case: Case) -> Outputs:
    given = case.inputs[0]
    film = _film(case, given.values)
    model = _load(case, film)
    if not case.raw:
        return _outputs(case, model, Batch({"s2": torch.from_numpy(film)}))
    named = given.facts.get("bands") or case.facts.get("bands")
    if named:
        known = sensor("sentinel-2-l2a").common(tuple(named))
        film = film[:, :, [known.index(band) for band in model.inputs[0].bands]]
    batch = model.prepare(arrays.samples(film, model.inputs, arrays.SideInputs())[0])
    found = _outputs(case, model, batch)
    for name, output in {"pooled": OutputSpec.pooled(), "grid": GRID}.items():
        found[name] = np.asarray(model.embed(film, output=output).data)
    return _single(case, found | {"model_input": np.stack(list(batch.images.values()))[0]})


def _film(case: Case, values: np.ndarray) -> np.ndarray:
    """(B, T, C, H, W): four axes are a film, or a batch of single frames where the case says so."""
    if values.ndim == 4:
        return values[:, None] if "is one frame" in str(case.facts.get("note")) else values[None]
    return values if values.ndim == 5 else values[None, None]


def _load(case: Case, film: np.ndarray) -> Model:
    told = case.facts.get("config") or {}
    if not told.get("mean_frame_down", True) or any(step != [2, 2, 2] for step in told.get("downsample_steps", ())):
        raise NotUnderstoodError("frames that are not averaged in pairs")
    config: dict[str, Any] = sizes(case, RENAMED)
    config |= {name: tuple(config[name]) for name in ("depths", "heads", "window") if name in config}
    config["box"] = tuple(told.get("patch_size", (4, 4, 4)))
    options: dict[str, Any] = {"patch_px": 8 * config["box"][2]} if config["box"][2] in {2, 4} else {}
    if case.raw:
        found = case.facts.get("size")
        options |= {"rectangle": "stretch", "size_px": int(found)} if found else told_px(case, film)
    model = load_model("agrifm", weights=case.weights, config=config, device="cpu", dtype="float32", **options)
    model.max_images = 1 << 16
    return model


def _outputs(case: Case, model: Model, batch: Batch) -> Outputs:
    """Everything, and the levels with time put into channels."""
    tokens = model.tokens(batch)
    levels = {name: folded(one).permute(0, 3, 1, 2).numpy() for name, one in tokens.extra.items()}
    return _single(case, outputs(model, tokens) | levels)


def _single(case: Case, found: Outputs) -> Outputs:
    """Keep the first item where the case expects one without an axis of items."""
    one = {str(facts["output"]) for facts in case.facts["expected"] if len(facts["shape"]) in {1, 3}}
    return first_item(case, {name: values[:1] if name in one else values for name, values in found.items()})
