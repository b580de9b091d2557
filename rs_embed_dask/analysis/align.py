"""Models side by side over shared places: how well one's vectors give another's, and how alike the two spaces are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.analysis.shared import SharedPlaces, shared_places
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.show.tables import Section, page_html, page_text
from rs_embed_dask.specs.base import choice, number, whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Alignment", "align"]

_FEWEST: Final = 10
_SEED_RANGE: Final = 2**31
_MOST_PLACES: Final = 4000  # for similarities between all pairs of places
_NOISE: Final = 1e-10  # of the largest singular value: rounding of float32 sums, not variance
_SHARE: Final = 0.25  # of the places learnt from: canonical directions beyond would fit anything


@dataclass(frozen=True, eq=False)
class _Map:
    """An affine map from one model's vectors to another's, and the canonical directions where it has them."""

    before: NDArray[np.float64]  # (p,)
    matrix: NDArray[np.float64]  # (p, q)
    after: NDArray[np.float64]  # (q,)
    directions: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def __call__(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray((vectors - self.before) @ self.matrix + self.after)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Models over shared places, pair by pair; prints as a table.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per ordered pair: ``source``, ``target``; ``residual``, the squared distance of the mapped vectors from
        the target's over the target's variance, at places that the map was not learnt from (0: equal; 1: no better
        than the mean), and ``residual_learnt`` at the others; ``cka``, linear centred kernel alignment (0 to 1), and
        ``cka_unbiased``, which is 0 on average for unrelated spaces whatever their dimensions; ``correlations``, the
        canonical correlations at held-out places (method "cca").
    models : pandas.DataFrame
        By model: ``dim`` and ``effective_rank``, the exponential of the entropy of the singular values' shares.
    n_learnt, n_held : int
        Items that maps were learnt from, and those held out.
    """

    table: pd.DataFrame = field(repr=False)
    models: pd.DataFrame = field(repr=False)
    n_learnt: int = 0
    n_held: int = 0
    maps: dict[tuple[str, str], _Map] = field(default_factory=dict, repr=False)

    def transform(self, vectors: Any, source: str, target: str) -> NDArray[np.float64]:
        """Map vectors of one model to another's space.

        Parameters
        ----------
        vectors : array
            (n, dim) of the source.
        source, target : str
            Models, as in ``table``.

        Returns
        -------
        numpy.ndarray
            (n, dim of the target).

        Raises
        ------
        UnknownNameError
            If there is no such pair.
        SpecError
            If the vectors have another length.
        """
        names = {name for pair in self.maps for name in pair}
        pair = choice("source", source, names), choice("target", target, names)
        if pair not in self.maps:
            raise UnknownNameError.among("pair", " to ".join(pair), [f"{a} to {b}" for a, b in self.maps])
        found = self.maps[pair]
        try:
            given = np.asarray(vectors, dtype="float64")
        except (TypeError, ValueError) as error:
            fix = f"give an array (n, {len(found.before)})"
            raise SpecError("vectors", value=vectors, reason=f"they are no numbers ({error})", fix=fix) from error
        if given.ndim != 2 or given.shape[1] != len(found.before):  # noqa: PLR2004 - (n, dim)
            fix = f"give (n, {len(found.before)})"
            raise SpecError("vectors", value=given, reason=f"vectors of {source} have another shape", fix=fix)
        return found(given)

    @property
    def _sections(self) -> list[Section]:
        names = ("source", "target", "residual", "residual_learnt", "cka", "cka_unbiased")
        rows = [(*row[:2], *(f"{one:.4f}" for one in row[2:])) for row in self.table[[*names]].itertuples(index=False)]
        own = [
            (str(name), str(int(row["dim"])), f"{row['effective_rank']:.1f}") for name, row in self.models.iterrows()
        ]
        return [Section("Pairs", rows, names), Section("Models", own, ("model", "dim", "effective rank"))]

    @property
    def _title(self) -> str:
        return f"alignment of {len(self.models)} models: learnt from {self.n_learnt:,} items, {self.n_held:,} held out"

    def __str__(self) -> str:
        return page_text(self._title, self._sections)

    def _repr_html_(self) -> str:
        return page_html(self._title, self._sections)


