"""Copernicus-Embed as a map: the cells of the file as they are, on their own lattice of degrees."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import PlanError, SpecError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.products.copernicus import Copernicus
from rs_embed_dask.products.mirror import damaged
from rs_embed_dask.store import Status
from tests.engine.conftest import threads_client
from tests.products import mirrors

__all__ = ["threads_client"]

YEAR = rs.TemporalSpec.year(2024)
ACROSS = rs.BBox(179.3, 40.0, -179.3, 41.3)
ASK = {"provider": "synthetic", "progress": False, "dtype": "float32"}
SIDE = 60


@pytest.fixture(scope="module")
def published():
    """The cells of the file, NaN where it has none; (4, 721, 1440)."""
    values = mirrors.copernicus_values()
    return np.where(values == 0, np.float32(np.nan), values)


@pytest.fixture(scope="module")
def spec(served, tmp_path_factory):
    options = {"base_url": f"{served.url}/copernicus", "cache": str(tmp_path_factory.mktemp("cells")), "dim": 4}
    return rs.ModelSpec("copernicus", options=options)


@pytest.fixture(scope="module")
def across(threads_client, spec, tmp_path_factory):
    """The path of a map across the antimeridian."""
    path = tmp_path_factory.mktemp("degrees") / "map.zarr"
    rs.compute_map(ACROSS, spec, YEAR, out=path, client=threads_client, **ASK)
    return path


def assert_published(field, published, blocks):
    """The field has these blocks, and in them what the file has."""
    rows, cols = (np.rint((90 - field.y.values) * 4), np.rint((field.x.values + 180) * 4))
    np.testing.assert_array_equal(90 - rows / 4, field.y.values)
    np.testing.assert_array_equal(cols / 4 - 180, field.x.values)
    done = field.status.values[0] != Status.PENDING
    at = [(int(field.block_row[row]), int(field.block_column[col])) for row, col in np.argwhere(done)]
    assert at == blocks
    expected = np.full((4, rows.size, cols.size), np.nan, np.float32)
    on_globe = rows < published.shape[1]
    expected[:, on_globe] = published[:, rows[on_globe].astype(int)][:, :, cols.astype(int)]
    decided = np.kron(done, np.ones((SIDE, SIDE), bool))
    np.testing.assert_array_equal(field.embedding.values[0], np.where(decided, expected, np.nan))
    np.testing.assert_array_equal(field.n_obs.values[0] > 0, decided & np.isfinite(expected[0]))


def test_a_map_across_the_antimeridian_has_the_cells_of_the_file(across, published):
    field = rs.open_map(across)["copernicus"]["lonlat"]
    assert_published(field, published, [(3, 0), (3, 23)])
    shares = field.coverage.values
    assert shares.sum() * 0.0625 == pytest.approx(1.4 * 1.3, rel=1e-6)
    rows, cols = np.nonzero(shares)
    assert set(np.unique(field.x.values[cols])) == {-180.0, -179.75, -179.5, -179.25, 179.25, 179.5, 179.75}
    assert (field.y.values[rows].min(), field.y.values[rows].max()) == (40.0, 41.25)
    assert np.isnat(field.first_date.values).all()  # no year is published


def test_the_store_says_that_it_is_in_degrees(across, published):
    plain = xr.open_zarr(across, group="copernicus/lonlat")
    assert (plain.sizes["y"], plain.sizes["x"]) == (780, 1440)
    assert (plain.x.attrs["standard_name"], plain.x.attrs["units"]) == ("longitude", "degrees_east")
    assert (plain.y.attrs["standard_name"], plain.y.attrs["units"]) == ("latitude", "degrees_north")
    assert plain.spatial_ref.attrs["grid_mapping_name"] == "latitude_longitude"
    assert plain.spatial_ref.attrs["GeoTransform"] == "-180.125 0.25 0.0 90.125 0.0 -0.25"
    assert plain.attrs["proj:code"] == "EPSG:4326"
    assert plain.attrs["spatial:transform"] == [0.25, 0.0, -180.125, 0.0, -0.25, 90.125]
    assert plain.attrs["geoemb:gsd"] == 27_830.0
    np.testing.assert_array_equal(plain.embedding[0].sel(x=-180.0, y=41.0), published[:, 196, 0])
    assert rs.status(across).tokens == {"copernicus": "0.25 degrees (27.8 km at the equator)"}
    assert rs.verify(across).is_sound
    assert np.isfinite(rs.map_scores(across).decay_1["copernicus"])


def test_exports_lie_where_the_cells_do(across, published, tmp_path):
    (file,) = rs.to_cog(across, tmp_path / "cogs", "all")
    with rasterio.open(file) as cog:
        assert (cog.crs.to_epsg(), cog.transform[:6]) == (4326, (0.25, 0.0, -180.125, 0.0, -0.25, 45.125))
        np.testing.assert_array_equal(cog.read()[:, :, :SIDE], published[:, 180:240, :SIDE])
    items = {item.id.rpartition("_")[2]: item for item in rs.to_stac(across).get_items(recursive=True)}
    assert items.keys() == {"0", "23"}
    assert items["23"].bbox == pytest.approx([164.875, 30.125, 179.875, 45.125])
    assert items["0"].properties["gsd"] == 27_830.0
    assert items["0"].geometry["type"] == "MultiPolygon"  # its first cells are centred on the antimeridian
    assert "0.25 degrees" in rs.plot.map(across).get_xlabel().replace("\n", " ")
    with xr.open_zarr(across, group="copernicus/preview/lonlat/1") as zoom:
        assert zoom.attrs["spatial:transform"] == [0.5, 0.0, -180.125, 0.0, -0.5, 45.125]
        assert (float(zoom.x[0]), zoom.x.attrs["units"]) == (-179.875, "degrees_east")


def test_overlapping_regions_agree_also_after_a_top_up(threads_client, spec, across, published, tmp_path):
    path = tmp_path / "map.zarr"
    rs.compute_map(rs.BBox(178.0, 40.0, 179.0, 41.0), spec, YEAR, out=path, client=threads_client, **ASK)
    tree = rs.compute_map(rs.BBox(178.5, 40.0, -178.5, 40.5), spec, YEAR, out=path, client=threads_client, **ASK)
    field, other = tree["copernicus"]["lonlat"], rs.open_map(across)["copernicus"]["lonlat"]
    assert_published(field, published, [(3, 0), (3, 23)])
    np.testing.assert_array_equal(field.embedding, other.embedding)
    square_degrees = float(field.coverage.sum()) * 0.0625
    assert square_degrees == pytest.approx(1.0 + 3.0 * 0.5 - 0.5 * 0.5, rel=1e-6)
    assert rs.verify(path).is_sound


def test_the_row_of_the_south_pole_is_the_last(threads_client, spec, published, tmp_path):
    cap = shapely.box(30.0, -90.0, 31.0, -89.4)
    tree = rs.compute_map(cap, spec, YEAR, out=tmp_path / "map.zarr", client=threads_client, **ASK)
    field = tree["copernicus"]["lonlat"]
    assert_published(field, published, [(11, 14), (12, 14)])
    assert float(field.coverage.sel(y=-90.0, x=30.5)) == 1.0


def test_each_model_of_a_map_lies_on_its_own_lattice(threads_client, spec, published, tmp_path, monkeypatch):
    # one layer for all times, so that few scenes are enough for the other model
    days = rs.TemporalSpec.range("2022-06-01", "2022-06-12")
    place, path = rs.BBox(5.999, 45.0, 6.001, 45.001), tmp_path / "map.zarr"
    models = [spec, {"id": "bandstats", "options": {"bands": ("red", "nir")}}]
    plan = rs.plan_map(place, models, days, provider="synthetic")
    blocks = {one.label: dict(one.blocks) for one in plan.models}
    assert blocks["copernicus"] == {"lonlat": 1}
    assert sorted(blocks["bandstats"]) == ["utm31", "utm32"]
    assert "4 numbers per token of 0.25 degrees (27.8 km at the equator)" in str(plan)

    def down(reader, grid, temporal):
        raise damaged("embed_map_310k.tif", "it was cut short")

    with monkeypatch.context() as patch:
        patch.setattr(Copernicus, "read", down)
        tree = rs.compute_map(place, models, days, out=path, client=threads_client, **ASK)
    assert sorted(tree["bandstats"].children) == ["utm31", "utm32"]
    assert rs.status(path).counts["copernicus"] == {Status.READ_FAILED: 1}
    rs.resume(path, client=threads_client, progress=False)
    tree = rs.open_map(path)
    assert_published(tree["copernicus"]["lonlat"], published, [(3, 12)])
    assert np.isfinite(tree["bandstats"]["utm31"].embedding).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fetch": rs.FetchSpec(resolution_m=27_830)}, r"for cells of 0\.25 degrees .* not be resampled"),
        ({"fetch": rs.FetchSpec(resolution_m=10)}, "not be resampled"),
        ({"crs": "EPSG:3035"}, r"cells of degrees \(EPSG:4326\), and vectors must not be resampled"),
        ({"crs": "EPSG:32631"}, "not be resampled"),
        ({"dims": 2}, "not trained for that"),
    ],
)
def test_vectors_are_not_resampled(spec, change, reason):
    with pytest.raises(PlanError, match=reason):
        rs.plan_map(rs.BBox(5.0, 45.0, 6.0, 46.0), spec, YEAR, provider="synthetic", **change)


def test_degrees_may_be_named_for_cells_of_degrees_alone(spec):
    place = rs.BBox(5.0, 46.0, 6.0, 47.0)
    plan = rs.plan_map(place, spec, YEAR, provider="synthetic", crs=4326)
    assert plan.models[0].blocks == {"lonlat": 1}
    with pytest.raises(SpecError, match="pixels are measured in metres"):
        rs.plan_map(place, [spec, "bandstats"], YEAR, provider="synthetic", crs=4326)
    with pytest.raises(PlanError, match="UTM zones"):
        rs.plan_map(place, [spec, "gse"], YEAR, provider="synthetic", crs=4326)


def test_cells_that_are_not_centred_on_multiples_are_refused(spec, monkeypatch):
    edges = Grid("EPSG:4326", (0.25, 0.0, 0.0, 0.0, -0.25, 0.25), (1, 1))
    monkeypatch.setattr(Copernicus, "grid", lambda *_, crs: edges)
    with pytest.raises(PlanError, match="centred on multiples"):
        rs.plan_map(rs.BBox(5.0, 45.0, 6.0, 46.0), spec, YEAR, provider="synthetic")
