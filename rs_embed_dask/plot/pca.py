"""Embeddings as colours: their first three principal components, as red, green and blue.

One fit is used for all items, so that colours are comparable. The sign of each axis is fixed, so that the same store
always gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Pca", "fit_pca", "pseudo_rgb"]

DIM: Final = "dim"
_MOST_SAMPLES: Final = 50_000
_PERCENTILES: Final = (2.0, 98.0)
_COLOURS: Final = 3
_PER_CENT: Final = 100


@dataclass(frozen=True, eq=False)
class Pca:
    """A fitted projection to a few components, and the range of each.

    Parameters
    ----------
    mean : numpy.ndarray, shape (dim,)
    axes : numpy.ndarray, shape (n_components, dim)
        Orthonormal, the one with the largest variance first; the largest weight of each is positive. Zero where the
        samples differ in fewer directions.
    explained : numpy.ndarray, shape (n_components,)
        Share of the total variance.
    low, high : numpy.ndarray, shape (n_components,)
        The projected values that map to 0 and 1.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def project(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Project vectors.

        Parameters
        ----------
        vectors : array-like, shape (..., dim)

        Returns
        -------
        numpy.ndarray, shape (..., n_components)
            NaN where a vector has a missing value.

        Raises
        ------
        SpecError
            If the vectors have another dimension.
        """
        samples = np.asarray(vectors, dtype="float64")
        if samples.shape[-1:] != self.mean.shape:
            reason = f"the fit is for vectors of {len(self.mean)} dimensions"
            raise SpecError("vectors", value=samples, reason=reason, fix="give embeddings of the same model, dim last")
        return np.asarray((samples - self.mean) @ self.axes.T)

    def colours(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors to values from 0 to 1, independently of the other vectors in the call.

        Parameters
        ----------
        vectors : array-like, shape (..., dim)

        Returns
        -------
        numpy.ndarray of float32, shape (..., n_components)
            NaN where a vector has a missing value; 0.5 in a direction in which the samples do not vary.
        """
        width = self.high - self.low
        scaled = (self.project(vectors) - self.low) / np.where(width > 0, width, 1)
        flat = np.where(np.isnan(scaled), np.nan, 0.5)
        return np.clip(np.where(width > 0, scaled, flat), 0, 1).astype("float32")


def fit_pca(
    vectors: ArrayLike, *, n_components: int = _COLOURS, percentiles: tuple[float, float] = _PERCENTILES
) -> Pca:
    """Fit the principal components of vectors.

    Parameters
    ----------
    vectors : array-like, shape (..., dim)
        Vectors with a missing value are ignored. Of more than 50,000, evenly spaced ones are used.
    n_components : int, default 3
        Number of components.
    percentiles : tuple of float, default (2, 98)
        Ends of the range of each component: values beyond are clipped, so that a few outliers do not take all the
        contrast.

    Returns
    -------
    Pca

    Raises
    ------
    SpecError
        If no vector is complete, or if an argument is invalid.
    """
    low, high = percentiles
    if not (0 <= low < high <= _PER_CENT and n_components >= 1):
        reason = "percentiles ascend within 0 to 100, and there is at least one component"
        raise SpecError("fit_pca", value=(n_components, percentiles), reason=reason, fix="use (2, 98) and 3")
    samples = _samples(np.asarray(vectors))
    mean = samples.mean(axis=0)
    axes, variance = _directions(samples - mean, n_components)
    axes, variance = _padded(axes, n_components), _padded(variance, max(n_components, len(variance)))
    total = variance.sum()
    scores = (samples - mean) @ axes.T  # (n, n_components)
    bounds = np.percentile(scores, percentiles, axis=0)
    return Pca(mean, axes, variance[:n_components] / (total if total > 0 else 1), bounds[0], bounds[1])


def _samples(vectors: NDArray[Any]) -> NDArray[np.float64]:
    if vectors.ndim <= 1:
        reason = "vectors are needed, with their dimension as the last axis"
        raise SpecError("vectors", value=vectors, reason=reason, fix="give shape (..., dim)")
    rows = vectors.reshape(-1, vectors.shape[-1])  # (n, dim)
    whole = rows[np.isfinite(rows).all(axis=1)]
    if not len(whole):
        reason = f"none of {len(rows)} is complete: all have missing values"
        raise SpecError("vectors", reason=reason, fix="see status() for the items' outcomes")
    step = -(-len(whole) // _MOST_SAMPLES)
    return np.asarray(whole[::step], dtype="float64")


def _directions(centred: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first orthonormal axes, and the variance along all axes, largest first and without zeros."""
    # The Gram matrix of dimensions, or of samples where those are fewer, replaces an SVD at a fraction of its cost.
    count, dim = centred.shape
    wide = count <= dim
    eigenvalues, columns = np.linalg.eigh((centred @ centred.T if wide else centred.T @ centred) / count)
    variance, axes = eigenvalues[::-1], columns.T[::-1]
    real = variance > max(float(variance.max(initial=0)), 0) * dim * np.finfo("float64").eps
    variance, axes = variance[real], axes[real][:most]
    if wide:
        axes = axes @ centred  # (most, count) to (most, dim)
    if len(axes):
        axes = np.linalg.qr(axes.T)[0].T  # orthonormal to machine precision
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return axes, variance


def _padded(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Pad with zeros along the first axis up to a length."""
    missing = max(0, length - len(values))
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]))])


def pseudo_rgb(embedding: xr.DataArray, *, pca: Pca | None = None) -> xr.DataArray:
    """Convert embeddings to colours.

    Parameters
    ----------
    embedding : xarray.DataArray
        With a dimension ``dim``: (item, dim) or (item, dim, y, x) of a store, (dim, y, x) of `get_embedding`; NumPy or
        Dask.
    pca : Pca, optional
        A fit to use, so that two stores get comparable colours; by default it is fitted to the embedding itself, to
        evenly spaced items where it is large.

    Returns
    -------
    xarray.DataArray of float32
        The same with ``rgb`` (red, green, blue; 0 to 1) as the last dimension in place of ``dim``; NaN where there
        is no data. Lazy where the embedding is.

    Raises
    ------
    SpecError
        If there is no dimension ``dim``, or if no vector is complete.
    """
    if DIM not in getattr(embedding, "dims", ()):
        reason = "it has no dimension 'dim'"
        raise SpecError("embedding", value=embedding, reason=reason, fix="give ds['embedding'] of a store")
    fitted = fit_pca(_thinned(embedding).transpose(..., DIM).values) if pca is None else pca
    colours: xr.DataArray = xr.apply_ufunc(
        fitted.colours,
        embedding.chunk({DIM: -1}) if embedding.chunks else embedding,
        input_core_dims=[[DIM]],
        output_core_dims=[["rgb"]],
        dask="parallelized",
        output_dtypes=["float32"],
        dask_gufunc_kwargs={"output_sizes": {"rgb": len(fitted.axes)}},
    )
    named = list("rgb") if len(fitted.axes) == _COLOURS else list(range(len(fitted.axes)))
    return colours.assign_coords(rgb=named).rename("colour")


def _thinned(embedding: xr.DataArray) -> xr.DataArray:
    """Take evenly spaced items, so that a fit of a large store reads a bounded part of it."""
    if "item" not in embedding.dims:
        return embedding
    vectors = embedding.size // embedding.sizes[DIM]
    return embedding.isel(item=slice(None, None, max(1, -(-vectors // (4 * _MOST_SAMPLES)))))
