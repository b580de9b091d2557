"""Maps as STAC: valid by STAC's own schemas and by the embeddings extension's, with footprints on the ground."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pystac
import pytest
import shapely
from pystac.validation.stac_validator import JsonSchemaSTACValidator

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError
from rs_embed_dask.maps.lattice import lattice_for
from rs_embed_dask.specs.ground import WGS84, geodesic_area, project
from rs_embed_dask.store.export.stac import EXTENSIONS
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import Asked
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_store import MapStore
from tests.store.export.conftest import COL, ROW
from tests.store.map_samples import BYTES, REQUEST, SIDE, TINY, TOKEN_M, YEAR, fill_map, group_of, make_map

TYPES = ["int8", "int16", "uint8", "uint16", "float16", "float32", "float64"]
QUANTIZATION = {
    "type": "object",
    "required": ["method", "original_dtype"],
    "properties": {
        "method": {"type": "string"},
        "original_dtype": {"enum": TYPES},
        "quantized_dtype": {"enum": TYPES},
        "scale": {"type": "array", "items": {"type": "number"}},
        "offset": {"type": "array", "items": {"type": "number"}},
        "link": {"type": "object"},
    },
    "additionalProperties": False,
}
CHIPS = {
    "type": "object",
    "required": ["layout_type"],
    "properties": {
        "layout_type": {"enum": ["regular_grid", "variable_grid", "named_grid"]},
        "chip_size": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
        "stride": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
    },
}
FIELDS = {
    "emb:type": {"enum": ["pixel", "chip"]},
    "emb:dimensions": {"type": "integer", "minimum": 1},
    "data_type": {"enum": TYPES},
    "gsd": {"type": "number", "exclusiveMinimum": 0},
    "emb:chip_layout": CHIPS,
    "emb:quantization": QUANTIZATION,
    "emb:runtime_parameters": {"type": "object"},
}
REQUIRED = ["emb:type", "emb:dimensions", "data_type"]


def has_link(relation):
    return {"contains": {"properties": {"rel": {"const": relation}}, "required": ["rel", "href"]}}


EMBEDDINGS = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": EXTENSIONS[0],
    "if": {"properties": {"type": {"const": "Collection"}}},
    "then": {
        "required": [*REQUIRED, "license", "extent"],
        "properties": FIELDS | {"links": {"allOf": [has_link("emb:model"), has_link("emb:source-data")]}},
        "patternProperties": {"^emb:(?!(type|dimensions|chip_layout|quantization)$)": False},
    },
    "else": {
        "properties": {
            "properties": {
                "required": REQUIRED,
                "properties": FIELDS,
                "patternProperties": {"^emb:(?!(type|dimensions|chip_layout|quantization|runtime_parameters)$)": False},
            },
            "assets": {"required": ["embeddings"]},
        }
    },
}
"""The rules of the embeddings extension 0.0.1, in our words."""

PROJECTION = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": EXTENSIONS[1],
    "properties": {
        "properties": {
            "anyOf": [{"required": ["proj:code"]}, {"required": ["proj:wkt2"]}],
            "properties": {
                "proj:code": {"type": "string", "pattern": "^[A-Z]+:[0-9]+$"},
                "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                "proj:transform": {"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 9},
            },
            "patternProperties": {"^proj:(?!(code|wkt2|shape|transform)$)": False},
        }
    },
}
"""The rules of the projection extension 2.0.0 for the fields that are used here, in our words."""


@pytest.fixture(scope="module")
def validator():
    """STAC's own schemas, which come with pystac, and those above; nothing is fetched."""
    one = JsonSchemaSTACValidator()
    one.schema_cache |= {EXTENSIONS[0]: EMBEDDINGS, EXTENSIONS[1]: PROJECTION}
    return one


def items_of(catalogue):
    return {one.id: one for one in catalogue.get_items(recursive=True)}


