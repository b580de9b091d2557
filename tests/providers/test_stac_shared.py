"""Several reads of the same pixels: the numbers are those of each alone, the requests those of one."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from rs_embed_dask.errors import NoImageryError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import SharesReads, load, load_all
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.providers.stac.read import ReadAmplificationWarning
from rs_embed_dask.providers.tiff import TiffLimits
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.fixtures import forget_everything
from tests.services.scenes import grid, layer, s2_scene

JUNE = Span("2022-06-01", "2022-07-01")
HALVES = (Span("2022-06-01", "2022-06-16"), Span("2022-06-16", "2022-07-01"))
NOISE = np.random.default_rng(0).integers(1000, 6000, (600, 600))
WHERE = grid(size=30, offset=(500.0, 500.0))


def noisy(day, cloud):
    layers = [layer(band, np.roll(NOISE, day * 7 + k, 0)) for k, band in enumerate(("B02", "B03", "B04"))]
    return s2_scene(f"S2A_{day:02}", f"2022-06-{day:02}T10:00:00", bands=(), layers=layers, cloud=cloud)


def read(bands, frames, limit):
    return Read(WHERE, "sentinel-2-l2a", bands, frames, FetchSpec(max_cloud_pct=limit, mask="none"))


WANTED = (
    read(("blue", "red"), (JUNE,), 30),
    read(("red", "green"), HALVES, 80),
    read(("blue",), (JUNE,), 1),
)


def test_reads_together_are_the_reads_alone_at_the_requests_of_one(plain):
    service = plain(noisy(3, 10.0), noisy(13, 60.0), noisy(23, 20.0), noisy(27, 95.0))
    provider = StacProvider(service.url, source="planetary_computer")
    assert isinstance(provider, SharesReads)
    together = load_all(provider, WANTED)
    shared = service.counts()
    assert isinstance(together[2], NoImageryError)
    alone = []
    for one in WANTED[:2]:
        forget_everything()
        alone.append(load(provider, one))
    for one, both in zip(alone, together, strict=False):
        assert np.array_equal(one.values, both.values, equal_nan=True)
        assert np.array_equal(one.n_obs, both.n_obs)
        assert (one.scenes, one.dates) == (both.scenes, both.dates)
    assert together[0].scenes == ("S2A_03", "S2A_23")
    assert together[1].scenes == ("S2A_03", "S2A_13", "S2A_23")
    # three scenes of three bands, the clouded one's blue by nobody: each file at most twice
    assert 8 <= shared["range"] <= 18
    assert shared["range"] < service.counts()["range"] - shared["range"]
    assert sum(count for kind, count in shared.items() if kind.startswith("search")) == 1


def test_grids_of_other_pixels_share_the_search_and_the_bytes(plain):
    service = plain(noisy(3, 10.0), noisy(13, 20.0))
    provider = StacProvider(service.url, source="planetary_computer")
    fetch = FetchSpec(max_cloud_pct=30, mask="none")
    coarse = grid(size=12, pixel=30.0, offset=(480.0, 480.0))
    wanted = [Read(where, "sentinel-2-l2a", ("blue", "red"), (JUNE,), fetch) for where in (WHERE, coarse)]
    together = load_all(provider, wanted)
    asked = [(call.path, call.byte_range) for call in service.calls() if call.kind == "range"]
    assert len(asked) == len(set(asked)) <= 2 * 2 * 2
    assert service.counts()["search"] == 1
    forget_everything()
    alone = [load(provider, one) for one in wanted]
    assert service.counts()["search"] == 3
    for one, both in zip(alone, together, strict=True):
        assert np.array_equal(one.values, both.values, equal_nan=True)
        assert (one.scenes, one.values.shape) == (both.scenes, both.values.shape)
    # centres of 30 m pixels from 480 m on: each third 10 m pixel from the 49th on
    centres = [np.roll(NOISE, day * 7, 0)[49:85:3, 49:85:3] for day in (3, 13)]
    assert np.array_equal(together[1].values[0, 0], np.median(centres, axis=0))


@pytest.mark.parametrize("how", ["clearest", "median"])
def test_the_clearest_scene_of_a_large_grid_is_read_in_parts_as_any_other(plain, how):
    """A file whose blocks under the whole grid are more than one read may hold is read all the same, by others too."""
    values = np.random.default_rng(4).integers(1, 9000, (200, 200))
    service = plain(s2_scene("A", "2022-06-05T10:00:00", bands=(), scl=None, layers=[layer("B04", values)]))
    (tif,) = (service.root / "blobs").rglob("B04.tif")
    with rasterio.open(tif) as file:
        profile = file.profile | {"driver": "GTiff", "blockxsize": 64, "blockysize": 64}
    with rasterio.open(tif, "w", **profile) as file:
        file.write(values[None])
    limits = TiffLimits(read_bytes=9 * 64 * 64 * 2)  # of 16 blocks
    ours = StacProvider(service.url, source="planetary_computer", chunk_px=100, limits=limits)
    asked = grid(size=200, offset=(0.0, 0.0)), "sentinel-2-l2a", ("red",), (JUNE,)
    with pytest.warns(ReadAmplificationWarning):
        cubes = load_all(ours, [Read(*asked, FetchSpec(mask="none", composite=one)) for one in (how, "clearest")])
    for cube in cubes:
        np.testing.assert_array_equal(cube.values[0, 0], values)
