"""What the adapters share: loading a case's model, and taking everything from its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.imagery.window import Window
from rs_embed_dask.models import load_model
from rs_embed_dask.models.geometry import Fit
from rs_embed_dask.specs import OutputSpec

if TYPE_CHECKING:
    from rs_embed_dask.models.batch import Tokens
    from rs_embed_dask.models.model import Model
    from tests.parity.cases import Case

Outputs = dict[str, np.ndarray]
GRID = OutputSpec.grid()


def load(case: Case, model: str, *, renamed: dict[str, str] | None = None, **choices: Any) -> Model:
    """Load a model with a case's weights and, where it has one, its configuration (`renamed`: the case's to ours)."""
    told = case.facts.get("config") or {}
    config = {renamed[name]: value for name, value in told.items() if name in renamed} if renamed else None
    loaded = load_model(model, weights=case.weights, config=config, device="cpu", dtype="float32", **choices)
    loaded.max_images = 1 << 16
    return loaded


def one_tile(tokens: Tokens) -> Fit:
    """The plan of an image that the network saw whole."""
    height, width = tokens.patches.shape[1:3]
    whole = Window(0, 0, height, width)
    size = (height, width)
    return Fit(whole, (0, 0), size, size, ((0,), (0,)), size, size, whole, (1, 1))


def outputs(model: Model, tokens: Tokens, fit: Fit | None = None) -> Outputs:
    """Everything the tokens hold, and what the model's own reduction makes of them."""
    fit = fit or one_tile(tokens)
    found = {name: value.float().numpy() for name, value in tokens.extra.items()}
    found |= {f"pooled_{name}": model.reduce(tokens, fit, OutputSpec.pooled(name)) for name in ("mean", "max")}
    found.setdefault("pooled", found["pooled_mean"])
    found["grid"] = model.reduce(tokens, fit, GRID)
    if tokens.cls is not None:
        found["cls"] = model.reduce(tokens, fit, OutputSpec.pooled("cls"))
    return found


def items(values: np.ndarray, ndim: int) -> np.ndarray:
    """Put as many axes of length one in front as make `ndim`."""
    return values.reshape((1,) * (ndim - values.ndim) + values.shape)