def test_everything_that_is_written_is_valid(wide, tmp_path, validator):
    rs.to_stac(wide, tmp_path, license="CC-BY-4.0")
    files = sorted(tmp_path.rglob("*.json"))
    found = [json.loads(one.read_text()) for one in files]
    assert sorted(one["type"] for one in found) == ["Catalog", "Collection", *["Feature"] * 23]
    for one in files:
        assert pystac.read_file(str(one)).validate(validator), one
    assert not any("/tmp/" in link["href"] for one in found for link in one["links"])


def test_the_schema_sees_what_is_wrong(wide, validator):
    item = next(iter(items_of(rs.to_stac(wide)).values()))
    item.properties["emb:dimensions"] = "four"
    with pytest.raises(pystac.STACValidationError):
        item.validate(validator)
    item.properties["emb:dimensions"] = 4
    item.properties["emb:patch_layout"] = {}
    with pytest.raises(pystac.STACValidationError):
        item.validate(validator)
    with pytest.raises(jsonschema.ValidationError, match="is not one of"):
        jsonschema.validate({"type": "Collection", "emb:type": "patch"}, {"properties": FIELDS})


def test_a_collection_per_model_and_an_item_per_block_and_span_with_vectors(wide):
    catalogue = rs.to_stac(wide, license="CC-BY-4.0")
    (collection,) = catalogue.get_children()
    assert (collection.id, collection.license) == ("wide", "CC-BY-4.0")
    assert {one.rel: one.target for one in collection.links if one.rel.startswith("emb:")} == {
        "emb:model": "https://example.org/wide",
        "emb:source-data": "https://example.org/s2",
    }
    assert collection.extra_fields == {"emb:type": "pixel", "emb:dimensions": 4, "data_type": "float16", "gsd": 10.0}
    items = items_of(catalogue)
    first = {name for name in items if "utm31_2021" in name}
    assert first == {
        f"wide_utm31_2021-01-01_{ROW + r}_{COL + c}" for r in range(2) for c in range(3) if (r, c) != (0, 1)
    }
    assert len(items) == 23
    start, end = collection.extent.temporal.intervals[0]
    assert (start.isoformat(), end.isoformat()) == ("2021-01-01T00:00:00+00:00", "2022-12-31T23:59:59+00:00")


def test_an_item_says_where_its_block_lies(wide):
    item = items_of(rs.to_stac(wide, href="s3://bucket/map.zarr/"))[f"wide_utm32_2022-01-01_{ROW + 1}_{COL + 2}"]
    asset = item.assets["embeddings"]
    assert asset.href == "s3://bucket/map.zarr/wide/utm32"
    rows, cols = slice(128 * (ROW + 1), 128 * (ROW + 2)), slice(128 * (COL + 2), 128 * (COL + 3))
    assert f"rows {rows.start}:{rows.stop}, columns {cols.start}:{cols.stop} of embedding" in asset.description
    array = MapStore.open(wide).array("wide/utm32/embedding")
    assert array[1, 0, rows.start, cols.start] == 0.0, "row 128 of the map, less 128"
    left, top = 160_000 + cols.start * 10.0, 9_400_320 - rows.start * 10.0
    assert item.properties["proj:transform"] == [10.0, 0.0, left, 0.0, -10.0, top]
    assert (item.properties["proj:code"], item.properties["proj:shape"]) == ("EPSG:32632", [128, 128])
    outline = shapely.geometry.shape(item.geometry)
    assert geodesic_area(outline) == pytest.approx(1280.0**2, rel=1e-3)
    assert outline.exterior.is_ccw
    (lon,), (lat,) = project("EPSG:32632", WGS84, [left + 640], [top - 640])
    assert outline.centroid.distance(shapely.Point(lon, lat)) < 1e-4
    assert (item.properties["start_datetime"], item.properties["end_datetime"]) == (
        "2022-01-01T00:00:00Z",
        "2022-12-31T23:59:59Z",
    )