def align(
    runs: Any,
    *,
    models: Sequence[str] | None = None,
    method: str = "procrustes",
    held_out: float = 0.2,
    seed: int = 0,
) -> Alignment:
    """Learn maps between models on shared places, and measure at others how much each misses.

    Parameters
    ----------
    runs : DataTree, path or URL, list of these, or mapping of str to these
        Runs with one vector per item, joined as by `benchmark`.
    models : list of str, optional
        Which models. Default: all.
    method : {"procrustes", "cca"}, default "procrustes"
        A rotation with one scale (between spaces of different dimensions, a rotation into a subspace or onto one), or
        canonical correlations: the directions of both that correlate best, at most a quarter as many as there are
        places to learn from, and the linear map that they make.
    held_out : float, default 0.2
        Share of the places that maps are not learnt from, all spans of a place together. Places are drawn at random:
        neighbours may be on both sides.
    seed : int, default 0
        Which places are drawn.

    Returns
    -------
    Alignment
        ``.table``, ``.models`` and ``.transform(vectors, source, target)``.

    Raises
    ------
    SpecError, UnknownNameError, StoreError
        If there are fewer than two models or 10 shared places with vectors, or an argument or run cannot be used.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> told = rs.align(["galileo.zarr", "prithvi.zarr"])  # doctest: +SKIP
    >>> told.table[["source", "target", "residual", "cka"]]  # doctest: +SKIP
    """
    import pandas as pd

    choice("method", method, _METHODS)
    whole("seed", seed, low=0, high=_SEED_RANGE)
    share = number("held_out", held_out, fix="give a share between 0 and 1")
    if not 0 < share < 1:
        raise SpecError("held_out", value=held_out, reason="it is a share", fix="give a share between 0 and 1")
    shared = shared_places(runs, models)
    check_pair(shared)
    learnt, held = _divided(shared, share, seed)
    matrices = {name: one.vectors(shared.complete).astype("float64") for name, one in shared.models.items()}
    pairs = list(itertools.permutations(matrices, 2))
    maps = {(a, b): _METHODS[method](matrices[a][learnt], matrices[b][learnt]) for a, b in pairs}
    rows = [_row(a, b, maps[a, b], (matrices[a], matrices[b]), (learnt, held)) for a, b in pairs]
    ranks = [(one.shape[1], effective_rank(one)) for one in matrices.values()]
    about = pd.DataFrame(ranks, index=pd.Index(matrices, name="model"), columns=["dim", "effective_rank"])
    return Alignment(pd.DataFrame(rows), about, len(learnt), len(held), maps)


def check_pair(shared: SharedPlaces) -> None:
    """Refuse fewer than two models, or too few places that both have."""
    if len(shared.models) < 2:  # noqa: PLR2004 - a pair
        fix = "give runs with at least two models"
        raise StoreError("runs", value=", ".join(shared.models), reason="there is one model", fix=fix)
    if len(shared.complete) < _FEWEST:
        reason = f"{len(shared.complete)} shared items have a vector of every model, fewer than {_FEWEST}"
        raise StoreError("runs", reason=reason, fix="compute more places, or choose models=")


