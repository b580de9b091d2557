"""Cubes written to Zarr, and what may be reached on the way (R16, R23, R24)."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import xarray as xr
import zarr

from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.providers import load
from rs_embed_dask.specs.fetch import FetchSpec
from rs_embed_dask.specs.when import TemporalSpec
from tests.providers.earth_truth import DAYS, read, spot
from tests.services.earth import world

pytestmark = pytest.mark.filterwarnings("ignore:The data type")  # zarr's, of texts
FRAMES = Frames("fixed", n=3).spans(TemporalSpec.range("2022-06-01", "2022-07-01"))


@pytest.fixture
def written(earth, tmp_path):
    """A cube in a Zarr store, and the same in memory."""
    earth.serve(*(world.s2("brussels", day, holes=9) for day in DAYS))
    wanted = read(spot(), ("red", "swir16"), FetchSpec(mask="scl", composite="mosaic"), frames=FRAMES)
    earth.provider().cube(wanted).to_zarr(tmp_path / "cube.zarr", consolidated=False)
    return tmp_path / "cube.zarr", load(earth.provider(), wanted)


def test_r16_the_raw_numbers_of_a_store_are_the_pixels(written):
    path, cube = written
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(group["pixels"][:], cube.values)
    np.testing.assert_array_equal(group["n_obs"][:], cube.n_obs)
    assert group["pixels"].dtype == np.float32
    assert {"scale_factor", "add_offset"} & set(group["pixels"].attrs) == set()


def test_r23_a_store_says_where_when_and_how(written):
    path, cube = written
    with xr.open_zarr(path, consolidated=False) as opened:
        said = opened.attrs
        assert (said["collection"], said["composite"], said["mask"]) == (world.S2, "mosaic", "scl")
        assert said["crs"] == "EPSG:32631"
        assert tuple(said["transform"]) == cube.read.grid.transform
        assert said["orbit"] == ""
        edges = opened.frame_edges.values.astype("datetime64[D]")
        assert [tuple(row) for row in edges.astype(object)] == [(span.start, span.end) for span in FRAMES]
        np.testing.assert_array_equal(opened.x, cube.read.grid.xs)
        np.testing.assert_array_equal(opened.y, cube.read.grid.ys)
        assert "32631" in opened.spatial_ref.attrs["crs_wkt"]
        assert opened.pixels.attrs["grid_mapping"] == "spatial_ref"


def test_r23_radar_says_its_orbit_and_domain(earth):
    wanted = read(spot(), ("vv",), sensor="sentinel-1-grd")
    said = earth.provider(orbit="descending").cube(wanted).attrs
    assert (said["orbit"], said["composited_in"], said["collection"]) == ("descending", "power", world.S1_FLOAT)
    assert earth.provider().cube(wanted).attrs["orbit"] == "any"


def test_r24_nothing_but_loopback_is_reached(earth, new_session, monkeypatch):
    """From a fresh session to pixels, every address that is looked up or connected to is this machine's."""
    reached = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def noted(self, address):
        reached.append(address[0])
        return connect(self, address)

    def named(host, *args, **kwargs):
        reached.append(host)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", noted)
    monkeypatch.setattr(socket, "getaddrinfo", named)
    earth.serve(world.s2("brussels", DAYS[0]))
    assert np.isfinite(load(earth.provider(), read(spot(), ("red",))).values).all()
    assert set(reached) == {"127.0.0.1"}