def test_facts_of_the_run_are_told(tmp_path, validator):
    told = replace(TINY, attrs=TINY.attrs | {"window": 12, "stride": 11})
    store = make_map(tmp_path / "m", layouts=(told, BYTES), blocks=BlockSet.of([(82, 10)]))
    fill_map(store)
    store.update_receipt(weights={"tiny": {"random": True}}, positions={"tiny": {"statement": "positions kept"}})
    catalogue = rs.to_stac(tmp_path / "m")
    by_model = {one.collection_id: one for one in catalogue.get_items(recursive=True)}
    tiny, codes = by_model["tiny"].properties, by_model["bytes"].properties
    assert tiny["emb:runtime_parameters"] == {
        "window": 12,
        "stride": 11,
        "positions": "positions kept",
        "random_weights": True,
    }
    assert tiny["emb:chip_layout"] == {"layout_type": "regular_grid", "chip_size": [8, 8]}
    assert codes["data_type"] == "int8"
    assert codes["emb:quantization"] == {
        "method": "per_pixel_scale",
        "original_dtype": "float32",
        "quantized_dtype": "int8",
    }
    catalogue.normalize_hrefs("/stac")
    for one in (*catalogue.get_children(), *by_model.values()):
        assert one.validate(validator)


def block_at(group, lon, lat):
    lattice = lattice_for(group, TOKEN_M, SIDE)
    (x,), (y,) = project(WGS84, lattice.crs, [lon], [lat])
    row, col = lattice.index(x, y)
    return row // SIDE, col // SIDE


@pytest.mark.parametrize(
    ("group", "lon", "lat"),
    [("utm01", -179.99, 5.0), ("utm60", 179.99, -5.0), ("utm31", 5.99, 50.0), ("utm32", 6.01, 50.0)],
)
def test_a_footprint_ends_where_its_zone_does(tmp_path, group, lon, lat):
    store = make_map(tmp_path / "m", groups=(group,), blocks=BlockSet.of([block_at(group, lon, lat)]))
    fill_map(store)
    (item,) = rs.to_stac(tmp_path / "m").get_items(recursive=True)
    outline = shapely.geometry.shape(item.geometry)
    assert outline.covers(shapely.Point(lon, lat))
    west = 6.0 * (int(group[3:]) - 1) - 180.0
    assert west <= item.bbox[0] < item.bbox[2] <= west + 6.0
    assert lon + 0.02 > item.bbox[2] or lon - 0.02 < item.bbox[0]


def test_the_antimeridian_and_a_pole(tmp_path):
    path = tmp_path / "m"
    store = make_map(path, groups=("ups_n",), blocks=BlockSet.of([block_at("ups_n", 0.0, 90.0)]))
    side = {group_of("utm60"): [block_at("utm60", 179.99, 5.0)], group_of("utm01"): [block_at("utm01", -179.99, 5.0)]}
    fill_map(store)
    (pole,) = rs.to_stac(path).get_items(recursive=True)
    assert pole.bbox[0::2] == [-180.0, 180.0]
    assert 89.0 < pole.bbox[1] < 89.8
    assert pole.bbox[3] == 90.0
    across = MapStore.create(
        tmp_path / "n", [Asked(TINY, (YEAR,), {one: BlockSet.of(at) for one, at in side.items()})], request=REQUEST
    )
    fill_map(across)
    (collection,) = rs.to_stac(tmp_path / "n").get_children()
    west, _, east, _ = collection.extent.spatial.bboxes[0]
    assert 179.0 < west < 180.0
    assert -180.0 < east < -179.0


def test_what_has_no_address_or_was_cut_is_refused(wide):
    tree = open_map(wide)
    with pytest.raises(SpecError, match="href"):
        rs.to_stac(tree)
    assert len(items_of(rs.to_stac(tree, href="map.zarr"))) == 23
    cut = tree.copy()
    cut["wide/utm31"] = tree["wide/utm31"].to_dataset().isel(y=slice(10, 100))
    with pytest.raises(SpecError, match="cut"):
        rs.to_stac(cut, href="map.zarr")
