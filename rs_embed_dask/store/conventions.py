"""The Zarr conventions that let other programs read a store: ``geoemb:``, ``proj:`` and ``spatial:``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pyproj import CRS

from rs_embed_dask.store.receipt import package_version, plain

if TYPE_CHECKING:
    from rs_embed_dask.store.layout import ModelLayout

__all__ = ["geoemb_attrs", "items_attrs", "model_attrs", "proj_attrs", "spatial_attrs"]

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
}
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:\S+")
_CODE: Final = re.compile(r"[A-Z]+:[0-9]+")
_COORDINATES: Final = "id lon lat start end"


def _registered(*names: str) -> dict[str, Any]:
    return {"zarr_conventions": [dict(_REGISTERED[name]) for name in names]}


def geoemb_attrs(layout: ModelLayout) -> dict[str, Any]:
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


def _model_uri(layout: ModelLayout) -> str:
    """Find a reference to the model: its own, its source or its paper."""
    card = layout.attrs.get("card") or {}
    for uri in (layout.attrs.get("model_url"), card.get("source"), card.get("paper")):
        if isinstance(uri, str) and _URI.fullmatch(uri):
            return uri
    return f"urn:rs-embed-dask:model:{layout.label}"


def _chip_px(layout: ModelLayout) -> list[int]:
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
