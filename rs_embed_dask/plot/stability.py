"""How steady vectors are: a panel per factor, a bar per pair of conditions and model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rs_embed_dask.plot.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["stability_bars"]


def stability_bars(table: pd.DataFrame) -> Figure:
    """Draw the stability of each pair of conditions with its interval."""
    factors, models = (list(dict.fromkeys(table[name])) for name in ("factor", "model"))
    pairs = {
        factor: list(dict.fromkeys(zip(part["one"], part["other"], strict=True)))
        for factor, part in table.groupby("factor", sort=False)
    }
    figure = new_figure(6.5, 1.2 + 0.32 * sum(len(one) for one in pairs.values()) * (1 + len(models) / 3))
    heights = [len(pairs[factor]) for factor in factors]
    panels: Any = figure.subplots(len(factors), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for factor, axes in zip(factors, panels, strict=True):
        for number, model in enumerate(models):
            own = table[(table["factor"] == factor) & (table["model"] == model)].set_index(["one", "other"])
            rows = own.reindex(pairs[factor])
            value, low, high = (rows[name].to_numpy("float64") for name in ("stability", "low", "high"))
            where = np.arange(len(rows)) + (number - (len(models) - 1) / 2) * 0.8 / len(models)
            axes.barh(where, value, 0.8 / len(models), color=f"C{number}", label=model)
            reach = np.maximum([value - low, high - value], 0)
            axes.errorbar(value, where, xerr=reach, fmt="none", color="0.2", linewidth=0.8, capsize=2)
        names = [f"{one}, {other}" if other else one for one, other in pairs[factor]]
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(factor, fontsize=9, loc="left")
        axes.axvline(0, color="0.5", linewidth=0.6)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("stability (1: the same vector; 0: as different as another place's)", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(models), fontsize=7)
    return figure
