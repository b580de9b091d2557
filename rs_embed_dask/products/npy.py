"""Rows of a NumPy file that lies behind a link, from its head and the bytes of those rows alone."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from rs_embed_dask.products.cache import damaged
from rs_embed_dask.providers.ranges import Access, read_range

__all__ = ["Npy", "open_npy"]

_HEAD: Final = 4096
_HEADERS: Final = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Npy:
    """An array in a file: plain numbers, row after row.

    Attributes
    ----------
    href : str
        The file.
    dtype : str
        Type of its numbers.
    shape : tuple of int
        At least two sides.
    start, size : int
        Where the numbers begin, and bytes of the file.
    """

    href: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def rows(self, first: int, stop: int, *, access: Access) -> NDArray[Any]:
        """Return the rows [first, stop)."""
        line = (self.size - self.start) // self.shape[0]
        piece = read_range(self.href, self.start + first * line, (stop - first) * line, access=access)
        if piece.size != self.size or len(piece.data) != (stop - first) * line:
            raise damaged(self.href, "it changed while it was read")
        return np.frombuffer(piece.data, self.dtype).reshape(stop - first, *self.shape[1:])


def open_npy(href: str, *, access: Access, size: int | None = None) -> Npy:
    """Read the head of a file and check that the file is whole.

    Parameters
    ----------
    href : str
        Address or path.
    access : Access
        How patiently.
    size : int, optional
        Bytes that its index says.

    Raises
    ------
    ProviderError
        Where it is no array of plain numbers, cut short, or of another size than the index says.
    """
    piece = read_range(href, 0, _HEAD, access=access)
    head = io.BytesIO(piece.data)
    try:
        shape, is_fortran, dtype = _HEADERS[npy_format.read_magic(head)](head)
    except (ValueError, KeyError) as error:
        raise damaged(href, f"its head is not that of an array ({error})") from error
    if size not in {None, piece.size}:
        raise damaged(href, f"it has {piece.size} bytes, its index says {size}")
    if is_fortran or dtype.hasobject or len(shape) < 2 or 0 in shape:  # noqa: PLR2004 - rows and columns
        raise damaged(href, f"it holds {dtype} of shape {shape}, not an image")
    need = head.tell() + dtype.itemsize * int(np.prod(shape))
    if piece.size != need:
        raise damaged(href, f"it has {piece.size} bytes and its head promises {need}")
    return Npy(href, dtype.str, shape, head.tell(), piece.size)
