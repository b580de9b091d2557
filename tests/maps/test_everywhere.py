"""Maps anywhere on Earth: every token centre once and no gap; and in every precision, by the rules of each."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.region import Region
from rs_embed_dask.store import MapStore, Status

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-06-12")
MODEL = {"id": "bandstats", "options": {"bands": ("red", "nir"), "patch_px": 2}}
TOKEN_M = 20.0


@pytest.fixture(scope="module")
def clear():
    return rs.open_provider("synthetic", cloud=0.0)


def made(place, client, out, provider, **options):
    ask = {"provider": provider, "client": client, "progress": False, "preview": False, "dtype": "float32"} | options
    return rs.compute_map(place, MODEL, SPAN, out=out, **ask)["bandstats"]


@pytest.mark.parametrize(
    ("place", "groups"),
    [
        (rs.BBox(18.41, -33.93, 18.42, -33.925), ("utm34",)),
        (rs.BBox(23.996, -33.93, 24.004, -33.925), ("utm34", "utm35")),
        (rs.BBox(-59.52, -64.78, -59.51, -64.776), ("utm21",)),
        (rs.BBox(10.0, 83.997, 10.03, 84.003), ("ups_n", "utm32")),
        (rs.BBox(10.0, -80.003, 10.02, -79.997), ("ups_s", "utm32")),
        (rs.BBox(-60.0, 87.0, -59.9, 87.004), ("ups_n",)),
        (rs.BBox(139.0, -85.004, 139.05, -85.0), ("ups_s",)),
    ],
    ids=["south", "south-border", "antarctic-peninsula", "84-north", "80-south", "far-north", "far-south"],
)
def test_each_token_centre_is_there_once_without_a_gap(threads_client, tmp_path, clear, place, groups):
    tree = made(place, threads_client, tmp_path / "map.zarr", clear)
    assert tuple(sorted(tree.children)) == groups
    area = 0.0
    for name in groups:
        field = tree[name]
        there = np.isfinite(field.embedding.values[0]).all(0)
        covered = field.coverage.values > 0
        owner = Region.of(place).lattices(TOKEN_M, 64, "utm")
        lattice = next(one for one in owner if one.group == name)
        row, col = lattice.index(float(field.x[0]), float(field.y[0]))
        owned = lattice.owned(_rect(row, col, field.sizes))
        # The tree is cropped to a rectangle, of which a region that lies askew leaves some blocks out.
        decided = np.kron(field.status.values[0] != Status.PENDING, np.ones((64, 64), bool))
        np.testing.assert_array_equal(there, owned & decided)
        assert (there[covered & owned]).all()
        area += float((field.coverage.values * owned).sum()) * TOKEN_M**2 / _scale(lattice, field)
        if place.maxlat < 0 and name.startswith("utm"):
            assert (field.y.values < 0).all()  # the northern projection, with negative northings
    # Along a border of groups tokens belong by their centres: half a token of 380 m or more in 0.2 square kilometres.
    assert area == pytest.approx(Region.of(place).area_m2, rel=5e-3 if len(groups) == 1 else 2e-2)


def _rect(row, col, sizes):
    from rs_embed_dask.maps.lattice import Rect

    return Rect(row, col, row + sizes["y"], col + sizes["x"])


def _scale(lattice, field):
    """How much larger an area is in the projection than on the ground: the factors of a projection in its middle."""
    from pyproj import CRS, Proj

    x, y = float(field.x.mean()), float(field.y.mean())
    lon, lat = Proj(lattice.crs)(x, y, inverse=True)
    return Proj(CRS(lattice.crs)).get_factors(lon, lat).areal_scale


def test_the_same_ground_has_the_same_vectors_in_the_south_too(threads_client, tmp_path, clear):
    first = made(rs.BBox(18.40, -33.93, 18.42, -33.925), threads_client, tmp_path / "one.zarr", clear)
    second = made(rs.BBox(18.41, -33.928, 18.43, -33.92), threads_client, tmp_path / "two.zarr", clear)
    one, other = xr.align(first["utm34"].embedding[0], second["utm34"].embedding[0], join="inner")
    assert one.size >= one.sizes["dim"] * 64 * 64
    assert np.isfinite(one.values).all()
    np.testing.assert_allclose(one.values, other.values, rtol=1e-6, atol=1e-6)


def test_bytes_and_halves_hold_what_floats_do_within_their_steps(threads_client, tmp_path, clear):
    place = rs.BBox(18.41, -33.93, 18.42, -33.925)
    whole, half, codes = (
        made(place, threads_client, tmp_path / f"{name}.zarr", clear, dtype=name)["utm34"].embedding.values
        for name in ("float32", "float16", "int8")
    )
    there = np.isfinite(whole)
    for stored in (half, codes):
        np.testing.assert_array_equal(np.isfinite(stored), there)
    np.testing.assert_allclose(half[there], whole[there], rtol=2**-11, atol=2**-24)
    steps = np.abs(whole).max(axis=1, keepdims=True) / 127
    assert (np.abs(codes - whole) <= 0.5 * steps * 1.01 + 1e-7)[there].all()
    assert np.abs(codes - whole)[there].max() > 0
    store = MapStore.open(tmp_path / "int8.zarr")
    stored = store.array("bandstats/utm34/embedding")
    assert stored.dtype == np.int8
    assert stored.fill_value == -128
    (at, *_) = sorted(store.asked("bandstats", "utm34", 0))
    block = stored[0, :, at[0] * 64 : (at[0] + 1) * 64, at[1] * 64 : (at[1] + 1) * 64]
    assert set(np.abs(block.astype(int)).max(axis=0).ravel()) == {127}
    assert MapStore.open(tmp_path / "int8.zarr").receipt["losses"]["bandstats"]["mean"] > 0
    assert MapStore.open(tmp_path / "float32.zarr").receipt["losses"]["bandstats"]["worst"] == 0


def test_numbers_beyond_halves_end_the_run_with_the_way_out(threads_client, tmp_path, clear, monkeypatch):
    from rs_embed_dask.maps import writer

    encode = writer.encode
    monkeypatch.setattr(writer, "encode", lambda values, dtype: encode(values * np.float32(1e6), dtype))
    place = rs.BBox(18.41, -33.93, 18.412, -33.928)
    with pytest.raises(SpecError, match=r'float16 holds 65,504 at most.*dtype="float32"'):
        made(place, threads_client, tmp_path / "map.zarr", clear, dtype="float16")
    assert set(rs.status(tmp_path / "map.zarr").counts["bandstats"]) == {Status.PENDING}
