"""The attributes satisfy the conventions' own schemas: the rules are written out here as the schemas state them."""

from __future__ import annotations

import pytest
import xarray as xr

from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.specs import PointBuffer
from rs_embed_dask.store import ModelLayout
from rs_embed_dask.store.conventions import geoemb_attrs, items_attrs, model_attrs, proj_attrs, spatial_attrs
from tests.store.samples import GRID, POOLED, make_store

UUIDS = {
    "geoemb:": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "proj:": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "spatial": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
}


def registered(attrs):
    return {one["name"]: one["uuid"] for one in attrs["zarr_conventions"]}


def test_pooled_vectors_are_chips():
    attrs = geoemb_attrs(POOLED)
    version = attrs.pop("geoemb:build_version")
    assert version.startswith("rs-embed-dask ")
    assert attrs == {
        "geoemb:type": "chip",
        "geoemb:dimensions": 5,
        "geoemb:model": "https://example.org/galileo",
        "geoemb:source_data": ["https://example.org/s2"],
        "geoemb:data_type": "float32",
        "geoemb:gsd": 10.0,
        "geoemb:chip_layout": {"layout_type": "irregular", "chip_size": [52, 52]},
    }


@pytest.mark.parametrize(("chip", "kind"), [((1, 1), "pixel"), ((16, 16), "chip")])
def test_grids_are_pixels_or_regular_chips(chip, kind):
    attrs = geoemb_attrs(ModelLayout("m", 3, (4, 4), attrs={"chip_px": chip}))
    assert attrs["geoemb:type"] == kind
    if kind == "chip":
        assert attrs["geoemb:chip_layout"] == {"layout_type": "regular_grid", "chip_size": [16, 16]}
    else:
        assert "geoemb:chip_layout" not in attrs


def test_what_is_not_known_is_a_urn_and_not_left_out():
    attrs = geoemb_attrs(ModelLayout("m", 3))
    assert attrs["geoemb:model"] == "urn:rs-embed-dask:model:m"
    assert attrs["geoemb:source_data"] == ["urn:rs-embed-dask:source:unknown"]
    assert "geoemb:gsd" not in attrs


def test_the_card_is_asked_where_nothing_else_is_said():
    card = {
        "source": "own code",
        "paper": "doi:10.1038/s41467-021-24638-z",
        "patch_px": 8,
        "inputs": [{"size_px": 224}],
    }
    grid = geoemb_attrs(ModelLayout("m", 3, (4, 4), attrs={"card": card}))
    assert grid["geoemb:model"] == "doi:10.1038/s41467-021-24638-z"
    assert grid["geoemb:chip_layout"]["chip_size"] == [8, 8]
    pooled = geoemb_attrs(ModelLayout("m", 3, attrs={"card": card}))
    assert pooled["geoemb:chip_layout"]["chip_size"] == [224, 224]


def test_each_group_registers_what_it_uses():
    assert registered(items_attrs()) == {"proj:": UUIDS["proj:"]}
    assert registered(model_attrs(POOLED)) == {"geoemb:": UUIDS["geoemb:"]}
    assert registered(model_attrs(GRID)) == {name: UUIDS[name] for name in ("geoemb:", "spatial")}
    assert model_attrs(GRID)["spatial:dimensions"] == ["y", "x"]
    assert model_attrs(GRID)["spatial:transform_type"] == "per_item_affine"


def test_they_reach_the_store(tmp_path):
    make_store(tmp_path / "s")
    attrs = xr.open_zarr(tmp_path / "s", group="galileo").attrs
    assert attrs["geoemb:dimensions"] == 5
    assert attrs["model"]["card"] == {"id": "galileo"}
    assert xr.open_zarr(tmp_path / "s", group="items").attrs["proj:code"] == "EPSG:4326"


def test_a_crs_is_a_code_where_it_has_one():
    assert proj_attrs("EPSG:32631") == {"proj:code": "EPSG:32631"}
    polar = grid_for(PointBuffer(lon=10, lat=85, buffer_m=500), 10).crs
    (key, wkt) = next(iter(proj_attrs(polar).items()))
    assert key == "proj:wkt2"
    assert wkt.startswith("PROJCRS[")


def test_a_grid_is_described_as_it_lies():
    attrs = spatial_attrs((10.0, 0.0, 500_000.0, 0.0, -10.0, 5_600_000.0), (20, 30))
    assert attrs == {
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": [10.0, 0.0, 500_000.0, 0.0, -10.0, 5_600_000.0],
        "spatial:shape": [20, 30],
        "spatial:bbox": [500_000.0, 5_599_800.0, 500_300.0, 5_600_000.0],
        "spatial:registration": "pixel",
    }
