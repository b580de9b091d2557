"""What the adapters share: loading a case's model, and taking everything from its tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.imagery.grid import Window
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models import card
from rs_embed_dask.preprocess.geometry import Fit
from rs_embed_dask.specs import OutputSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rs_embed_dask.inference.model import Model
    from rs_embed_dask.preprocess.batch import Tokens
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


def centred(images: np.ndarray) -> np.ndarray:
    """Reflect images (..., H, W) on all sides to a square, as the reference system does."""
    side = max(images.shape[-2:])
    more = [((side - old) // 2, side - old - (side - old) // 2) for old in images.shape[-2:]]
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + more, mode="reflect")


def first_item(case: Case, found: Outputs) -> Outputs:
    """Keep the first item of those outputs that a case of several items expects of that one alone."""
    shapes = {str(facts["output"]): tuple(facts["shape"]) for facts in case.facts["expected"]}
    return {name: v[:1] if v.shape[1:] == shapes.get(name) else v for name, v in found.items()}


def told_px(case: Case, images: np.ndarray) -> dict[str, Any]:
    """Say what side a raw case is resized to, where that is not the model's own, and that rectangles are stretched."""
    found = re.search(r"resize.*? to (\d+)", case.recipe_text)
    side = int(found.group(1)) if found else None
    if case.recipe_text and "resize" not in case.recipe_text:
        side = images.shape[-1]
    return {"rectangle": "stretch"} | ({} if side is None else {"size_px": side})


def known_variant(case: Case) -> str | None:
    """Return the case's variant, or None where that is a name of its own for a configuration that it gives in full."""
    names = {name for variant in card(case.model).variants for name in (variant.name, *variant.aliases)}
    told = case.facts.get("variant")
    return told if told in names or not case.facts.get("config") else None


def sizes(case: Case, renamed: dict[str, str]) -> dict[str, Any]:
    """Read a case's configuration by our names; a side given for each axis is its last."""
    told = case.facts.get("config") or {}
    flat = {
        name: value[-1] if name == "patch_size" and isinstance(value, list) else value for name, value in told.items()
    }
    return {renamed[name]: value for name, value in flat.items() if name in renamed}


def depth(shapes: Iterable[str], pattern: str) -> int:
    """Count what tensors' names number by a pattern's first group."""
    return 1 + max((int(found.group(1)) for name in shapes if (found := re.match(pattern, name))), default=-1)


def official(case: Case) -> bool:
    """Whether a case is of a variant as the card has it, not of one whose sizes are to be read off its tensors."""
    spec = case.facts["weights"]
    written_out = isinstance(spec.get("shapes"), dict) or bool(case.facts.get("config"))
    known = {name for variant in card(case.model).variants for name in (variant.name, *variant.aliases)}
    return "file" in spec or (case.facts.get("variant") in known and not written_out)


def told_heads(case: Case, dim: int) -> int:
    """Read the heads, which leave no trace in the tensors, off the configuration: else 64 numbers each."""
    told = case.facts.get("config") or {}
    return next((int(told[name]) for name in ("num_heads", "heads") if name in told), max(1, dim // 64))


def vit_sizes(case: Case) -> dict[str, Any]:
    """Read a ViT's sizes off its tensors; the heads, which leave no trace, off the configuration."""
    spec = case.facts["weights"]
    if "file" in spec:
        return {}
    shapes = case.folder.shapes(case.model, spec["shapes"])
    dim = shapes["cls_token"][-1]
    sizes: dict[str, Any] = {
        "dim": dim,
        "depth": depth(shapes, r"blocks\.(\d+)\."),
        "heads": told_heads(case, dim),
        "mlp_ratio": shapes["blocks.0.mlp.fc1.weight"][0] / dim,
        "patch": next(s[-1] for name, s in shapes.items() if re.fullmatch(r"patch_embed\.(0\.)?proj\.weight", name)),
    }
    if "pos_embed" in shapes:
        sizes["size"] = round((shapes["pos_embed"][1] - 1) ** 0.5) * sizes["patch"]
    return sizes
