"""A run without a store is exported as the same run in one: same values, ids, order and places in every format."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError
from rs_embed_dask.store.export import FORMATS

SUMMER = rs.TemporalSpec.range("2022-07-01", "2022-08-01")
PLACES = gpd.GeoDataFrame(
    {"crop": ["maize", "wheat", "maize"]},
    geometry=gpd.points_from_xy([4.52, 4.50, 4.51], [50.7] * 3),
    crs="EPSG:4326",
    index=["c", "a", "b"],
)
HREF = "https://example.org/run.zarr"


@pytest.fixture
def both(threads_client, tmp_path):
    """``both("pooled")`` is a run in memory, and the path of the same run in a store."""

    def computed(output):
        given = {"provider": rs.open_provider("synthetic", cloud=0.0), "progress": False, "client": threads_client}
        given |= {"buffer_m": 160, "output": output}
        path = tmp_path / "run.zarr"
        rs.compute_embeddings(PLACES, ["bandstats", "rcf"], SUMMER, out=path, **given)
        return rs.compute_embeddings(PLACES, ["bandstats", "rcf"], SUMMER, **given), str(path)

    return computed


def npz(path):
    with np.load(path) as arrays:
        told = json.loads(path.with_suffix(".json").read_text("utf-8"))
        told = {name: value for name, value in told.items() if name != "created_at" and not name.endswith("_path")}
        return {name: arrays[name].tolist() for name in arrays.files}, told


def netcdf(path):
    with xr.open_datatree(path) as tree:
        return {
            f"{group.path}/{name}": variable.load().to_numpy().tolist()
            for group in tree.subtree
            for name, variable in group.dataset.variables.items()
        }


def catalogue(path):
    items = pystac.Catalog.from_file(str(path / "catalog.json")).get_items(recursive=True)
    return {item.id: (item.geometry, item.bbox, item.properties, item.assets["embeddings"].href) for item in items}


def rasters(path):
    told = {}
    for file in sorted(path.iterdir()):
        with rasterio.open(file) as image:
            told[file.name] = image.read().tolist(), tuple(image.transform), image.crs.to_string(), image.descriptions
    return told


VECTORS = {
    "geoparquet": ("run.parquet", {}, lambda path: gpd.read_parquet(path).to_wkt().to_dict("list")),
    "netcdf": ("run.nc", {}, netcdf),
    "neuco-csv": ("run.csv", {"model": "rcf"}, lambda path: path.read_text("utf-8")),
    "rs-embed": ("run.npz", {}, npz),
    "stac": ("stac", {"href": HREF}, catalogue),
}
GRIDS = {
    "cog": ("grids", {"dims": "all"}, rasters),
    "netcdf": VECTORS["netcdf"],
    "rs-embed": VECTORS["rs-embed"],
    "stac": VECTORS["stac"],
}


def plain(told):
    """What was read, as text in which NaN equals NaN."""
    return repr(told).replace("'nan'", "nan")


@pytest.mark.parametrize(("output", "formats"), [("pooled", VECTORS), ("grid", GRIDS)])
def test_every_export_of_a_run_in_memory_is_that_of_its_store(both, tmp_path, output, formats):
    run, path = both(output)
    assert run["items"]["item"].to_numpy().tolist() == ["c", "a", "b"]
    for name, (file, options, read) in formats.items():
        told = []
        for number, source in enumerate((run, path)):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            rs.export(source, name, folder / file, **options)
            told.append(read(folder / file))
        assert plain(told[0]) == plain(told[1]), name
        assert len(plain(told[0])) > 100, name
    if output == "pooled":
        assert rs.to_dataframe(run).equals(rs.to_dataframe(path))
        assert rs.to_geodataframe(run).equals(rs.to_geodataframe(path))
        with pytest.raises(SpecError, match=r"a run or map in memory has no address.*href="):
            rs.to_stac(run)


def test_every_format_is_compared():
    assert VECTORS.keys() | GRIDS.keys() == FORMATS.keys()
