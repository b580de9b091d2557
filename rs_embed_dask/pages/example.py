"""A short program that uses a model, made from its card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.bands import DB, KELVIN, REFLECTANCE
from rs_embed_dask.preprocess.steps import MinMax
from rs_embed_dask.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from rs_embed_dask.cards.card import Card, Product
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["example"]

ALIKE: Final = {REFLECTANCE: 1200.0, DB: -12.0, KELVIN: 290.0, "byte": 90.0, "m": 120.0}
UNITS: Final = {
    REFLECTANCE: "reflectance x 10 000",
    DB: "dB",
    KELVIN: "kelvin",
    "byte": "0 to 255",
    "m": "metres",
    "percent_kelvin": "percent or kelvin",
}
SIDES: Final = {"dates": "dates=dates", "place": "place=(4.35, 50.85)", "gsd": "resolution_m={metres:g}"}
DAYS: Final = ("2022-07-15", "2022-06-15", "2022-08-15")
FREE_PX: Final = 64
GRID_PX: Final = 64
LARGEST_M: Final = 50_000.0
SUMMER: Final = 'rs.TemporalSpec.range("2022-06-01", "2022-09-01")'
IMPORTS: Final = ("import numpy as np", "import rs_embed_dask as rs", "")


def example(card: Card) -> str:
    """Write Python that embeds a place, and an array, with the model's default variant.

    Parameters
    ----------
    card : Card
        The model.

    Returns
    -------
    str
        Lines that need `numpy`, this package and the model's weights, and nothing else. A published product has no
        array to embed, and a modality that no provider serves has no place.
    """
    if card.product is not None:
        return "\n".join(_product(card, card.product))
    first = card.resolved_inputs(ModelSpec(card.id))[0]
    side = first.size_px or min(first.max_px or FREE_PX, FREE_PX)
    start = [*IMPORTS, f"model = {_spec(card)}", _output(card)]
    if not first.sensors:
        return "\n".join([*start, *_arrays(card, first, side, name="found"), _shape(card)])
    buffer = side * first.resolution_m / 2
    lines = [
        f"summer = {SUMMER}",
        f"place = rs.PointBuffer(4.35, 50.85, buffer_m={buffer:g})  # {side} px of {first.resolution_m:g} m",
        "found = rs.get_embedding(model, place, summer, output=output)",
        _shape(card),
    ]
    return "\n".join([*start, *lines, *_arrays(card, first, side, name="mine")])


def _product(card: Card, product: Product) -> list[str]:
    span = f"rs.TemporalSpec.year({product.years[1]})" if product.years[1] else f"{SUMMER}  # any will do"
    buffer = min(product.resolution_m * GRID_PX / 2, LARGEST_M)
    return [
        *IMPORTS[1:],
        _output(card),
        f"span = {span}",
        f"place = rs.PointBuffer(4.35, 50.85, buffer_m={buffer:g})",
        f'found = rs.get_embedding("{card.id}", place, span, output=output)',
        _shape(card),
    ]


def _output(card: Card) -> str:
    return f"output = rs.OutputSpec.pooled()  # {', '.join(map(repr, card.poolings))}; or rs.OutputSpec.grid()"


def _shape(card: Card) -> str:
    length = card.dim(ModelSpec(card.id), OutputSpec.pooled(card.poolings[0]))
    return f"found.data.shape  # ({length},)"


def _spec(card: Card) -> str:
    weights = card.variant(None).weights
    told = []
    if weights is not None and not weights.repo:
        told.append(f'weights="{weights.file or "weights.pth"}"')
    if weights is not None and weights.restricted:
        told.append("accept_licence=True")
    return f'rs.ModelSpec("{card.id}", {", ".join(told)})' if told else f'rs.ModelSpec("{card.id}")'


def _arrays(card: Card, first: Inputs, side: int, *, name: str) -> list[str]:
    policy, told = first.frames.policy, [SIDES[extra] for extra in card.extras if extra in SIDES]
    days = DAYS[:1] if policy == "single" else sorted(DAYS)
    frames = len(days) if "dates" in card.extras else first.frames.n or len(days)
    call = ", ".join([*(text.format(metres=first.resolution_m) for text in told), "output=output"])
    return [
        "",
        f"# Arrays of your own: (frame, band, y, x), {UNITS.get(first.unit, first.unit)}, NaN where missing.",
        f"pixels = {_pixels(first, (frames, len(first.bands), side, side))}",
        *([f"dates = {json.dumps(days)}  # one a frame"] if "dates" in card.extras else []),
        "loaded = rs.load_model(model)",
        f"{name} = loaded.embed(pixels, {call})",
    ]


def _pixels(first: Inputs, shape: tuple[int, ...]) -> str:
    """Write an array of plausible numbers: one for all bands, or where units differ the middle of each band's range."""
    ranges = next((step for step in first.steps if isinstance(step, MinMax)), None)
    if first.unit in ALIKE or ranges is None:
        return f"np.full({shape}, {ALIKE.get(first.unit, 1.0)})"
    middle = [round((low + high) / 2) for low, high in zip(ranges.low, ranges.high, strict=True)]
    return f"np.ones({shape}) * np.reshape(\n    {middle}, (-1, 1, 1)\n)"
