"""A short program that uses a model, made from its card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.bands import DB, KELVIN, REFLECTANCE
from rs_embed_dask.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from rs_embed_dask.models.card import Card
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["example"]

ALIKE: Final = {REFLECTANCE: 1200.0, DB: -12.0, KELVIN: 290.0, "byte": 90.0, "m": 120.0}
UNITS: Final = {REFLECTANCE: "reflectance x 10 000", DB: "dB", KELVIN: "kelvin", "byte": "0 to 255", "m": "metres"}
SIDES: Final = {"dates": 'dates=["2022-07-15"]', "place": "place=(4.35, 50.85)", "gsd": "resolution_m={metres:g}"}
FREE_PX: Final = 64
SUMMER: Final = 'rs.TemporalSpec.range("2022-06-01", "2022-09-01")'


def example(card: Card) -> str:
    """Write Python that embeds a place, and an array, with the model's default variant.

    Parameters
    ----------
    card : Card
        The model.

    Returns
    -------
    str
        Lines that need `numpy`, this package and the model's weights, and nothing else.
    """
    first = card.resolved_inputs(ModelSpec(card.id))[0]
    side = first.size_px or min(first.max_px or FREE_PX, FREE_PX)
    pooling = card.poolings[0]
    length = card.dim(ModelSpec(card.id), OutputSpec.pooled(pooling))
    buffer = side * first.resolution_m / 2
    lines = [
        *(["import numpy as np"] if card.kind == "encoder" else []),
        "import rs_embed_dask as rs",
        "",
        f"model = {_spec(card)}",
        f"summer = {SUMMER}",
        f"output = rs.OutputSpec.pooled()  # {', '.join(map(repr, card.poolings))}; or rs.OutputSpec.grid()",
        f"place = rs.PointBuffer(4.35, 50.85, buffer_m={buffer:g})  # {side} px of {first.resolution_m:g} m",
        "found = rs.get_embedding(model, place, summer, output=output)",
        f"found.data.shape  # ({length},)",
    ]
    return "\n".join([*lines, *(_arrays(card, first, side) if card.kind == "encoder" else [])])


def _spec(card: Card) -> str:
    weights = card.variant(None).weights
    told = []
    if weights is not None and not weights.repo:
        told.append(f'weights="{weights.file or "weights.pth"}"')
    if weights is not None and weights.restricted:
        told.append("accept_licence=True")
    return f'rs.ModelSpec("{card.id}", {", ".join(told)})' if told else f'rs.ModelSpec("{card.id}")'


def _arrays(card: Card, first: Inputs, side: int) -> list[str]:
    told = ", ".join(SIDES[name].format(metres=first.resolution_m) for name in card.extras if name in SIDES)
    shape = (1, len(first.bands), side, side)
    return [
        "",
        f"# Arrays of your own: (frame, band, y, x), {UNITS.get(first.unit, first.unit)}, NaN where missing.",
        f"pixels = np.full({shape}, {ALIKE.get(first.unit, 1.0)})",
        "loaded = rs.load_model(model)",
        f"loaded.embed(pixels, {told + ', ' if told else ''}output=output)",
    ]
