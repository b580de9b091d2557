"""A small model on top of vectors: fitted to labels, frozen, and applied to runs and maps with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field as attribute
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.blocks import check_client, one_model, vectors_of
from rs_embed_dask.analysis.colours import class_colours
from rs_embed_dask.analysis.derived import Derivation, digest_of
from rs_embed_dask.analysis.probes import standardiser
from rs_embed_dask.analysis.sources import MapSource
from rs_embed_dask.analysis.training import TrainingSet
from rs_embed_dask.analysis.vectors import needed
from rs_embed_dask.errors import SpecError, StoreError
from rs_embed_dask.specs.ground import WGS84
from rs_embed_dask.store.document import Location
from rs_embed_dask.store.export.items import any_tree, is_run
from rs_embed_dask.store.tables import outlines, place_index

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.store.document import Target

__all__ = ["FOREST", "KINDS", "LABEL", "LOGISTIC", "RIDGE", "Probe", "fitted"]

RIDGE, LOGISTIC, FOREST = "ridge", "logistic", "forest"
KINDS: Final = (RIDGE, LOGISTIC, FOREST)
LABEL: Final = "probe"
UNCERTAINTY: Final = "uncertainty"
_ALPHAS: Final = tuple(10.0 ** (half / 2) for half in range(-8, 13))
_TREES: Final = 200
_MOST_CLASSES: Final = 255


@dataclass(frozen=True, eq=False, repr=False)
class Probe:
    """A model fitted to labelled vectors; it does not change.

    Parameters
    ----------
    model : str
        Label of the model whose vectors it was fitted to.
    target : str
        What the labels are.
    kind : {"ridge", "logistic", "forest"}
    dim : int
        Length of the vectors.
    count : int
        How many labelled vectors there were.
    classes : tuple of str
        The classes in alphabetical order; none where it gives values.
    estimator : scikit-learn pipeline
        What was fitted.
    digest : str
        Identifies the vectors, labels and settings.
    """

    model: str
    target: str
    kind: str
    dim: int
    count: int
    classes: tuple[str, ...]
    estimator: Any
    digest: str
    spread: _RidgeSpread | None = attribute(default=None)

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes else "values"
        return f"Probe({self.target}: {what} from {self.model}, {self.kind}, {self.count} labelled vectors)"

    def bands(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Return what it gives for vectors.

        Parameters
        ----------
        vectors : array, shape (n, dim)

        Returns
        -------
        array, shape (n, 2)
            The number of the class, or the value; and its uncertainty: one less the probability of the class, or the
            standard deviation of the value. NaN where a vector has a missing number.
        """
        values = np.asarray(vectors, np.float64)
        if values.shape[-1] != self.dim:
            reason = f"the probe is for vectors of {self.dim} numbers"
            raise SpecError("vectors", value=values, reason=reason, fix=f"give vectors of {self.model}")
        made = np.full((len(values), 2), np.nan)
        there = np.isfinite(values).all(axis=1)
        if there.any():
            made[there] = np.stack(self._known(values[there]), axis=1)
        return made

    def _known(self, vectors: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.classes:
            shares = self.estimator.predict_proba(vectors)
            return shares.argmax(axis=1), 1 - shares.max(axis=1)
        if self.spread is not None:
            return self.estimator.predict(vectors), self.spread.deviation(self.estimator[0].transform(vectors))
        scaled = self.estimator[0].transform(vectors)
        trees = np.stack([tree.predict(scaled.astype(np.float32)) for tree in self.estimator[-1].estimators_])
        return trees.mean(axis=0), trees.std(axis=0)

    def _of_block(self, vectors: NDArray[Any]) -> NDArray[Any]:
        rows = vectors.reshape(len(vectors), -1).T
        return self.bands(rows).T.reshape(2, *vectors.shape[1:])

    def predict(
        self,
        source: xr.DataTree | Target,
        out: Target | None = None,
        *,
        span: int | None = None,
        client: Client | None = None,
    ) -> xr.DataTree | gpd.GeoDataFrame:
        """Apply it to a map, block by block, as a new map; or to a run, as a table.

        Parameters
        ----------
        source : DataTree, path or URL
            A map or a run with vectors of the same model.
        out : path or URL
            Of a map: where the new one is written, on the same lattice. If it was begun by the same probe, it goes on.
        span : int, optional
            Of a map: only this span, by its number; default all.
        client : distributed.Client, optional
            Of a map: where its blocks are computed and written. Default: in this process.

        Returns
        -------
        DataTree or GeoDataFrame
            ``tree["probe"][group].embedding`` with two bands along ``dim``, the class's number or the value, and its
            uncertainty, see `bands`; `rs_embed_dask.to_cog`, `rs_embed_dask.plot.map` and `rs_embed_dask.zonal` know
            them. Of a run one row per item: ``TARGET``, ``uncertainty`` and the outline.

        Raises
        ------
        SpecError
            If vectors have another length, or `out` is missing.
        StoreError
            If the source has no vectors of the model, or `out` holds something else.
        """
        check_client(client)
        if out is not None:
            Location.of(out)  # refuses what is no place
        tree = any_tree(source)
        label = one_model(tree, self.model)
        if is_run(tree):
            return self._table(tree, label)
        if out is None:
            raise SpecError("out", value=None, reason="a map is written to a store", fix="give out='classes.zarr'")
        chosen = MapSource.of(source, label, span)
        self.bands(np.full((1, chosen.fields[0].dim), np.nan))  # refuses another length before anything is written
        return Derivation(LABEL, self._facts, self._of_block).write(chosen, out, client)

    @property
    def _facts(self) -> dict[str, Any]:
        facts = {"by": LABEL, "kind": self.kind, "of": self.model, "target": self.target, "labelled": self.count}
        facts |= {"bands": ["class" if self.classes else self.target, UNCERTAINTY], "digest": self.digest}
        if self.classes:
            facts |= {"classes": list(self.classes), "colours": class_colours(len(self.classes))}
        return facts

    def _table(self, tree: xr.DataTree, label: str) -> gpd.GeoDataFrame:
        import geopandas as gpd

        table = vectors_of(tree, label)
        if table is None:
            fix = "give a run with one vector per item, or a map"
            raise StoreError("run", value=label, reason="it holds grids", fix=fix)
        first, uncertainty = self.bands(table.to_numpy()).T
        values: Any = first
        if self.classes:
            names = np.array([*self.classes, None], dtype=object)
            values = names[np.where(np.isfinite(first), first, len(self.classes)).astype(np.intp)]
        columns = {self.target: values, UNCERTAINTY: uncertainty}
        return gpd.GeoDataFrame(columns, index=place_index(tree), geometry=outlines(tree).to_numpy(), crs=WGS84)


@dataclass(frozen=True, eq=False)
class _RidgeSpread:
    """The deviation of a ridge's prediction: the error left out one by one, wider where few labels lie near."""

    variance: float
    inverse: NDArray[np.float64]
    count: int

    @classmethod
    def of(cls, scaled: NDArray[np.float64], errors: NDArray[np.float64], alpha: float) -> _RidgeSpread:
        """Fit it to the scaled vectors (n, dim), which are centred, and the errors of the fit (n,)."""
        count, dim = scaled.shape
        inverse = np.asarray(np.linalg.inv(scaled.T @ scaled + alpha * np.eye(dim)), np.float64)
        leverage = np.einsum("nd,de,ne->n", scaled, inverse, scaled) + 1 / count
        left_out = errors / np.maximum(1 - leverage, 1e-9)
        return cls(float(np.mean(left_out**2)), inverse, count)

    def deviation(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviation of predictions; (n,)."""
        leverage = ((scaled @ self.inverse) * scaled).sum(axis=1) + 1 / self.count
        return np.asarray(np.sqrt(self.variance * (1 + leverage)))


def fitted(label: str, labelled: TrainingSet, kind: str | None) -> Probe:
    """Fit a probe of a kind, by default ridge to numbers and logistic regression to classes."""
    kind = kind or (LOGISTIC if labelled.are_classes else RIDGE)
    if kind == (RIDGE if labelled.are_classes else LOGISTIC):
        what = "classes" if labelled.are_classes else "numbers"
        fix = "use 'logistic' or 'forest' for classes, and 'ridge' or 'forest' for numbers"
        raise SpecError("kind", value=kind, reason=f"the labels are {what}", fix=fix)
    classes = tuple(sorted(set(labelled.labels.tolist()))) if labelled.are_classes else ()
    if len(classes) > _MOST_CLASSES:
        reason = f"{len(classes)} classes are more than {_MOST_CLASSES}"
        raise SpecError("labels", value=labelled.target, reason=reason, fix="give numbers, or merge classes")
    scaler, learner = standardiser(labelled.vectors), _regressor(kind, classes)
    learner.fit(scaler.transform(labelled.vectors), labelled.labels)
    estimator = needed("sklearn.pipeline").make_pipeline(scaler, learner)  # of parts that are fitted
    digest = digest_of(kind, label, labelled.vectors, *map(str, labelled.labels.tolist()))
    count, dim = labelled.vectors.shape
    spread = _spread(kind, estimator, labelled)
    return Probe(label, labelled.target, kind, dim, count, classes, estimator, digest, spread)


def _regressor(kind: str, classes: tuple[str, ...]) -> Any:
    if kind == RIDGE:
        return needed("sklearn.linear_model").RidgeCV(alphas=_ALPHAS)
    if kind == LOGISTIC:
        return needed("sklearn.linear_model").LogisticRegression(max_iter=1000)
    name = "RandomForestClassifier" if classes else "RandomForestRegressor"
    return getattr(needed("sklearn.ensemble"), name)(n_estimators=_TREES, random_state=0)


def _spread(kind: str, estimator: Any, labelled: TrainingSet) -> _RidgeSpread | None:
    if kind != RIDGE:
        return None
    errors = labelled.labels - estimator.predict(labelled.vectors)
    return _RidgeSpread.of(estimator[0].transform(labelled.vectors), errors, float(estimator[-1].alpha_))
