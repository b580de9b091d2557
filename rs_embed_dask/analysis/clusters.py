"""Classes that are found, not told: k-means on directions, with colours that say how alike the classes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from rs_embed_dask.analysis.derived import Derivation, digest_of
from rs_embed_dask.analysis.nearest import normed
from rs_embed_dask.analysis.probe import UNCERTAINTY
from rs_embed_dask.analysis.vectors import needed
from rs_embed_dask.errors import SpecError
from rs_embed_dask.store.export.colours import sampled
from rs_embed_dask.store.export.pca import fit_pca

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rs_embed_dask.store.export.fields import MapField

__all__ = ["LABEL", "Clusters"]

LABEL: Final = "classes"
_DARK, _LIGHT = 40, 235


@dataclass(frozen=True, eq=False)
class Clusters:
    """The middles of classes, directions (classes, dim), and the colours of each, (classes, 3) bytes."""

    middles: NDArray[np.float32]
    colours: NDArray[np.uint8]

    @classmethod
    def fitted(cls, fields: Sequence[MapField], count: int) -> Self:
        """Find classes in a sample of all fields, in mini-batches; the most frequent is the first."""
        rows = normed(sampled(fields))
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(np.unique(rows, axis=0)) < count:
            reason = f"the sample has {len(np.unique(rows, axis=0))} different vectors"
            raise SpecError("k", value=count, reason=reason, fix="ask for fewer classes")
        means = needed("sklearn.cluster").MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=4096)
        sizes = np.bincount(means.fit_predict(rows), minlength=count)
        middles = means.cluster_centers_[np.argsort(-sizes, kind="stable")].astype(np.float32)
        shares = fit_pca(rows).colours(middles)  # alike classes have alike colours
        return cls(middles, np.rint(_DARK + (_LIGHT - _DARK) * shares).astype(np.uint8))

    @classmethod
    def of(cls, field: MapField) -> Self:
        """Read the classes of a map that was made by them. Raises SpecError where it was not."""
        facts = field.derived
        if facts.get("by") != LABEL:
            fix = "give a map that rs.classes has made"
            raise SpecError("like", value=field.label, reason="it is no map of classes that were found", fix=fix)
        return cls(np.asarray(facts["middles"], np.float32), np.asarray(facts["colours"], np.uint8))

    def bands(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Return the number of the nearest class and how undecided it is, of vectors (dim, ...) as (2, ...).

        Undecided is the distance to the nearest middle over that to the second: 0 at a middle, 1 halfway.
        """
        rows = normed(vectors.reshape(len(vectors), -1).T)
        there = np.isfinite(rows).all(axis=1)
        made = np.full((2, len(rows)), np.nan)
        if there.any():
            middles = self.middles.astype(np.float64)
            squares = (rows[there] ** 2).sum(axis=1)[:, None] - 2 * rows[there] @ middles.T + (middles**2).sum(axis=1)
            apart = np.sqrt(np.maximum(squares, 0))
            near = np.sort(apart, axis=1)[:, :2]
            made[0, there] = apart.argmin(axis=1)
            made[1, there] = near[:, 0] / np.maximum(near[:, 1], np.finfo(float).tiny)
        return made.reshape(2, *vectors.shape[1:])

    def derivation(self, model: str) -> Derivation:
        """Return what makes a map of these classes of a model's map."""
        names = [f"class {number}" for number in range(1, len(self.middles) + 1)]
        facts: dict[str, Any] = {"by": LABEL, "of": model, "bands": ["class", UNCERTAINTY], "classes": names}
        middles = [[float(str(number)) for number in row] for row in self.middles]  # short, and the same as float32
        facts |= {"colours": self.colours.tolist(), "middles": middles}
        return Derivation(LABEL, facts | {"digest": digest_of(self.middles)}, self.bands)
