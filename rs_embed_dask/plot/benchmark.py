"""Scores of models as bars with intervals, and by the number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.errors import SpecError
from rs_embed_dask.plot.canvas import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["label_curves", "score_bars"]

_NO_PROBE: Final = "none"
_LEAST: Final = -1.0  # scores far below zero would hide all others


def score_bars(scores: pd.DataFrame) -> Figure:
    """Draw one row per task and one column per probe; a group of bars per model, a bar per way of holding out."""
    tasks, probes = (list(dict.fromkeys(scores[name])) for name in ("task", "probe"))
    probes = [probe for probe in probes if probe != _NO_PROBE]
    models = list(dict.fromkeys(scores["model"]))
    figure = new_figure(max(4, 1 + 0.5 * len(models)) * len(probes), 0.9 + 2.6 * len(tasks))
    panels: Any = figure.subplots(len(tasks), len(probes), squeeze=False)
    for row, task in enumerate(tasks):
        for column, probe in enumerate(probes):
            own = scores[(scores["task"] == task) & scores["probe"].isin([probe, _NO_PROBE])]
            axes = panels[row, column]
            if probe in set(own["probe"]):
                _bars(axes, own)
                axes.set_title(f"{task}: {probe}", fontsize=9, loc="left")
            else:
                axes.set_axis_off()
    schemes = list(dict.fromkeys(scores["folds"]))
    handles = [panels[0, 0].bar([0], [0], color=f"C{number}") for number in range(len(schemes))]
    figure.legend(handles, schemes, loc="outside upper right", ncols=len(schemes), fontsize=8, frameon=False)
    return figure


def _bars(axes: Any, own: pd.DataFrame) -> None:
    models, schemes = (list(dict.fromkeys(own[name])) for name in ("model", "folds"))
    width = 0.8 / len(schemes)
    baselines = set(own.loc[own["baseline"], "model"])
    for number, scheme in enumerate(schemes):
        rows = own[own["folds"] == scheme].set_index("model").reindex(models)
        value, low, high = (np.maximum(rows[name].to_numpy("float64"), _LEAST) for name in ("value", "low", "high"))
        where = np.arange(len(models)) + (number - (len(schemes) - 1) / 2) * width
        bars = axes.bar(where, value, width, color=f"C{number}")
        for bar, model in zip(bars, models, strict=True):
            bar.set(hatch="//" if model in baselines else "", edgecolor="white", linewidth=0.3)
        # A bootstrap's interval need not hold the value itself.
        reach = np.maximum([value - low, high - value], 0)
        axes.errorbar(where, value, reach, fmt="none", color="0.2", linewidth=0.8, capsize=2)
    axes.set_xticks(range(len(models)), models, rotation=45, ha="right", fontsize=7)
    axes.axhline(0, color="0.5", linewidth=0.6)
    axes.set_ylabel({"r2": "R²"}.get(own["metric"].iloc[0], str(own["metric"].iloc[0])), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def label_curves(scores: pd.DataFrame) -> Figure:
    """Draw one row per task and way of holding out, one column per probe; a line per model over its labels."""
    few = scores[scores["labels"] > 0]
    if few.empty:
        raise SpecError("curve", reason="the benchmark learnt from all labels only", fix="give curve=[1, 10, 100]")
    rows = list(dict.fromkeys(zip(few["task"], few["folds"], strict=True)))
    probes = [probe for probe in dict.fromkeys(few["probe"]) if probe != _NO_PROBE]
    models = list(dict.fromkeys(few["model"]))
    figure = new_figure(4.2 * len(probes), 0.9 + 2.6 * len(rows))
    panels: Any = figure.subplots(len(rows), len(probes), squeeze=False)
    for (task, scheme), line in zip(rows, panels, strict=True):
        for probe, axes in zip(probes, line, strict=True):
            own = few[(few["task"] == task) & (few["folds"] == scheme) & few["probe"].isin([probe, _NO_PROBE])]
            for model, points in own.groupby("model", sort=False):
                colour, style = f"C{models.index(model)}", ":" if points["baseline"].any() else "-"
                x, y = points["labels"].to_numpy(), np.maximum(points["value"].to_numpy("float64"), _LEAST)
                axes.plot(x, y, style, color=colour, marker="o", markersize=3, label=model)
                axes.fill_between(x, np.maximum(points["low"], _LEAST), points["high"], color=colour, alpha=0.12)
            counts = sorted(set(own["labels"]))
            axes.set_xscale("log")
            axes.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
            axes.set_xticks([], minor=True)
            axes.set_title(f"{task}, {scheme}: {probe}", fontsize=9, loc="left")
            axes.set_xlabel(
                "labels learnt from, per class" if own["kind"].iloc[0] == "classification" else "labels", fontsize=8
            )
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(fontsize=7, frameon=False)
    return figure
