"""Reading rows of an array, with the file at fault named where one cannot be understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import StoreError

if TYPE_CHECKING:
    import zarr

__all__ = ["read_rows"]

_BAD_BYTES: Final = (ValueError, RuntimeError, KeyError, EOFError)
_FIX: Final = "restore the file, or delete it and its chunk's status file: the items are then computed again"


def read_rows(array: zarr.Array[Any], span: tuple[int, int], place: str) -> np.ndarray[Any, Any]:
    """Read rows of an array in stored form.

    Parameters
    ----------
    array : zarr.Array
    span : tuple of int
        First row and the row after the last.
    place : str
        Where the store is, for messages.

    Raises
    ------
    StoreError
        If a chunk is cut short, garbled or cannot be reached; it names the chunk's key.
    """
    try:
        return np.asarray(array[span[0] : span[1]])
    except OSError as error:
        what = f"{place}/{array.path}"
        reason = f"{type(error).__name__}: {error}"
        raise StoreError("store chunk", value=what, reason=reason, fix="check the path") from error
    except _BAD_BYTES as error:
        key, cause = _first_bad(array, span, error)
        reason = f"the chunk file is cut short or garbled ({type(cause).__name__}: {cause})"
        raise StoreError("store chunk", value=f"{place}/{key}", reason=reason, fix=_FIX) from error


def _first_bad(array: zarr.Array[Any], span: tuple[int, int], known: Exception) -> tuple[str, Exception]:
    """Look for the chunk that made a read fail."""
    size = array.chunks[0]
    for number in range(span[0] // size, -(-span[1] // size)):
        try:
            array[number * size : min((number + 1) * size, array.shape[0])]
        except _BAD_BYTES as error:
            return f"{array.path}/c/{number}{'/0' * (array.ndim - 1)}", error
    return array.path, known
