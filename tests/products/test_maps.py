"""Published vectors as maps: the pixels that were published, on their own lattice or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

import rs_embed_dask as rs
from rs_embed_dask.errors import PlanError
from rs_embed_dask.products.gse import Gse, decoded
from rs_embed_dask.store import Status
from tests.engine.conftest import threads_client
from tests.products import mirrors

__all__ = ["threads_client"]

YEAR = rs.TemporalSpec.year(2024)
TILE = rs.BBox(*mirrors.GSE_BOUNDS, crs="EPSG:32631")
LAND = rs.BBox(300970, 5770450, 301120, 5770560, crs="EPSG:32631")


@pytest.mark.parametrize(("name", "folder", "place"), [("gse", "gse", TILE), ("tessera", "new", LAND)])
def test_a_map_has_the_published_vectors(threads_client, product, tmp_path, name, folder, place):
    spec = product(name, folder)
    ask = {"provider": "synthetic", "client": threads_client, "progress": False, "dtype": "float32"}
    tree = rs.compute_map(place, spec, YEAR, out=tmp_path / "map.zarr", **ask)
    field = tree[spec.label]["utm31"]
    alone = rs.get_embedding(spec, place, YEAR, output="grid", provider="synthetic").data
    same = field.embedding[0].sel(x=alone.x, y=alone.y)
    assert np.isfinite(alone.values).any()
    np.testing.assert_array_equal(same.values, alone.values)
    there = np.isfinite(field.embedding.values[0]).all(axis=0)
    np.testing.assert_array_equal(field.n_obs.values[0] > 0, there)
    assert (field.first_date.values[0][there] == np.datetime64("2024-01-01")).all()
    assert (field.last_date.values[0][there] == np.datetime64("2024-12-31")).all()
    assert set(np.unique(field.status.values)) <= {Status.PENDING, Status.OK, Status.PARTIAL}
    assert "own surroundings" in rs.status(tmp_path / "map.zarr").positions[spec.label]


def test_a_map_reads_published_vectors_block_by_block(threads_client, tmp_path, monkeypatch):
    """A file of 560 x 560 pixels is never read whole: each block asks for its own pixels, once."""
    folder, side, (left, top) = tmp_path / "mirror", 560, (300_960.0, 5_776_000.0)
    crs, bounds = "EPSG:32631", (left, top - side * 10.0, left + side * 10.0, top)
    rows, columns = np.ogrid[:side, :side]
    stored = np.stack([(rows * 7 + columns * 3 + band) % 250 - 125 for band in range(64)]).astype(np.int8)
    mirrors.write_cog(folder / "2024/31N/wide.tif", stored, Affine(10.0, 0, left, 0, -10.0, top), crs, blockxsize=64)
    mirrors.write_index(folder, [mirrors.index_row("2024/31N/wide.tif", crs, bounds)])
    asked = []

    def noted(reader, grid, temporal, read=Gse.read):
        asked.append(grid)
        return read(reader, grid, temporal)

    monkeypatch.setattr(Gse, "read", noted)
    spec = rs.ModelSpec("gse", options={"base_url": str(folder)})
    ask = {"provider": "synthetic", "client": threads_client, "progress": False, "dtype": "float32", "preview": False}
    field = rs.compute_map(rs.BBox(*bounds, crs=crs), spec, YEAR, out=tmp_path / "map.zarr", **ask)["gse"]["utm31"]
    assert {grid.shape for grid in asked} == {(256, 256)}
    assert len(asked) == len({grid.bounds for grid in asked}) == int((field.status > 0).sum()) > 4
    xs, ys = left + 10 * np.arange(side) + 5, top - 10 * np.arange(side) - 5
    np.testing.assert_array_equal(field.embedding[0].sel(x=xs, y=ys), decoded(stored))


def test_where_nothing_was_published_the_reason_is_kept(threads_client, product, tmp_path):
    ocean = rs.BBox(-30.0, -10.0, -29.999, -9.999)
    ask = {"provider": "synthetic", "client": threads_client, "progress": False}
    rs.compute_map(ocean, product("gse"), YEAR, out=tmp_path / "map.zarr", **ask)
    status = rs.status(tmp_path / "map.zarr")
    assert {code for counts in status.counts.values() for code in counts} == {Status.NO_DATA}
    assert "no tile of 2024" in status.failures[0].reason


def test_a_plan_of_published_vectors_counts_pixels_and_no_windows_twice(product):
    plan = rs.plan_map(TILE, [product("gse"), "bandstats"], YEAR, provider="synthetic")
    (one,) = (one for one in plan.models if one.label == "gse")
    assert (one.window, one.stride, one.block, one.token_m, one.dim) == (1, 1, 256, 10.0, 64)
    assert one.inference == 1
    assert [figures.labels for figures in plan.reads] == [("gse",), ("bandstats",)]
    assert any(what.startswith("gse from http") for figures in plan.reads for what in figures.what)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("gse", {"fetch": rs.FetchSpec(resolution_m=20)}, "published for pixels of 10 m"),
        ("gse", {"crs": "EPSG:3035"}, "UTM zones"),
        ("gse", {"dims": 16}, "not trained for that"),
        ("gse", {"output": "pooled"}, "output"),
    ],
)
def test_vectors_are_not_resampled(product, name, change, match):
    with pytest.raises(rs.RsEmbedError, match=match):
        rs.plan_map(TILE, product(name), YEAR, provider="synthetic", **change)


def test_their_own_resolution_may_be_named(product):
    assert rs.plan_map(TILE, product("gse"), YEAR, provider="synthetic", fetch=rs.FetchSpec(resolution_m=10)).models


def test_a_refusal_comes_before_a_store(product, tmp_path):
    with pytest.raises(PlanError, match="resampled"):
        rs.compute_map(TILE, product("gse"), YEAR, out=tmp_path / "map.zarr", provider="synthetic", crs="EPSG:3035")
    assert not (tmp_path / "map.zarr").exists()
