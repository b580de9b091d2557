"""Statistics of polygons over a map, against areas that are known exactly."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import rs_embed_dask as rs
from rs_embed_dask.analysis.areas import Area
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.store import BlockKey
from tests.analysis.samples import COL, FLOAT, ROW, ZONES, random_map
from tests.store.map_samples import NEXT, SIDE, TOKEN_M, YEAR, group_of, make_map, result_of


def whole_block(layout, key, seed=0):
    """Numbers without gaps."""
    random = np.random.default_rng([key.row, key.col, key.time])
    return random.normal(size=(layout.dim, layout.block, layout.block)).astype(layout.dtype), None


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("maps") / "map.zarr")
    random_map(path, layouts=(FLOAT,), spans=(YEAR, NEXT), make=whole_block)
    return path


@pytest.fixture(scope="module")
def cells(mapped):
    """The tokens of utm31 with their vectors, as squares."""
    data = rs.open_map(mapped)["float"]["utm31"].to_dataset()
    half = TOKEN_M / 2
    x, y = np.meshgrid(data.x.values, data.y.values)
    boxes = shapely.box(x - half, y - half, x + half, y + half)
    return boxes, np.moveaxis(
        data.embedding.to_numpy().astype("float64"), 1, -1
    )  # (rows, cols), (time, rows, cols, dim)


def exact(cells, shape, time=0):
    """Count and sum by cutting every square, without the package."""
    boxes, vectors = cells
    shares = shapely.area(shapely.intersection(boxes, shape)) / TOKEN_M**2
    there = np.isfinite(vectors[time]).all(axis=-1)
    shares = np.where(there, shares, 0)
    return shares.sum(), (shares[..., None] * np.where(there[..., None], vectors[time], 0)).sum(axis=(0, 1))


def corner():
    group = group_of("utm31", FLOAT)
    left, top = group.origin
    return left + COL * SIDE * TOKEN_M, top - ROW * SIDE * TOKEN_M


def test_sums_and_means_are_those_of_exact_areas(mapped, cells):
    x, y = corner()
    shapes = [
        shapely.box(x + 3_000, y - 27_000, x + 41_000, y - 2_000),
        shapely.Point(x + 35_000, y - 35_000).buffer(22_000),  # also over the block that was never computed
        shapely.Polygon([(x, y), (x + 60_000, y - 10_000), (x + 5_000, y - 50_000)]),
        shapely.box(x - 500_000, y, x - 400_000, y + 10),  # nowhere near
    ]
    frame = gpd.GeoDataFrame({"name": list("abcd")}, geometry=shapes, crs="EPSG:32631", index=[7, 5, 3, 1])
    names = [f"float_{number:04d}" for number in range(1, 7)]
    sums, means = (rs.zonal(mapped, frame, stat=stat) for stat in ("sum", "mean"))
    assert sums.index.names == [None, "span"]
    assert sums["name"].tolist() == list("abcd") * 2
    assert sums.crs == "EPSG:32631"
    for time, span in enumerate(("2021-01-01/2022-01-01", "2022-01-01/2023-01-01")):
        for row, shape in zip(frame.index, shapes, strict=True):
            count, total = exact(cells, shape, time)
            assert sums.loc[(row, span), "float_tokens"] == pytest.approx(count, rel=1e-6)
            np.testing.assert_allclose(sums.loc[(row, span), names].astype(float), total, rtol=1e-5, atol=1e-5)
            if count:
                np.testing.assert_allclose(means.loc[(row, span), names].astype(float), total / count, atol=1e-6)
    assert means.loc[1, names].isna().all(axis=None)
    pd.testing.assert_frame_equal(rs.zonal(mapped, frame, span=1), means.iloc[4:])


def test_tracts_add_up_to_their_county_exactly(mapped):
    x, y = corner()
    county = shapely.box(x + 2_500, y - 37_500, x + 37_500, y - 2_500)  # quarters of tokens: no rounding anywhere
    middle_x, middle_y = x + 17_500, y - 22_500
    tracts = [
        shapely.box(x + 2_500, y - 37_500, middle_x, middle_y),
        shapely.box(middle_x, y - 37_500, x + 37_500, middle_y),
        shapely.box(x + 2_500, middle_y, middle_x, y - 2_500),
        shapely.box(middle_x, middle_y, x + 37_500, y - 2_500),
    ]
    frame = gpd.GeoDataFrame(geometry=[county, *tracts], crs="EPSG:32631")
    told = rs.zonal(mapped, frame, stat="sum", span=0).drop(columns="geometry").to_numpy()
    assert told[0, 0] == 3.5**2
    assert told[1:, 0].sum() == told[0, 0]
    np.testing.assert_allclose(told[1:].sum(axis=0), told[0], rtol=1e-12, atol=1e-12)
    slanted = [shapely.Polygon(ring) for ring in _halves(county)]
    parts = rs.zonal(mapped, gpd.GeoDataFrame(geometry=slanted, crs="EPSG:32631"), stat="sum", span=0)
    np.testing.assert_allclose(parts["float_tokens"].sum(), told[0, 0], rtol=1e-7)


def _halves(box):
    left, bottom, right, top = box.bounds
    return [[(left, bottom), (right, bottom), (right, top)], [(left, bottom), (right, top), (left, top)]]


def test_polygons_in_degrees_reach_over_zones(mapped):
    edges = []
    for group in ZONES:
        data = rs.open_map(mapped)["float"][group].to_dataset()
        edges.append(Area(shapely.box(*data.attrs["spatial:bbox"]), data.attrs["proj:code"]).lonlat)
    around = shapely.box(*shapely.union_all(edges).buffer(0.1).bounds)
    told = rs.zonal(mapped, gpd.GeoSeries([around], crs="EPSG:4326"), stat="sum", span=0)
    assert told["float_tokens"].iloc[0] == pytest.approx(2 * 3 * SIDE**2)  # three blocks in each zone
    in_mercator = gpd.GeoSeries([around], crs="EPSG:4326").to_crs("EPSG:3857")
    other = rs.zonal(mapped, in_mercator, stat="sum", span=0)
    np.testing.assert_allclose(other["float_0003"], told["float_0003"], rtol=1e-6)
    half = rs.BBox(*around.bounds)
    np.testing.assert_allclose(rs.zonal(mapped, [half], stat="sum", span=0)["float_0003"], told["float_0003"])


def test_blocks_that_no_polygon_touches_are_not_read(tmp_path):
    store = make_map(tmp_path / "map.zarr", layouts=(FLOAT,))
    for group, _, blocks in list(store.pending("float")):
        for row, col in blocks:
            key = BlockKey("float", group.group, 0, row, col)
            store.write_block(key, result_of(FLOAT, key, embedding=whole_block(FLOAT, key)[0]))
    for file in (tmp_path / "map.zarr" / "float" / "utm31" / "embedding" / "c").rglob("*"):
        if file.is_file() and file.parts[-2:] != (str(ROW), str(COL)):
            file.write_bytes(b"damaged")
    x, y = corner()
    inside = gpd.GeoSeries([shapely.box(x + 1, y - 9_000, x + 9_000, y - 1)], crs="EPSG:32631")
    assert rs.zonal(str(tmp_path / "map.zarr"), inside)["float_tokens"].iloc[0] == pytest.approx(0.81, abs=1e-3)


def test_the_rows_of_polygons_are_kept_whatever_their_index(mapped):
    x, y = corner()
    cells = [shapely.box(x + left, y - 20_000, x + left + 10_000, y - 10_000) for left in (0, 10_000, 20_000)]
    frame = gpd.GeoDataFrame({"name": ["a", "b", "c"]}, geometry=cells, crs="EPSG:32631", index=[0, 0, 1])
    told = rs.zonal(mapped, frame, span=0)
    assert told["name"].tolist() == ["a", "b", "c"]
    wanted = rs.zonal(mapped, frame.reset_index(drop=True), span=0)
    np.testing.assert_array_equal(told.drop(columns="geometry"), wanted.drop(columns="geometry"))
    with pytest.raises(SpecError, match="'span': they have this column, which is added, already"):
        rs.zonal(mapped, wanted)
    with pytest.raises(SpecError, match=r"'float_tokens': they have this column.*Fix: rename or drop it"):
        rs.zonal(mapped, wanted.reset_index(drop=True))


def test_what_is_no_polygon_is_refused(mapped):
    with pytest.raises(SpecError, match="'row 0': its geometry is a Point"):
        rs.zonal(mapped, gpd.GeoSeries([shapely.Point(0, 0)], crs="EPSG:4326"))
    with pytest.raises(SpecError, match="does not state its crs"):
        rs.zonal(mapped, gpd.GeoSeries([shapely.box(0, 0, 1, 1)]))
    crossed = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    with pytest.raises(SpecError, match="not simple"):
        rs.zonal(mapped, gpd.GeoSeries([crossed], crs="EPSG:4326"))
    with pytest.raises(UnknownNameError, match="stat"):
        rs.zonal(mapped, rs.BBox(3, 50, 4, 51), stat="median")
