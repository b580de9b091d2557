"""The scores of a map: how visible its windows, blocks and zones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError
from rs_embed_dask.plot.canvas import new_figure
from rs_embed_dask.store.map_store import MapStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rs_embed_dask.store import Target

__all__ = ["map_scores"]

_SEAMS: Final = {
    "seam_median": "windows, median",
    "seam_p99": "windows, 99th percentile",
    "block_median": "blocks, median",
    "block_p99": "blocks, 99th percentile",
}
_LATTICE: Final = {"lattice": "explained by position", "lattice_chance": "by chance"}
_HEADROOM: Final = 1.3
_ZONES: Final = {"zone_mean": "mean", "zone_least": "least"}


def map_scores(source: xr.DataTree | Target | Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the scores of a map: seams of windows and blocks, the lattice, zones, and the decay with distance.

    Parameters
    ----------
    source : path, URL, DataTree, or mapping of str to mapping
        A map, whose run kept its scores, or scores by model, as its receipt has them.

    Returns
    -------
    matplotlib Figure
        Four panels. A seam of 1 is none: neighbours in two windows, or blocks, are as alike as those in one. A
        lattice is the share of the variance of the vectors that their position in the window explains. Zones are
        compared by the cosine of their vectors on shared ground. The caption says what was done with positions.

    Raises
    ------
    SpecError
        If the map has no scores.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> rs.plot.map_scores("county.zarr").savefig("scores.png")  # doctest: +SKIP
    """
    scores, receipt = _scores(source)
    figure = new_figure(11, 3.6 + 0.16 * len(scores))
    panels: Any = figure.subplots(1, 4)
    _bars(panels[0], scores, _SEAMS, "seam: distance of neighbours across borders\nover that inside windows")
    panels[0].axhline(1, color="0.3", linewidth=0.8, linestyle="--")
    _bars(panels[1], scores, _LATTICE, "lattice: share of the variance\nthat the position explains")
    _bars(panels[2], scores, _ZONES, "zones: cosine of two zones' vectors\non shared ground")
    if all(facts.get("zone_mean") is None for facts in scores.values()):
        panels[2].text(0.5, 0.5, "no ground in two zones", transform=panels[2].transAxes, ha="center", fontsize=8)
        panels[2].set_yticks([])
    _decay(panels[3], scores)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=7)
    figure.supxlabel("\n".join(_said(label, receipt) for label in scores), fontsize=8, color="0.35", ha="left", x=0.01)
    return figure


def _scores(source: Any) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Any]]:
    """Return the scores by model, and what the map was made with."""
    if isinstance(source, Mapping) and not isinstance(source, xr.DataTree):
        return source, {}
    receipt: Mapping[str, Any]
    receipt = source.attrs.get("receipt", {}) if isinstance(source, xr.DataTree) else MapStore.open(source).receipt
    if not receipt.get("scores"):
        fix = "compute the map, or some of its blocks, with this version"
        raise SpecError("map_scores", value=source, reason="the map keeps no scores", fix=fix)
    return receipt["scores"], receipt


def _said(label: str, receipt: Mapping[str, Any]) -> str:
    statement = receipt.get("positions", {}).get(label, {}).get("statement") or "positions: nothing is recorded of them"
    is_random = (receipt.get("weights", {}).get(label) or {}).get("random")
    return f"{label}: {statement}" + (". Random weights, nothing trained" if is_random else "")


def _bars(axes: Axes, scores: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], title: str) -> None:
    """Draw one group of bars per model, one bar per score; a score that is not there has none."""
    width = 0.8 / len(names)
    for number, (name, doc) in enumerate(names.items()):
        heights = [np.nan if facts.get(name) is None else float(facts[name]) for facts in scores.values()]
        where = np.arange(len(scores)) + (number - (len(names) - 1) / 2) * width
        axes.bar(where, heights, width, label=doc, color=f"C{number}")
    axes.set_xticks(range(len(scores)), list(scores), rotation=0 if len(scores) < 3 else 30)  # noqa: PLR2004
    axes.set_ylim(top=_HEADROOM * axes.get_ylim()[1])  # for the legend
    axes.set_title(title, fontsize=8, loc="left")
    axes.legend(fontsize=6, frameon=False, loc="upper left")


def _decay(axes: Axes, scores: Mapping[str, Mapping[str, Any]]) -> None:
    for label, facts in scores.items():
        cosines = [np.nan if one is None else float(one) for one in facts["decay"]]
        axes.plot(2.0 ** np.arange(len(cosines)), cosines, marker="o", markersize=3, label=label)
    axes.set_xscale("log", base=2)
    distances = 2 ** np.arange(max(len(facts["decay"]) for facts in scores.values()))
    axes.set_xticks(distances, [str(distance) for distance in distances])
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05)
    axes.set_title("decay: cosine of two vectors\nthat many tokens apart", fontsize=8, loc="left")
    axes.legend(fontsize=6, frameon=False, loc="lower left")
