"""What a person points at on a map: a token, examples of what is meant and what is not, and what is like them."""

from __future__ import annotations

from dataclasses import dataclass, field as attribute
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import dask
import numpy as np

from rs_embed_dask.analysis.blocks import one_model
from rs_embed_dask.analysis.examples import cells_at, token_vector
from rs_embed_dask.analysis.search import MOST, TOKEN_COLUMNS, Searched, positions_kept, token_place
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import whole
from rs_embed_dask.specs.ground import WGS84, wrap_lon
from rs_embed_dask.store.export.items import is_run
from rs_embed_dask.store.layout import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd
    import xarray as xr
    from distributed import Client
    from numpy.typing import NDArray

    from rs_embed_dask.store.export.fields import MapField

__all__ = ["FOUND", "NEGATIVE", "POSITIVE", "Exploration", "Role", "Token"]

POSITIVE: Final = "positive"
NEGATIVE: Final = "negative"
FOUND: Final = "found"

Role = Literal["positive", "negative"]

_LAYERS: Final = ("valid_fraction", "n_obs", "first_date", "last_date", "coverage")
_OUTCOME: Final = ("status", "reason")
_SUFFIXES: Final = (".geojson", ".json")


@dataclass(frozen=True, eq=False)
class Token:
    """One token of a map, as the store has it.

    Parameters
    ----------
    place : mapping
        ``group``, ``span``, ``x``, ``y``, ``crs``, and ``lon`` and ``lat`` of the middle, as in the table of `search`.
    vector : numpy.ndarray of float32, shape (dim,)
        NaN where there is none.
    status : str
        What became of its block, such as ``"ok"``; empty where the map does not say.
    reason : str
        Why there is no vector, where the map says.
    layers : mapping
        What the map says of the token besides: ``valid_fraction``, ``n_obs``, ``first_date``, ``last_date``,
        ``coverage``; those that it has.
    """

    place: Mapping[str, Any]
    vector: NDArray[np.float32]
    status: str
    reason: str
    layers: Mapping[str, Any]

    @property
    def has_vector(self) -> bool:
        """Whether every number of the vector is there."""
        return bool(np.isfinite(self.vector).all())

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from other tokens of the map."""
        return tuple(self.place[name] for name in ("group", "span", "x", "y"))


@dataclass(eq=False)
class Exploration:
    """The tokens of one model and span that were pointed at, and what was found; `rs_embed_dask.explore` shows it.

    Nothing here needs a notebook. `click` chooses a token, `neighbours` finds what is like it, `mark` makes it a
    positive or a negative and `search` finds what is like the marks.

    Parameters
    ----------
    searched : Searched
        The map, the model and the fields of one span.
    k : int
        How many are found at once.
    codes : path, optional
        As in `rs_embed_dask.search`.
    client : distributed.Client, optional
        As in `rs_embed_dask.search`.
    token : Token, optional
        The one that was clicked last; None where the point lies in none.
    marks : dict
        The marked tokens by their key, each with its role, in the order they were marked.
    found : GeoDataFrame, optional
        What the last search found, as `rs_embed_dask.search` returns it.
    """

    searched: Searched
    k: int = 10
    codes: Path | None = None
    client: Client | None = None
    token: Token | None = None
    marks: dict[tuple[Any, ...], tuple[Role, Token]] = attribute(default_factory=dict)
    found: gpd.GeoDataFrame | None = None

    @classmethod
    def of(
        cls,
        tree: xr.DataTree,
        model: str | None = None,
        *,
        span: int = 0,
        k: int = 10,
        codes: Path | None = None,
        client: Client | None = None,
    ) -> Self:
        """Choose the model and the span of a map. Raises SpecError where it has no embeddings in a field."""
        if is_run(tree):
            reason = "it is a run of places, and what is explored is a map"
            fix = "search it with rs.search and draw it with rs.plot.pca_rgb, or make a map with rs.compute_map"
            raise SpecError("map", reason=reason, fix=fix)
        searched = Searched.of(tree, one_model(tree, model), whole("span", span, low=0, high=MOST))
        if derived := searched.fields[0].derived:
            reason = f"its bands were made by {derived['by']}, and the likeness of such numbers means nothing"
            raise SpecError("map", value=searched.label, reason=reason, fix="give the map of embeddings that it is of")
        return cls(searched, whole("k", k, low=1, high=MOST), codes, client)

    @property
    def label(self) -> str:
        """The model."""
        return self.searched.label

    @property
    def cautions(self) -> list[str]:
        """What is to be known before likeness is trusted; empty where there is nothing."""
        first = self.searched.fields[0]
        kept, random = positions_kept(self.searched.fields), first.is_random
        told = [f"{kept}: the nearest may be what lies at the same place of its window"] if kept else []
        return told + (["random weights, nothing trained: likeness has no meaning"] if random else [])

    def click(self, lon: float, lat: float) -> Token | None:
        """Choose the token that a point lies in.

        Where zones meet, a point may lie in a token of each: the first that has a vector is taken, as in the picture.

        Parameters
        ----------
        lon, lat : float
            Degrees; a longitude beyond 180 is one on the next turn of the globe.

        Returns
        -------
        Token or None
            None where no token of the map lies there.
        """
        found = [(*cell, token_vector(*cell)) for cell in cells_at(self.searched.fields, wrap_lon(lon), lat)]
        chosen = next((one for one in found if np.isfinite(one[-1]).all()), found[0] if found else None)
        self.token = None if chosen is None else self._token(*chosen)
        return self.token

    def _token(self, field: MapField, row: int, col: int, vector: NDArray[np.float32]) -> Token:
        node = self.searched.tree[self.label][field.group].dataset
        where = {"time": field.time, "y": row, "x": col} | _block(field, row, col)
        named = [name for name in (*_LAYERS, *_OUTCOME) if name in node and set(node[name].dims) <= set(where)]
        with dask.config.set(scheduler="synchronous"):  # whatever client is connected: these are a few numbers
            read = node[named].isel(where, missing_dims="ignore").compute()
        here: dict[str, Any] = {name: read[name].values[()] for name in named}
        status = Status(int(here["status"])).words if "status" in here else ""
        layers: dict[str, Any] = {name: here[name] for name in _LAYERS if name in here}
        return Token(token_place(field, row, col), vector, status, str(here.get("reason", "")), layers)

    def neighbours(self) -> gpd.GeoDataFrame:
        """Find the tokens that are most like the one that was clicked.

        Raises
        ------
        SpecError
            If none was clicked, or it has no vector.
        """
        return self._find([self._chosen().vector], None)

    def mark(self, role: Role) -> None:
        """Make the clicked token a positive or a negative; if it is one already, it is none any more.

        Raises
        ------
        SpecError
            If no token was clicked, or it has no vector.
        """
        token = self._chosen()
        before = self.marks.pop(token.key, None)
        if before is None or before[0] != role:
            self.marks[token.key] = role, token

    def clear(self) -> None:
        """Forget the marks and what was found."""
        self.marks.clear()
        self.found = None

    def search(self) -> gpd.GeoDataFrame:
        """Find the tokens that are most like the positives and least like the negatives, by the rule of `search`.

        Raises
        ------
        SpecError
            If there is no positive, or the marks cancel each other.
        """
        positives, negatives = (self._vectors(role) for role in (POSITIVE, NEGATIVE))
        if not positives:
            reason = "negatives alone do not say what is meant"
            raise SpecError("marks", value=f"{len(negatives)} negatives", reason=reason, fix="mark a positive")
        return self._find(positives, negatives or None)

    def table(self) -> gpd.GeoDataFrame:
        """Return the marks and what was found as one table of points.

        Returns
        -------
        GeoDataFrame
            The marks in their order, then what was found, the nearest first. ``role`` is ``"positive"``,
            ``"negative"`` or ``"found"``, ``rank`` counts what was found from 1 and ``score`` is the cosine (both are
            missing for marks); ``model``, and the columns of `rs_embed_dask.search`.
        """
        import geopandas as gpd
        import pandas as pd

        rows: list[dict[str, Any]] = [{"role": role, **token.place} for role, token in self.marks.values()]
        if self.found is not None:
            listed = self.found[[*TOKEN_COLUMNS, "score"]].to_dict("records")
            rows += [{"role": FOUND, "rank": rank, **one} for rank, one in enumerate(listed, 1)]
        table = pd.DataFrame(rows, columns=["role", "rank", "score", *TOKEN_COLUMNS])
        table.insert(1, "model", self.label)
        table = table.astype({"rank": "Int64", "score": "float64"})
        return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(table["lon"], table["lat"]), crs=WGS84)

    def save(self, path: str | Path) -> Path:
        """Write `table` as GeoJSON, over an older file.

        Parameters
        ----------
        path : path
            Ends in ``.geojson`` or ``.json``.

        Returns
        -------
        pathlib.Path
            Where it was written.

        Raises
        ------
        SpecError
            If there is nothing to save, or the name ends differently.
        """
        place, table = Path(path).expanduser(), self.table()
        if place.suffix not in _SUFFIXES:
            raise SpecError("path", value=str(path), reason="the file is GeoJSON", fix="let it end in .geojson")
        if not len(table):
            raise SpecError("path", value=str(path), reason="nothing is marked or found", fix="click on the map first")
        table.to_file(place, driver="GeoJSON")
        return place

    def _vectors(self, role: str) -> list[NDArray[np.float32]]:
        return [token.vector for own, token in self.marks.values() if own == role]

    def _chosen(self) -> Token:
        if self.token is None or not self.token.has_vector:
            told = (
                "no token was clicked"
                if self.token is None
                else f"it has no vector: {self.token.reason or self.token.status}"
            )
            raise SpecError("token", reason=told, fix="click where the map has colours")
        return self.token

    def _find(self, like: list[Any], negatives: list[Any] | None) -> gpd.GeoDataFrame:
        self.found = self.searched.find(like, negatives, k=self.k, client=self.client, codes=self.codes)
        return self.found


def _block(field: MapField, row: int, col: int) -> dict[str, int]:
    """Say which block a token is in; nothing where the map was cut across its blocks."""
    if field.status is None:
        return {}
    rows, cols = (side // count for side, count in zip(field.shape, field.status.shape, strict=True))
    return {"block_row": row // rows, "block_column": col // cols}
