"""The reader that stackstac calls for each asset: sign, fetch, place on the grid, and say plainly what failed."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urldefrag

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import ProviderError
from rs_embed_dask.providers.geotiff import label, open_geotiff
from rs_embed_dask.providers.ranges import Access
from rs_embed_dask.providers.sampling import Block, nearest_pixels

if TYPE_CHECKING:
    from rasterio.windows import Window
    from stackstac.raster_spec import RasterSpec

__all__ = ["AssetReader", "labelled", "reader"]

INDEX: Final = "&index="


def labelled(href: str, name: str, index: int | None = None) -> str:
    """Return a link that carries its name for messages, and the band to take of a file with several.

    Parameters
    ----------
    href
        Plain link.
    name
        For example ``asset B04 of item S2A_...``.
    index
        Band from 1, or None for a file that must have one band only.
    """
    return f"{href}#{quote(name)}" + ("" if index is None else f"{INDEX}{index}")


@dataclass(frozen=True)
class AssetReader:
    """One asset of one item, seen through the output grid. Opens nothing before `read`; holds no secret.

    Satisfies ``stackstac.reader_protocol.Reader``, whose constructor passes more than is needed here.

    Parameters
    ----------
    url
        A `labelled` link.
    spec
        Corner, pixel size and shape of the output grid; its EPSG code is not looked at.
    crs
        Coordinate system of the output grid.
    access
        Who signs, and how patiently.
    """

    url: str
    spec: RasterSpec
    crs: str
    access: Access = field(repr=False)

    def read(self, window: Window, **_: object) -> npt.NDArray[np.float32]:
        """Return a window of the grid as float32, shape (H, W): raw numbers, NaN where there are none.

        Parameters
        ----------
        window
            Rows and columns of the output grid.

        Raises
        ------
        ProviderError
            If the asset is missing, refused, damaged or has several bands and no index.
        """
        href, _sep, index = self.url.partition(INDEX)
        file = open_geotiff(href, access=self.access)
        band = int(index or 1)
        if band > file.bands or (file.bands > 1 and not index):
            raise ProviderError(
                label(href),
                value=urldefrag(href).url,
                reason=f"the file has {file.bands} bands" + (f", not {band}" if index else ""),
                fix="name the band by its place, as in {'red': 'visual#1'}",
            )
        rows, columns = nearest_pixels(self._block(window), file.crs, file.transform)
        out = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        inside = (rows >= 0) & (rows < file.layout.height) & (columns >= 0) & (columns < file.layout.width)
        if not inside.any():
            return out
        rows, columns = np.broadcast_arrays(rows, columns)
        rows, columns = rows[inside], columns[inside]
        top, left = int(rows.min()), int(columns.min())
        pixels = file.read(band, (top, int(rows.max()) + 1), (left, int(columns.max()) + 1), access=self.access)
        out[inside] = pixels[rows - top, columns - left]
        return out

    def _block(self, window: Window) -> Block:
        left, _, _, top = self.spec.bounds
        return Block(
            crs=self.crs,
            corner=(left, top),
            resolution=tuple(self.spec.resolutions_xy),
            offset=(int(window.row_off), int(window.col_off)),
            shape=(int(window.height), int(window.width)),
        )

    def close(self) -> None:
        """Do nothing: a read leaves nothing open."""


def reader(crs: str, access: Access) -> functools.partial[AssetReader]:
    """Return the ``reader=`` for `stackstac.stack` on a grid in `crs`."""
    return functools.partial(_make, crs=crs, access=access)


def _make(*, url: str, spec: RasterSpec, crs: str, access: Access, **_: Any) -> AssetReader:
    return AssetReader(url, spec, crs, access)
