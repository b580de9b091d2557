"""What an embedding call returns: the vectors and their provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.show.tables import table_html

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Embedding"]


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """A vector or a grid of vectors, with its provenance.

    Parameters
    ----------
    data : ndarray or DataArray
        (D,) or (D, h, w) float32; with a leading batch axis for a batch. A georeferenced grid is a
        DataArray (dim, y, x).
    meta : dict
        Model, variant, weights, what was filled or left out, and what the caller adds.

    Examples
    --------
    >>> import numpy as np
    >>> Embedding(np.zeros(4, np.float32), {"model": "rcf"})
    Embedding(rcf, (4,) float32)
    """

    data: NDArray[np.float32] | xr.DataArray
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return tuple(self.data.shape)

    @property
    def dim(self) -> int:
        """Embedding dimension: the length of the first axis, or of the second if the batch axis comes first."""
        return self.shape[1] if len(self.shape) in {2, 4} else self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 - NumPy's protocol
        """Return the data as a NumPy array."""
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        name = ":".join(str(self.meta[key]) for key in ("model", "variant") if self.meta.get(key))
        weights = self.meta.get("weights")
        random = ", random weights" if isinstance(weights, dict) and weights.get("random") else ""
        return f"Embedding({name or 'no model'}, {self.shape} {self.data.dtype}{random})"

    def _repr_html_(self) -> str:
        """Show the embedding in a notebook: its shape, then its metadata as a table."""
        rows = [(str(key), str(value)[:200]) for key, value in self.meta.items()]
        return table_html(repr(self), ("", ""), rows)
