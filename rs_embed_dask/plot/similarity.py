"""How alike two runs are: the cosines of their items, by model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.plot.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["similarities"]


def similarities(cosines: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw each model's cosines in order, with the median marked."""
    figure = new_figure(6, 4)
    axes: Any = figure.subplots()
    for number, (model, values) in enumerate(cosines.items()):
        known = np.sort(values[np.isfinite(values)])
        if not len(known):
            axes.plot([], [], color=f"C{number}", label=f"{model}: no item has both vectors")
            continue
        shares = np.arange(1, len(known) + 1) / len(known)
        median = float(np.median(known))
        axes.step(known, shares, where="post", color=f"C{number}", label=f"{model}: median {median:.4f}")
        axes.axvline(median, color=f"C{number}", linewidth=0.8, linestyle=":")
    axes.set_xlabel("cosine of the two vectors of an item")
    axes.set_ylabel("share of items at or below")
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure
