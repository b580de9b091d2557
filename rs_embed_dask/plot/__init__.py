"""Pictures of a store: embeddings as colours, what became of every item, and models side by side over the same ground.

Needs the extra ``plot`` (matplotlib), which is imported when a picture is drawn. Figures are made without pyplot, so
that nothing stays open: a notebook shows the one that a cell ends with, and ``figure.savefig("run.png")`` keeps it.
"""

from rs_embed_dask.plot.canvas import SceneImage
from rs_embed_dask.plot.maps import pca_rgb, status_map
from rs_embed_dask.plot.panels import compare, overview
from rs_embed_dask.plot.pca import Pca, fit_pca, pseudo_rgb

__all__ = ["Pca", "SceneImage", "compare", "fit_pca", "overview", "pca_rgb", "pseudo_rgb", "status_map"]
