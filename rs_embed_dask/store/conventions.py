"""The Zarr conventions that let other programs read a store: ``geoemb:``, ``proj:``, ``spatial:``, ``multiscales``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pyproj import CRS

from rs_embed_dask.store.receipt import package_version, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rs_embed_dask.store.layout import ModelLayout
    from rs_embed_dask.store.map_layout import MapGroup, MapLayout

__all__ = [
    "cf_attrs",
    "geoemb_attrs",
    "items_attrs",
    "level_attrs",
    "map_group_attrs",
    "map_model_attrs",
    "model_attrs",
    "proj_attrs",
    "pyramid_attrs",
    "spatial_attrs",
]

_RAW: Final = "https://raw.githubusercontent.com"
_REGISTERED: Final = {
    "geoemb": {
        "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
        "name": "geoemb:",
        "schema_url": f"{_RAW}/geo-embeddings/embeddings-zarr-convention/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    },
    "proj": {
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "schema_url": f"{_RAW}/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    },
    "spatial": {
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial",
        "schema_url": f"{_RAW}/zarr-conventions/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    },
    "multiscales": {
        "uuid": "d35379db-88df-4056-af3a-620245f8e347",
        "name": "multiscales",
        "schema_url": f"{_RAW}/zarr-conventions/multiscales/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    },
}
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:\S+")
_CODE: Final = re.compile(r"[A-Z]+:[0-9]+")
_COORDINATES: Final = "id lon lat start end"
_OF_LEVELS: Final = ("spatial:transform", "spatial:shape")
_ZONE: Final = re.compile(r"utm\d\d|ups_[ns]")


def _registered(*names: str) -> dict[str, Any]:
    return {"zarr_conventions": [dict(_REGISTERED[name]) for name in names]}


def geoemb_attrs(layout: ModelLayout | MapLayout) -> dict[str, Any]:
    """Describe a model's embeddings by the ``geoemb:`` convention."""
    facts = layout.attrs
    chip = _chip_px(layout)
    is_pixel = layout.grid_shape is not None and chip == [1, 1]
    attrs: dict[str, Any] = {
        "geoemb:type": "pixel" if is_pixel else "chip",
        "geoemb:dimensions": layout.dim,
        "geoemb:model": _model_uri(layout),
        "geoemb:source_data": list(facts.get("source_data") or ["urn:rs-embed-dask:source:unknown"]),
        "geoemb:data_type": layout.dtype,
        "geoemb:build_version": f"rs-embed-dask {package_version() or 'unknown'}",
    }
    if facts.get("gsd_m"):
        attrs["geoemb:gsd"] = float(facts["gsd_m"])
    if not is_pixel:
        kind = "irregular" if layout.grid_shape is None else "regular_grid"
        attrs["geoemb:chip_layout"] = {"layout_type": kind, "chip_size": chip}
    return attrs


def _model_uri(layout: ModelLayout | MapLayout) -> str:
    """Find a reference to the model: its own, its source or its paper."""
    card = layout.attrs.get("card") or {}
    for uri in (layout.attrs.get("model_url"), card.get("source"), card.get("paper")):
        if isinstance(uri, str) and _URI.fullmatch(uri):
            return uri
    return f"urn:rs-embed-dask:model:{layout.label}"


def _chip_px(layout: ModelLayout | MapLayout) -> list[int]:
    """Return how many pixels one vector describes: a patch for a grid's token, the network's input for a vector."""
    card = layout.attrs.get("card") or {}
    inputs = (card.get("inputs") or [{}])[0]
    side = inputs.get("size_px") if layout.grid_shape is None else card.get("patch_px")
    return [int(one) for one in layout.attrs.get("chip_px") or (side or 1, side or 1)]


def proj_attrs(crs: str) -> dict[str, Any]:
    """Name a CRS by the ``proj:`` convention: by its code, or as WKT2 where it has none."""
    if _CODE.fullmatch(crs):
        return {"proj:code": crs}
    return {"proj:wkt2": CRS.from_user_input(crs).to_wkt()}


def spatial_attrs(transform: tuple[float, ...], shape: tuple[int, int]) -> dict[str, Any]:
    """Describe a north-up grid by the ``spatial:`` convention."""
    a, b, c, d, e, f = (float(value) for value in transform)
    rows, columns = shape
    xs = [c + a * x + b * y for x in (0, columns) for y in (0, rows)]
    ys = [f + d * x + e * y for x in (0, columns) for y in (0, rows)]
    return {
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": [a, b, c, d, e, f],
        "spatial:shape": [int(rows), int(columns)],
        "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
        "spatial:registration": "pixel",
    }


