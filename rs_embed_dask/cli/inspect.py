"""A model's input as rows and as a picture, and the results of a provider's checks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.errors import EngineError, RsEmbedError
from rs_embed_dask.providers.registry import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from rs_embed_dask.imagery.cube import Cube
    from rs_embed_dask.products import Reader
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.checks import Trial
    from rs_embed_dask.specs import ModelSpec

__all__ = ["band_rows", "check_rows", "checks_of", "composed", "frame_rows", "model_checks", "save_picture"]

TRUE_COLOUR = ("red", "green", "blue")
LOW_PCT, HIGH_PCT = 2, 98
PANEL_IN = 3.0


def checks_of(source: Provider | Reader, trial: Trial | None, *, live: bool) -> list[Check]:
    """Check a provider or a product."""
    from rs_embed_dask.products.checks import checkup_product
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.providers.checks import NOTHING_LOCAL, checkup

    if isinstance(source, Provider):
        return checkup(source, live=live, trial=trial)
    return checkup_product(source, trial) if live else [NOTHING_LOCAL]


def check_rows(checks: Iterable[Check]) -> list[dict[str, object]]:
    """Turn the checks of a provider into rows."""
    words = {True: "ok", False: "NOT AS EXPECTED", None: ""}
    return [{"question": check.question, "answer": check.answer, "": words[check.is_well]} for check in checks]


def model_checks(models: Collection[ModelSpec]) -> list[Check]:
    """Check whether models can be loaded on this machine without a network, and on which device."""
    from rs_embed_dask.models import card
    from rs_embed_dask.models.weights import at_hand

    weights = [_checked(f"weights of {spec.label}", partial(at_hand, card(spec.id), spec)) for spec in models]
    return weights + [_checked(f"device {name}", partial(_device, name)) for name in {spec.device for spec in models}]


def _device(name: str) -> str:
    from rs_embed_dask.inference.device import choose_device

    return str(choose_device(name))


def _checked(question: str, answer: Callable[[], str]) -> Check:
    try:
        return Check(question, answer(), is_well=True)
    except RsEmbedError as fault:
        return Check(question, str(fault), is_well=False)


def band_rows(cubes: Mapping[str, Cube]) -> list[dict[str, object]]:
    """Describe each band over all frames."""
    rows: list[dict[str, object]] = []
    for modality, cube in cubes.items():
        for index, band in enumerate(cube.read.bands):
            values = cube.values[:, index]  # (T, H, W)
            valid = values[np.isfinite(values)]
            ends = np.percentile(valid, [LOW_PCT, 50, HIGH_PCT]).round(1).tolist() if valid.size else [None] * 3
            facts: dict[str, object] = {"modality": modality, "band": band, "unit": cube.units[index]}
            facts["valid_pct"] = round(100 * valid.size / values.size, 1)
            rows.append(facts | dict(zip(("low", "median", "high"), ends, strict=True)))
    return rows


def frame_rows(cubes: Mapping[str, Cube]) -> list[dict[str, object]]:
    """Describe each frame: its days, how much of it is valid, and the observations behind it."""
    rows: list[dict[str, object]] = []
    for modality, cube in cubes.items():
        for number, span in enumerate(cube.read.frames):
            first, last = cube.dates[number] or ("", "")
            rows.append(
                {
                    "modality": modality,
                    "frame": f"{span.start} to {span.end}",
                    "valid_pct": round(100 * float(cube.valid_fraction[number]), 1),
                    "most_observations": int(cube.n_obs[number].max(initial=0)),
                    "first": str(first),
                    "last": str(last),
                }
            )
    return rows


def composed(cube: Cube, frame: int) -> NDArray[np.float32]:
    """Turn one frame into an image: true colour where the cube has the bands, else its first band in grey."""
    bands = cube.read.bands
    chosen = TRUE_COLOUR if set(TRUE_COLOUR) <= set(bands) else (bands[0],) * 3
    image = np.stack([cube.values[frame, bands.index(band)] for band in chosen], axis=-1)  # (H, W, 3)
    valid = np.isfinite(image).all(axis=-1)
    if not valid.any():
        return np.ones_like(image)
    low, high = np.percentile(image[valid], [LOW_PCT, HIGH_PCT])
    scaled = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    return np.where(valid[..., None], scaled, 1.0).astype(np.float32)


def save_picture(cubes: Mapping[str, Cube], path: Path) -> None:
    """Draw every frame of every modality."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        fix = "pip install 'rs-embed-dask[plot]'"
        raise EngineError("--png", value=str(path), reason="matplotlib is not installed", fix=fix) from error
    columns = max(len(cube.read.frames) for cube in cubes.values())
    figure = Figure(figsize=(PANEL_IN * columns, (PANEL_IN + 0.4) * len(cubes)), layout="constrained")
    panels: Any = figure.subplots(len(cubes), columns, squeeze=False)
    for row, (modality, cube) in zip(panels, cubes.items(), strict=True):
        for number, panel in enumerate(row):
            panel.set_axis_off()
            if number < len(cube.read.frames):
                panel.imshow(composed(cube, number))
                panel.set_title(f"{modality} {cube.read.frames[number].start}", fontsize=9)
    figure.savefig(path, dpi=100)
