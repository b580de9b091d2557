"""Small stores with known content."""

from __future__ import annotations

import numpy as np

from rs_embed_dask.specs import BBox, PointBuffer, Polygon, TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Status, Store

YEAR = TemporalSpec.year(2021)
SUMMER = TemporalSpec.range("2022-06-01", "2022-09-01")
POOLED = ModelLayout(
    "galileo",
    dim=5,
    frames=2,
    attrs={
        "card": {"id": "galileo"},
        "model_url": "https://example.org/galileo",
        "source_data": ["https://example.org/s2"],
        "gsd_m": 10.0,
        "chip_px": [52, 52],
    },
)
GRID = ModelLayout("rcf", dim=3, grid_shape=(4, 6), attrs={"card": {"id": "rcf"}})
REQUEST = {
    "models": [{"label": "galileo", "dtype": "auto"}, {"label": "rcf", "dtype": "auto"}],
    "fetch": {"resolution_m": 10.0, "mask": "scl"},
    "output": {"mode": "pooled"},
}


def make_items(count, first=0):
    """Squares round points, all different."""
    return [
        Item(row, PointBuffer(lon=4.0 + row * 0.01, lat=50.0 + (row % 7) * 0.1, buffer_m=260), YEAR, id=f"place-{row}")
        for row in range(first, first + count)
    ]


def mixed_items():
    """One item of each kind of place."""
    ring = [(5.0, 51.0), (5.1, 51.0), (5.05, 51.1)]
    return [
        Item(0, BBox(179.9, -17.0, -179.9, -16.8), YEAR, id="across"),
        Item(1, PointBuffer(lon=4.35, lat=50.85, buffer_m=500), SUMMER),
        Item(2, Polygon.from_coordinates(ring), YEAR, id="a triangle, é"),
        Item(3, PointBuffer(lon=500_000, lat=5_600_000, buffer_m=300, crs="EPSG:32631"), SUMMER, id="utm"),
    ]


def make_store(target, count=10, *, chunk_items=4, models=(POOLED, GRID)):
    return Store.create(target, items=make_items(count), models=models, request=REQUEST, chunk_items=chunk_items)


def vector(layout, row):
    """The known embedding of a row: a vector, or a grid smaller than the layout's for odd rows."""
    if layout.grid_shape is None:
        return (np.arange(layout.dim) + row).astype("float32")
    shape = (4, 6) if row % 2 == 0 else (3, 2)
    return (np.arange(layout.dim)[:, None, None] + np.full(shape, row)).astype("float32")


def make_result(store, layout, chunk, *, offsets=None, status=Status.OK, reason=""):
    """The known result of a chunk, or of some of its rows."""
    first, stop = store.span(chunk)
    offsets = np.arange(stop - first) if offsets is None else np.asarray(offsets)
    rows = first + offsets
    known = status in {Status.OK, Status.PARTIAL}
    days = np.datetime64("2021-01-05") + rows
    frames = np.datetime64("2021-01-01") + np.arange(layout.frames) * 30
    result = ChunkResult(
        rows=offsets,
        status=np.full(len(rows), int(status), dtype="uint8"),
        embedding=[vector(layout, row) for row in rows] if known else None,
        reason=[reason] * len(rows),
        valid_fraction=np.full((len(rows), layout.frames), 0.75 if known else 0.0, dtype="float32"),
        n_obs=rows + 1,
        n_days=rows + 2,
        n_expected=rows + 3,
        first_date=days,
        last_date=days + 90,
        frame_start=np.tile(frames, (len(rows), 1)),
        frame_end=np.tile(frames + 30, (len(rows), 1)),
        scenes=[f"S2_{row}\nS2_{row + 1}" for row in rows],
    )
    if layout.grid_shape is not None:
        result.transform = np.array([[40.0, 0, 600_000 + row, 0, -40.0, 5_600_000] for row in rows])
        result.crs = ["EPSG:32631"] * len(rows)
    return result


def fill_store(store, *, status=Status.OK, reason=""):
    for layout in store.layouts:
        for chunk in range(store.n_chunks):
            store.write_chunk(chunk, layout.label, make_result(store, layout, chunk, status=status, reason=reason))


def content(store):
    """Everything that a store holds for its models, as comparable values."""
    return {
        f"{layout.label}/{field.name}": store.values(layout.label, field.name)
        for layout in store.layouts
        for field in layout.fields
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