def _divided(shared: SharedPlaces, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = shared.items.index.get_level_values("id")[shared.complete]
    names, place = np.unique(np.asarray(ids, dtype=str), return_inverse=True)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    is_held = np.zeros(len(names), bool)
    is_held[np.random.default_rng(seed).permutation(len(names))[:count]] = True
    return np.flatnonzero(~is_held[place]), np.flatnonzero(is_held[place])


def _procrustes(source: NDArray[np.float64], target: NDArray[np.float64]) -> _Map:
    before, after = source.mean(axis=0), target.mean(axis=0)
    a, b = source - before, target - after
    left, sizes, right = np.linalg.svd(a.T @ b, full_matrices=False)
    rotation = left @ right
    scale = sizes.sum() / max(float(((a @ rotation) ** 2).sum()), np.finfo("float64").tiny)
    return _Map(before, scale * rotation, after)


def _cca(source: NDArray[np.float64], target: NDArray[np.float64]) -> _Map:
    before, after = source.mean(axis=0), target.mean(axis=0)
    most = max(1, int(_SHARE * len(source)))
    (a, whiten), (b, whiten_b) = (_whitened(one, most) for one in (source - before, target - after))
    left, sizes, right = np.linalg.svd(a.T @ b, full_matrices=False)
    directions = whiten @ left, whiten_b @ right.T
    # From canonical coordinates, each shrunk by its correlation, back to the target's own.
    back = np.linalg.lstsq(b @ right.T, target - after, rcond=None)[0]
    return _Map(before, directions[0] @ (sizes[:, None] * back), after, directions)


def _whitened(centred: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return orthonormal coordinates of the rows in their main directions, and the matrix that gives them."""
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    count = min(most, int((sizes > _NOISE * sizes[0]).sum()))
    return left[:, :count], right[:count].T / sizes[:count]


_METHODS: Final[dict[str, Callable[..., _Map]]] = {"procrustes": _procrustes, "cca": _cca}


def _row(
    source: str, target: str, found: _Map, matrices: tuple[NDArray[Any], NDArray[Any]], parts: tuple[Any, Any]
) -> dict[str, Any]:
    (a, b), (learnt, held) = matrices, parts
    some = np.random.default_rng(0).permutation(len(a))[:_MOST_PLACES]
    row = {
        "source": source,
        "target": target,
        "residual": _residual(found(a[held]), b[held], found.after),
        "residual_learnt": _residual(found(a[learnt]), b[learnt], found.after),
        "cka": linear_cka(a, b),
        "cka_unbiased": unbiased_cka(a[some], b[some]),
    }
    if found.directions is not None:
        sides = (found.directions[0], found.directions[1])
        one, other = ((x[held] - x[learnt].mean(axis=0)) @ side for x, side in zip((a, b), sides, strict=True))
        row["correlations"] = _correlations(one, other)
    return row


def _residual(mapped: NDArray[np.float64], truth: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    spread = float(((truth - mean) ** 2).sum())
    return float(((mapped - truth) ** 2).sum()) / spread if spread else float("nan")


def _correlations(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    sizes = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.where(sizes > 0, (a * b).sum(axis=0) / np.where(sizes > 0, sizes, 1), np.nan))


def linear_cka(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the linear centred kernel alignment of two matrices with the same rows, 0 to 1."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    both, own, other = (np.linalg.norm(x.T @ y) for x, y in ((a, b), (a, a), (b, b)))
    return float(both**2 / (own * other)) if own * other else float("nan")


def unbiased_cka(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the linear alignment from unbiased estimates of its three terms; about 0 for unrelated spaces."""
    grams = [x @ x.T for x in (a - a.mean(axis=0), b - b.mean(axis=0))]
    for gram in grams:
        np.fill_diagonal(gram, 0)
    both, own, other = (_dependence(*(grams[place] for place in pair)) for pair in ((0, 1), (0, 0), (1, 1)))
    return float(both / np.sqrt(own * other)) if own > 0 and other > 0 else float("nan")


def _dependence(k: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Estimate the Hilbert-Schmidt independence criterion of two Gram matrices with empty diagonals, without bias."""
    n = len(k)
    trace, totals = float((k * other).sum()), float(k.sum() * other.sum())
    cross = float(k.sum(axis=0) @ other.sum(axis=0))
    return (trace + totals / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


def effective_rank(vectors: NDArray[np.float64]) -> float:
    """Return the exponential of the entropy of the singular values' shares; n equal ones have n."""
    sizes = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    shares = sizes[sizes > _NOISE * max(sizes[0], np.finfo("float64").tiny)]
    shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