def items_attrs() -> dict[str, Any]:
    """Attributes of ``/items``: footprints in longitude and latitude."""
    return {"coordinates": _COORDINATES, **_registered("proj"), **proj_attrs("EPSG:4326")}


def model_attrs(layout: ModelLayout) -> dict[str, Any]:
    """Attributes of a model's group: the conventions, and under ``model`` every fact about the model."""
    # A store's items lie in many UTM zones, so a grid's CRS and affine are arrays along ``item`` (``crs``,
    # ``transform``) and the group marks this by ``spatial:transform_type``.
    attrs: dict[str, Any] = {"coordinates": _COORDINATES}
    if layout.grid_shape is None:
        attrs |= _registered("geoemb")
    else:
        attrs |= _registered("geoemb", "spatial")
        attrs |= {"spatial:dimensions": ["y", "x"], "spatial:transform_type": "per_item_affine"}
    described: dict[str, Any] = plain(attrs | geoemb_attrs(layout) | {"model": layout.attrs})
    return described


_QUANTIZED: Final = {
    "method": "per_pixel_scale",
    "original_dtype": "float32",
    "quantized_dtype": "int8",
    "scale": {"type": "array", "array_name": "scale"},
}


def _map_attrs(layout: MapLayout) -> dict[str, Any]:
    quantized = {"geoemb:quantization": _QUANTIZED} if layout.dtype == "int8" else {}
    return geoemb_attrs(layout) | quantized


def map_model_attrs(layout: MapLayout, groups: Iterable[str]) -> dict[str, Any]:
    """Attributes of a model's group in a map, and under ``model`` all that is known of the model."""
    zones = all(_ZONE.fullmatch(group) for group in groups)
    spread = {"geoemb:spatial_layout": "utm_zones"} if zones else {}
    described: dict[str, Any] = plain(_registered("geoemb") | _map_attrs(layout) | spread | {"model": layout.attrs})
    return described


def map_group_attrs(layout: MapLayout, group: MapGroup) -> dict[str, Any]:
    """Attributes of one group of a map's arrays: the conventions, with where the arrays lie."""
    where = proj_attrs(group.crs) | spatial_attrs(group.transform, group.shape)
    described: dict[str, Any] = plain(_registered("geoemb", "proj", "spatial") | _map_attrs(layout) | where)
    return described


def level_attrs(group: MapGroup) -> dict[str, Any]:
    """Attributes of one zoom of a pyramid: where it lies."""
    where = proj_attrs(group.crs) | spatial_attrs(group.transform, group.shape)
    described: dict[str, Any] = plain(_registered("proj", "spatial") | where)
    return described


def pyramid_attrs(levels: Sequence[MapGroup]) -> dict[str, Any]:
    """Attributes of a pyramid, the finest zoom first, whose arrays are (time, band, y, x)."""
    where = spatial_attrs(levels[0].transform, levels[0].shape)
    layout: list[dict[str, Any]] = []
    for level, finer in zip(levels, [None, *levels], strict=False):
        # A scale has a number for every axis of the arrays, which GDAL insists on.
        half = 1.0 if finer is None else 2.0
        own = {name: spatial_attrs(level.transform, level.shape)[name] for name in _OF_LEVELS}
        derived = {} if finer is None else {"derived_from": finer.group}
        layout.append({"asset": level.group, **derived, "transform": {"scale": [1.0, 1.0, half, half]}, **own})
    attrs = _registered("multiscales", "proj", "spatial") | proj_attrs(levels[0].crs)
    attrs |= {name: value for name, value in where.items() if name not in _OF_LEVELS}
    described: dict[str, Any] = plain(attrs | {"multiscales": {"layout": layout, "resampling_method": "average"}})
    return described


def cf_attrs(crs: str, transform: tuple[float, ...]) -> dict[str, Any]:
    """Attributes of CF's grid mapping variable, with GDAL's affine."""
    a, b, c, d, e, f = transform
    named: dict[str, Any] = plain(CRS.from_user_input(crs).to_cf())
    return named | {"spatial_ref": named["crs_wkt"], "GeoTransform": f"{c} {a} {b} {f} {d} {e}"}
