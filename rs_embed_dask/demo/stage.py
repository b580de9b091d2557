"""Where the demo takes place: a square of places, a span of time and the provider of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rs_embed_dask.providers import open_provider
from rs_embed_dask.specs import BBox, TemporalSpec

if TYPE_CHECKING:
    from rs_embed_dask.providers import Provider

__all__ = ["SPRING", "Square", "Stage", "synthetic_stage"]

SPRING: Final = TemporalSpec.range("2022-04-01", "2022-07-30")
_LATENCY_S: Final = (0.2, 0.5)


@dataclass(frozen=True)
class Square:
    """Places side by side, `side` along each edge; `corner` is the south-western one in metres of `crs`."""

    side: int = 8
    crs: str = "EPSG:32631"
    corner: tuple[float, float] = (617_680.0, 5_620_480.0)
    place_m: float = 640.0

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in metres."""
        left, bottom = self.corner
        return left, left + self.side * self.place_m, bottom, bottom + self.side * self.place_m

    @property
    def whole(self) -> BBox:
        """All places as one."""
        left, right, bottom, top = self.extent
        return BBox(left, bottom, right, top, crs=self.crs)

    def places(self) -> list[BBox]:
        """Return the places, row by row from the north-west."""
        left, _, _, top = self.extent
        corners = [
            (left + column * self.place_m, top - row * self.place_m)
            for row in range(self.side)
            for column in range(self.side)
        ]
        return [BBox(x, y - self.place_m, x + self.place_m, y, crs=self.crs) for x, y in corners]


@dataclass(frozen=True)
class Stage:
    """What a walk needs to know."""

    square: Square
    provider: Provider
    span: TemporalSpec = SPRING


def synthetic_stage(side: int) -> Stage:
    """Return a stage that needs no service. Reads wait, so that the worker is killed in the middle of some."""
    provider = open_provider("synthetic", seed=11, cloud=0.35, revisit_days=10, latency_s=_LATENCY_S)
    return Stage(Square(side), provider)
