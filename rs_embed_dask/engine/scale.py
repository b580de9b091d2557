"""What a token covers on the ground: the model's own size, or what a resize makes of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.specs import Spatial

__all__ = ["TokenScale", "sampled_rows", "token_scales", "warn_of_resizes"]

_SAMPLES: Final = 16
_NEARLY: Final = 0.2


@dataclass(frozen=True)
class TokenScale:
    """Side of a token on the ground in metres: the model's own, and the smallest and largest of a request."""

    own_m: float
    least_m: float
    most_m: float

    @property
    def is_resized(self) -> bool:
        """Whether a token differs by more than 20 % from the model's own."""
        return self.least_m < self.own_m * (1 - _NEARLY) or self.most_m > self.own_m * (1 + _NEARLY)

    def __str__(self) -> str:
        if f"{self.least_m:.3g}" == f"{self.most_m:.3g}":
            size = f"{self.most_m:.3g} m"
        else:
            size = f"{self.least_m:.3g} to {self.most_m:.3g} m"
        return f"{size}; the model's own is {self.own_m:.3g} m" if self.is_resized else size


def sampled_rows(count: int) -> list[int]:
    """Choose a few rows, spread evenly."""
    return sorted({number * count // _SAMPLES for number in range(_SAMPLES)})


def token_scales(chosen: Sequence[Chosen], places: Sequence[Spatial]) -> dict[str, TokenScale]:
    """Measure the tokens of every model over some places; products have none."""
    scales = {}
    for one in chosen:
        sizes = [] if one.product is not None else [side for place in places for side in _sides(one, place)]
        if sizes:
            scales[one.spec.label] = TokenScale(one.own_token_m, min(sizes), max(sizes))
    return scales


def _sides(one: Chosen, place: Spatial) -> tuple[float, ...]:
    """Return the sides of a token in metres; none where no grid fits the place."""
    try:
        cell_px = one.fit(place).cell_px
    except SpecError:
        return ()
    return tuple(side * one.inputs[0][1] for side in cell_px)


def warn_of_resizes(scales: Mapping[str, TokenScale]) -> None:
    """Warn once where a resize changes what tokens cover by more than 20 %."""
    changed = [f"{label}: {scale}" for label, scale in scales.items() if scale.is_resized]
    if changed:
        message = f"a resize changes what a token covers: {'; '.join(changed)}; prep='auto' keeps the model's own scale"
        warnings.warn(message, UserWarning, stacklevel=4)
