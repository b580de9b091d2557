"""Reading a store for what it says: embeddings as colours."""

from __future__ import annotations

from rs_embed_dask.analysis.pca import Pca, fit_pca, pseudo_rgb

__all__ = ["Pca", "fit_pca", "pseudo_rgb"]
