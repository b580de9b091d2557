"""TESSERA's encoder: tiles and points from raw numbers, each sensor with dates of its own; or standardised series."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rs_embed_dask.inference import arrays
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.models.tessera_encoder import coded
from tests.parity.cases import NotUnderstoodError
from tests.parity.running import GRID, known_variant

if TYPE_CHECKING:
    from rs_embed_dask.inference.model import Model
    from tests.parity.cases import Case
    from tests.parity.running import Outputs

RENAMED = {
    "num_layers": "depth",
    "nhead": "heads",
    "dim_feedforward": "hidden",
    "repr_dim": "out",
    "enable_qk_norm": "qk_norm",
}
WITHOUT_EFFECT = {"max_seq_len": 256, "fusion_method": "concat", "final_layernorm": True}
ROLES = {"s2": "s2", "scl": "scl", "s1_asc": "s1-asc", "s1_desc": "s1-desc"}
OFFSET, OFFSET_AFTER = 1000, dt.date(2022, 1, 25)


def run(case: Case) -> Outputs:
    given = {one.role: one for one in case.inputs}
    if not case.raw:
        return _series(case, given)
    names = [name for role, name in ROLES.items() if role in given]
    model = _load(case, modality="+".join(names))
    told = {name: case.side[f"{role}_dates"] for role, name in ROLES.items() if f"{role}_dates" in case.side}
    dates = {name: told["s2" if name == "scl" else name] for name in names}
    if any(told[name] for name in told.keys() - dates.keys()):
        raise NotUnderstoodError("dates of what there are no pixels of")
    pixels = {name: _pixels(case, role, given, dates[name]) for role, name in ROLES.items() if name in names}
    _draw_as_told(case, model)
    batch = model.prepare(arrays.samples(pixels, model.inputs, arrays.SideInputs(dates))[0])
    tokens = model.tokens(batch)
    grid = np.asarray(model.embed(pixels, output=GRID, dates=dates).data)
    if not np.array_equal(np.moveaxis(grid.reshape(-1, *grid.shape[-3:]), 1, -1), tokens.patches, equal_nan=True):
        raise ArithmeticError("the model's own grid is not that of its tokens")
    whole = _as_left(case, model, tokens.extra["representation"])
    return _outputs(case, model, whole[0] if grid.ndim == 3 else whole[:, 0, 0])


def _series(case: Case, given: dict[str, Any]) -> Outputs:
    model = _load(case)
    parts = []
    for name in ("s2", "s1"):
        values = torch.from_numpy(given[name].values)
        parts.append((values, torch.tensor(case.side[f"{name}_doys"]).expand(values.shape[:2])))
    with torch.inference_mode():
        return _outputs(case, model, model.encoder.encode(*parts))


def _outputs(case: Case, model: Model, whole: torch.Tensor) -> Outputs:
    """Vectors, and the codes and scales of as many of their numbers as outputs name."""
    vector = model.encoder.vector(whole)
    found = {"representation": whole, "embedding": vector}
    for facts in case.facts["expected"]:
        if name := re.fullmatch(r"(int8|scale)(_(\d+))?", str(facts["output"])):
            codes, scale = coded(vector[..., : int(name[3])] if name[3] else vector)
            found[name[0]] = codes if name[1] == "int8" else scale
    return {name: values.numpy() for name, values in found.items()}


def _as_left(case: Case, model: Model, whole: torch.Tensor) -> torch.Tensor:
    """Fill in what the authors leave where nothing was observed, for which ours are NaN; the students' is random."""
    version = str(case.facts["variant"])
    if version.startswith("v1.1"):
        nothing = ((torch.zeros(1, 8, bands), torch.zeros(1, 8).long()) for bands in (10, 2))
        with torch.inference_mode():
            return torch.where(whole.isnan(), model.encoder.encode(*nothing)[0], whole)
    return whole.nan_to_num() if version.startswith(("v1.0", "v2-teacher")) else whole


def _pixels(case: Case, role: str, given: dict[str, Any], dates: Any) -> np.ndarray:
    """Images ([N,] T, C, H, W) in canonical units, NaN where nothing was observed."""
    one = given[role]
    values = one.values.astype(np.float32)
    if role == "scl":
        return values[..., None, :, :]
    if role == "s2" and "harmonize_arr" in case.recipe_text:
        values -= _offset(dates)
    elif role != "s2" and one.facts["fn"] != "backscatter_db":
        raise NotUnderstoodError(f"{role} from {one.facts['fn']}")
    valid = given.get(f"{role}_valid")
    return values if valid is None else np.where(valid.values[..., None, :, :] != 0, values, np.nan)


def _offset(dates: Any) -> np.ndarray:
    """What stored reflectance is too high by at each date, for all numbers: ours are NaN, or less than nothing."""
    late = np.array(dates, "datetime64[D]") > np.datetime64(OFFSET_AFTER)
    return np.where(late, np.float32(OFFSET), np.float32(0))[..., None, None, None]


def _draw_as_told(case: Case, model: Model) -> None:
    """Draw the dates of v1.0 from the case's seed, which must give its draws; or take these where it has no seed."""
    if "numpy_seed" in case.side:
        model.encoder.config = replace(model.encoder.config, seed=int(case.side["numpy_seed"]))
    if not case.side.get("draws"):
        return
    drawn = model.encoder._drawn
    picks = [torch.from_numpy(case.arrays[f"{case.name}/{name}_pick"]).long() for name in ("s2", "s1")]
    own = torch.from_numpy(case.arrays[f"{case.name}/pixels"]).long()

    def checked(batch: Any, series: Any) -> Any:
        seen, numbers = drawn(batch, series)
        for ours, theirs in zip(numbers, picks, strict=True):
            if "numpy_seed" in case.side and not torch.equal(ours[own], theirs):
                raise ArithmeticError("other dates were drawn than the case says")
            ours[own] = theirs
        return seen, numbers

    model.encoder._drawn = checked


def _load(case: Case, **choices: Any) -> Model:
    source = case.side.get("data_source")
    variant = f"v1.1-{source}" if source else known_variant(case)
    if variant is None and not str(case.facts["variant"]).startswith("v2-teacher"):
        raise NotUnderstoodError(f"variant {case.facts['variant']!r}")
    told = dict((case.facts.get("config") or {}).items())
    if any(told.pop(name, value) != value for name, value in WITHOUT_EFFECT.items()):
        raise NotUnderstoodError(f"config {told}")
    config: dict[str, Any] = {"length": told.pop("saved_dim", told.get("repr_dim", 128))}
    config |= {"dim": 4 * told.pop("latent_dim")} if "latent_dim" in told else {}
    if strange := told.keys() - RENAMED.keys():
        raise NotUnderstoodError(f"config {sorted(strange)}")
    config |= {RENAMED[name]: value for name, value in told.items()}
    return load_model(
        "tessera_encoder",
        variant=variant or "v2-teacher",
        weights=case.weights,
        config=config,
        device="cpu",
        dtype="float32",
        **choices,
    )
