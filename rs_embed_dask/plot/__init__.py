"""Figures of a store: embeddings as colours, the status of every item, and models side by side over the same ground.

Needs the extra ``plot`` (matplotlib), which is imported on drawing. Figures do not use pyplot, so none stays open: a
notebook shows the one that a cell returns, and ``figure.savefig("run.png")`` saves it.
"""

from rs_embed_dask.plot.canvas import SceneImage
from rs_embed_dask.plot.maps import pca_rgb, status_map
from rs_embed_dask.plot.panels import compare, overview
from rs_embed_dask.plot.pca import Pca, fit_pca, pseudo_rgb

__all__ = ["Pca", "SceneImage", "compare", "fit_pca", "overview", "pca_rgb", "pseudo_rgb", "status_map"]
