"""The landscape as a catalogue, and the demo on the service that serves it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import xarray as xr

from rs_embed_dask.store import Status
from tests.services.demo import serve_and_walk
from tests.services.landscape_catalog import Landscape


def test_tiles_cover_the_square_once():
    landscape = Landscape(side=6)
    grids = [tile.grid(10.0) for tile in landscape.tiles()]
    assert [grid.shape for grid in grids] == [(256, 256), (256, 128), (128, 256), (128, 128)]
    assert sum(grid.shape[0] * grid.shape[1] for grid in grids) == (6 * 64) ** 2
    assert {tile.name for tile in landscape.tiles()} == {"31UF00", "31UF04", "31UF40", "31UF44"}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("landscape") / "catalogue"
    return root, Landscape(side=2).write(root)


def test_scenes_are_delivered_as_an_agency_does(catalogue):
    root, count = catalogue
    items = json.loads((root / "items.json").read_text("utf-8"))["features"]
    assert len(items) == count == 12
    assert set(items[0]["assets"]) == {"B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL"}
    properties = items[0]["properties"]
    assert properties["s2:processing_baseline"] == "05.10"
    assert 0 <= properties["eo:cloud_cover"] <= 100


def test_the_corner_beyond_the_swath_is_empty(catalogue):
    root, _ = catalogue
    landscape = Landscape(side=2)
    for path in sorted(root.rglob("*.tif"))[:22]:
        with rasterio.open(path) as file:
            values = file.read(1)
            assert file.nodata == 0
            assert file.res[0] in {10.0, 20.0}
            assert (file.bounds.left, file.bounds.top) == (landscape.extent[0], landscape.extent[3])
        assert values[-1, -1] == 0
        assert (values[: values.shape[0] // 2] > 0).all()
        assert np.mean(values == 0) == pytest.approx(0.28**2 / 2, abs=0.01)


@pytest.mark.timeout(240)
def test_the_whole_walk_on_the_service(tmp_path, capsys):
    assert serve_and_walk(tmp_path, side=3) == 0
    output = capsys.readouterr().out
    for words in ("SIGKILL to worker", "nothing was lost: every item is decided", "requests answered"):
        assert words in output
    assert (tmp_path / "demo.png").stat().st_size < 300_000
    with xr.open_datatree(tmp_path / "demo.zarr", engine="zarr") as tree:
        for label, dim in (("rcf", 512), ("bandstats", 90)):
            group = tree[label].ds
            assert group["embedding"].shape == (9, dim, 16, 16)
            assert set(group["status"].values) <= {Status.OK, Status.PARTIAL}
            assert np.isfinite(group["embedding"].values[:8, :, 0, 0]).all()
