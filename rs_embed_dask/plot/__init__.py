"""Figures of stores: embeddings as colours, statuses, models side by side over the same ground; maps and their scores.

Needs the extra ``plot`` (matplotlib), which is imported on drawing. Figures do not use pyplot, so none stays open: a
notebook shows the one that a cell returns, and ``figure.savefig("run.png")`` saves it.
"""

from rs_embed_dask.plot.canvas import SceneImage
from rs_embed_dask.plot.maps import pca_rgb, status_map
from rs_embed_dask.plot.panels import compare, overview
from rs_embed_dask.plot.pca import Pca, fit_pca, pseudo_rgb
from rs_embed_dask.plot.region import draw_map as map  # noqa: A004 - a map is what it draws
from rs_embed_dask.plot.scores import map_scores

__all__ = [
    "Pca",
    "SceneImage",
    "compare",
    "fit_pca",
    "map",
    "map_scores",
    "overview",
    "pca_rgb",
    "pseudo_rgb",
    "status_map",
]
