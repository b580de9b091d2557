"""Made runs: stores with given vectors, places and columns."""

from __future__ import annotations

import numpy as np

import rs_embed_dask as rs
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.specs.columns import PlaceList
from rs_embed_dask.store import ChunkResult, ModelLayout, Status, Store
from rs_embed_dask.store.items import ItemColumns

REQUEST = {"models": [], "output": {"mode": "pooled"}}
YEAR = TemporalSpec.year(2021)


def made_run(path, vectors, lonlat, *, columns=None, spans=(YEAR,), attrs=None, request=REQUEST):
    """Store vectors by label, (n * spans, dim), of places at lonlat (n, 2); a row of NaN was not read."""
    places = [PointBuffer(lon=lon, lat=lat, buffer_m=100) for lon, lat in lonlat]
    ids = [f"p{row:04d}" for row in range(len(places))]
    columns = {name: np.asarray(values) for name, values in (columns or {}).items()}
    seasons = {str(one.start_date): one for one in spans}
    several = ItemColumns.crossed(PlaceList(places), seasons, ids, columns=columns)
    items = several if len(spans) > 1 else ItemColumns(PlaceList(places), several.spans, ids, columns=columns)
    layouts = [
        ModelLayout(label, dim=one.shape[1], attrs=(attrs or {}).get(label, {"card": {"id": label}}))
        for label, one in vectors.items()
    ]
    made = Store.create(path, items=items, models=layouts, request=request, chunk_items=512)
    made.set_columns(dict(items.columns), np.arange(made.n_items))
    for chunk in range(made.n_chunks):
        first, stop = made.span(chunk)
        for label, one in vectors.items():
            block = np.asarray(one[first:stop], "float32")
            has = np.isfinite(block).all(axis=1)
            status = np.where(has, Status.OK, Status.READ_FAILED).astype("uint8")
            embedding = [row if there else None for row, there in zip(block, has, strict=True)]
            result = ChunkResult(np.arange(len(block)), status, embedding, reason=[""] * len(block))
            made.write_chunk(chunk, label, result)
    return rs.open_store(path)
