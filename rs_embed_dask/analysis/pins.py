"""Places as round marks on tiles of the web's projection, of the same size at every zoom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from rs_embed_dask.specs.ground import WGS84, project
from rs_embed_dask.store.export.web_tiles import MERCATOR, TILE_PX, png_of, tile_bounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["PinLook", "PinTiles"]

_RING: Final = 1.5
_INK: Final = (0, 0, 0)
_DEEPEST: Final = 24


class PinLook(NamedTuple):
    """How a place is drawn: its radius in pixels with the dark ring, and the colour inside; None for the ring alone."""

    radius: float
    colour: tuple[int, int, int] | None


@dataclass(frozen=True, eq=False)
class PinTiles:
    """Tiles of some places, those that are named later over those before them."""

    lonlat: NDArray[np.float64]
    """(n, 2)."""
    looks: tuple[PinLook, ...]
    bounds: tuple[float, float, float, float]
    middle: tuple[float, float]
    deepest: int = _DEEPEST

    def png(self, x: int, y: int, z: int) -> bytes | None:
        """Return one tile as a PNG; None where no place is near."""
        places = list(self._near(x, y, z))
        if not places:
            return None
        tile = np.zeros((4, TILE_PX, TILE_PX), np.float64)
        for look, col, row in places:
            _draw(tile, look, col, row)
        return png_of(np.rint(tile).astype(np.uint8), tile_bounds(x, y, z))

    def _near(self, x: int, y: int, z: int) -> Iterator[tuple[PinLook, float, float]]:
        """Go through the places that reach into a tile, with the column and row of their middle."""
        left, _, right, top = tile_bounds(x, y, z)
        across, up = project(WGS84, MERCATOR, *self.lonlat.T)
        size = (right - left) / TILE_PX
        for look, col, row in zip(self.looks, (across - left) / size, (top - up) / size, strict=True):
            if max(abs(col - TILE_PX / 2), abs(row - TILE_PX / 2)) < TILE_PX / 2 + look.radius + 1:
                yield look, float(col), float(row)


def _draw(tile: NDArray[np.float64], look: PinLook, col: float, row: float) -> None:
    """Lay one disc over a tile of colours and their opacity, in bytes, with smooth edges."""
    first = (max(0, int(at - look.radius - 1)) for at in (row, col))
    top, left = first
    bottom, right = (min(TILE_PX, int(at + look.radius + 2)) for at in (row, col))
    away = np.hypot(*np.meshgrid(np.arange(left, right) + 0.5 - col, np.arange(top, bottom) + 0.5 - row))
    inside = np.clip(look.radius - _RING - away + 0.5, 0, 1)
    cover = np.clip(look.radius - away + 0.5, 0, 1)
    if look.colour is None:
        cover, inside = cover - inside, np.zeros_like(inside)
    share = inside / np.where(cover > 0, cover, 1)
    part = tile[:, top:bottom, left:right]
    before = part[3] / 255 * (1 - cover)
    whole = np.where(cover + before > 0, cover + before, 1)
    for band, (fill, ink) in enumerate(zip(look.colour or _INK, _INK, strict=True)):
        own = fill * share + ink * (1 - share)
        part[band] = (own * cover + part[band] * before) / whole
    part[3] = 255 * (cover + before)
