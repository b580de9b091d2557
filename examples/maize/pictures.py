"""The pictures of the use case: places, scores, predictions against truth, and maps of them."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.patches import Patch
from shapely import get_parts

from examples.maize import spam
from rs_embed_dask.errors import SpecError
from rs_embed_dask.plot.canvas import new_figure
from rs_embed_dask.store.target import explained

UNIT = "t/ha"
COLOURS = {"random": "#3b7ea1", "blocks": "#d9822b"}
WORDS = {"random": "random places held out", "blocks": "spatial blocks held out"}
LEAST_R2 = -0.5  # far below zero a bar says no more than that the mean is better
BEST = 3
PLACE_ONLY = ("location", "nearest label", "mean")


def made_folder(path):
    """Make the folder of the figures, before anything else is done."""
    fix = "name a folder that can be made and written to"
    with explained("out", str(path), fix):
        path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise SpecError("out", value=str(path), reason="it cannot be written to", fix=fix)


def saved(figure, path):
    """Write a figure as PNG."""
    with explained("figure", str(path), "name another folder"):
        figure.savefig(path, dpi=110)
    print(path)


def places_map(table, outline=None):
    """Figure 4: the places, with their yield and their area of maize."""
    figure = new_figure(10, 5.6)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    facts = (
        (left, "t_ha", "viridis", f"maize yield, {UNIT}"),
        (right, "area_ha", "YlGn", "harvested area of maize, ha"),
    )
    for axes, name, colours, words in facts:
        shown = draw_cells(axes, table.index, table[name], outline=outline, cmap=colours)
        axes.set_title(words, loc="left", fontsize=11)
        figure.colorbar(shown, ax=axes, shrink=0.85)
    figure.suptitle(f"{len(table):,} places: cells of 5 arc-minutes", fontsize=12)
    return figure


def bars(told):
    """Figure 5: R2 and RMSE of each model, random places beside spatial blocks, the best model on top."""
    rows = told.table[(told.table["labels"] == 0) & told.table["metric"].isin(["r2", "rmse"])]
    models = ranked(told)
    baselines = set(rows.loc[rows["baseline"], "model"])
    figure = new_figure(10, 1.6 + 0.42 * len(models))
    for axes, metric, words in zip(
        figure.subplots(1, 2, sharey=True), ("r2", "rmse"), ("R²", f"RMSE, {UNIT}"), strict=True
    ):
        for number, (scheme, colour) in enumerate(COLOURS.items()):
            own = rows[(rows["metric"] == metric) & (rows["folds"] == scheme)].set_index("model").loc[models]
            value, low, high = (own[name].to_numpy("float64") for name in ("value", "low", "high"))
            at = np.arange(len(models)) + 0.38 * (number - 0.5)
            drawn = axes.barh(at, value, 0.38, color=colour, edgecolor="white", linewidth=0.4)
            for bar, model in zip(drawn, models, strict=True):
                bar.set_hatch("//" if model in baselines else "")
            # a bootstrap's interval need not hold the value itself
            reach = np.maximum([value - low, high - value], 0)
            axes.errorbar(value, at, xerr=reach, fmt="none", color="0.25", linewidth=0.8, capsize=2)
        axes.set_yticks(range(len(models)), models)
        axes.set_title(words, loc="left", fontsize=11)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if metric == "r2":
            axes.set_xlim(max(LEAST_R2, axes.get_xlim()[0]), 1)
            axes.invert_yaxis()
    handles = [Patch(color=colour, label=WORDS[scheme]) for scheme, colour in COLOURS.items()]
    handles.append(Patch(facecolor="0.8", hatch="//", edgecolor="white", label="baseline"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def ranked(told):
    """All models and baselines, best first by R2 of random places."""
    rows = told.scores[told.scores["folds"] == "random"].sort_values("value", ascending=False, kind="stable")
    return rows["model"].tolist()


def best(told, count=BEST):
    """The best models of those that saw something of the ground."""
    return [model for model in ranked(told) if model not in PLACE_ONLY][:count]


def against(told):
    """Figure 7: predicted against true yield for the best three models, random places above spatial blocks."""
    models = best(told)
    figure = new_figure(3.5 * len(models) + 0.6, 7)
    panels = figure.subplots(len(COLOURS), len(models), squeeze=False, sharex=True, sharey=True)
    for line, (scheme, colour) in zip(panels, COLOURS.items(), strict=True):
        for axes, model in zip(line, models, strict=True):
            own = told.predictions.query("model == @model and folds == @scheme")
            axes.scatter(own["label"], own["prediction"], s=14, color=colour, alpha=0.6, linewidths=0)
            scores = told.table.query("model == @model and folds == @scheme and labels == 0").set_index("metric")[
                "value"
            ]
            axes.text(
                0.04,
                0.96,
                f"R² {scores['r2']:.2f}\nRMSE {scores['rmse']:.2f} {UNIT}",
                transform=axes.transAxes,
                va="top",
            )
            axes.set_title(model if scheme == "random" else "", fontsize=11)
            axes.set_aspect("equal")
        line[0].set_ylabel(f"{WORDS[scheme]}\npredicted, {UNIT}")
    values = told.predictions.loc[told.predictions["model"].isin(models), ["label", "prediction"]].to_numpy()
    ends = np.array([values.min(), values.max()]) + np.array([-0.04, 0.04]) * np.ptp(values)
    for axes in panels.flat:
        axes.plot(ends, ends, color="0.3", linewidth=0.9, linestyle="--")
        axes.set(xlim=ends, ylim=ends)
    for axes in panels[-1]:
        axes.set_xlabel(f"true, {UNIT}")
    return figure


def maps(told, cell, outline=None):
    """Figure 8: true, predicted and residual yield of the best model, random places above spatial blocks.

    `cell` has the grid code of each item by its id: see `vectors.codes`.
    """
    (model,) = best(told, 1)
    own = told.predictions[told.predictions["model"] == model]
    residual = own["prediction"] - own["label"]
    yields = dict(zip(("vmin", "vmax"), own[["label", "prediction"]].stack().agg(["min", "max"]), strict=True))
    furthest = float(residual.abs().max())
    columns = (
        ("label", "true", "viridis", yields),
        ("prediction", "predicted", "viridis", yields),
        ("residual", "predicted less true", "RdBu", {"vmin": -furthest, "vmax": furthest}),
    )
    figure = new_figure(12, 8.6)
    panels = figure.subplots(len(COLOURS), len(columns), sharex=True, sharey=True)
    for line, scheme in zip(panels, COLOURS, strict=True):
        rows = own.assign(residual=residual)[own["folds"] == scheme]
        for axes, (name, words, colours, limits) in zip(line, columns, strict=True):
            shown = draw_cells(axes, cell.loc[rows["id"]], rows[name], outline=outline, cmap=colours, **limits)
            axes.set_title(words, loc="left", fontsize=11)
            figure.colorbar(shown, ax=axes, shrink=0.8, label=UNIT)
        line[0].set_ylabel(f"{WORDS[scheme]}\nlatitude")
    figure.suptitle(f"{model}, Random Forest", fontsize=12)
    return figure


def draw_cells(axes, codes, values, *, outline=None, **style):
    """Draw SPAM's cells where they lie, in degrees, with the scale that the ground has in the middle."""
    row, column = np.divmod(np.asarray(codes), spam.COLUMNS)
    image = np.full((np.ptp(row) + 1, np.ptp(column) + 1), np.nan)
    image[row - row.min(), column - column.min()] = values
    lon = np.arange(column.min(), column.max() + 2) / spam.PER_DEGREE - 180
    lat = 90 - np.arange(row.min(), row.max() + 2) / spam.PER_DEGREE
    shown = axes.pcolormesh(lon, lat, image, **style)
    for line in [] if outline is None else get_parts(outline.boundary):  # of holes too
        axes.plot(*line.xy, color="0.3", linewidth=0.9)
    axes.set_facecolor("0.88")  # cells that are none of the places
    axes.set_aspect(1 / np.cos(np.radians(lat.mean())))
    axes.set(xlabel="longitude", ylabel="latitude")
    axes.label_outer()
    return shown
