"""Embeddings of pixels that the user has: matched to a model by collection and bands."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask import specs as ours
from rs_embed_dask.compat.names import list_models
from rs_embed_dask.compat.records import UserData
from rs_embed_dask.compat.requests import Asked, How, ask, items_of, plans_of, results_of
from rs_embed_dask.compat.specs import InputPrepSpec, OutputSpec
from rs_embed_dask.embedding import Embedding
from rs_embed_dask.engine.local import embedding_of
from rs_embed_dask.errors import ModelError, RsEmbedError, SpecError
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers import open_provider

if TYPE_CHECKING:
    from rs_embed_dask.imagery.sensor_types import Sensor
    from rs_embed_dask.preprocess.inputs import Inputs

__all__ = ["get_embedding_from_data", "get_embeddings_batch_from_data", "list_models_for_data"]

_POOLED: Final = OutputSpec.pooled()
_COLLECTIONS: Final = {
    **dict.fromkeys(("s2", "s2_sr", "s2_l2a", "sentinel2", "sentinel_2"), "COPERNICUS/S2_SR_HARMONIZED"),
    **dict.fromkeys(("s1", "s1_grd", "sentinel1", "sentinel_1"), "COPERNICUS/S1_GRD"),
}
_ORDERS: Final = {
    "sentinel-2-l2a": ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"),
}
"""Bands of an array that names none, by sensor."""
_SERIES: Final = 4


def get_embedding_from_data(
    model: str,
    data: UserData,
    *,
    modality: str | None = None,
    output: OutputSpec = _POOLED,
    device: str = "auto",
    input_prep: InputPrepSpec | str | None = None,
    **model_kwargs: Any,
) -> Embedding:
    """Embed one image or series."""
    asked = ask(model, model_kwargs, modality=modality, device=device)
    return _embedded(asked, data, How(output, input_prep))


def get_embeddings_batch_from_data(
    model: str,
    datas: list[UserData],
    *,
    modality: str | None = None,
    output: OutputSpec = _POOLED,
    device: str = "auto",
    batch_size: int | None = None,
    input_prep: InputPrepSpec | str | None = None,
    **model_kwargs: Any,
) -> list[Embedding]:
    """Embed several images or series, in their order."""
    asked = ask(model, model_kwargs, modality=modality, device=device)
    how = How(output, input_prep, batch_items=batch_size or How.batch_items)
    return [_embedded(asked, data, how) for data in datas]


def list_models_for_data(data: UserData) -> list[dict[str, Any]]:
    """Say of each model whether it can embed the data, and why not."""
    data.validate()
    rows = []
    for name in list_models():
        row: dict[str, Any] = {"model": name, "compatible": False, "bands_used": None, "reason": None}
        try:
            inputs = _matched(ask(name), data)
        except RsEmbedError as error:
            row["reason"] = error.reason
        else:
            of = _sensor(data)
            row |= {"compatible": True, "bands_used": [of.band(band).name for band in inputs.bands]}
        rows.append(row)
    return rows


def _sensor(data: UserData) -> Sensor:
    plain = data.collection.strip().lower().replace("-", "_").replace(" ", "_")
    return sensor_named(_COLLECTIONS.get(plain, data.collection))


def _bands(data: UserData) -> tuple[str, ...]:
    """Return the common names of the array's bands. Raises SpecError where none are named and no order is usual."""
    of = _sensor(data)
    names = tuple(data.bands or _ORDERS.get(of.id) or ())
    if len(names) != np.shape(data.data)[-3]:
        reason = f"the array has {np.shape(data.data)[-3]} bands"
        raise SpecError("UserData.bands", value=data.bands, reason=reason, fix="name each band of the array")
    return tuple(of.band(name).common for name in names)


def _matched(asked: Asked, data: UserData) -> Inputs:
    """Return the model's input that the data serve. Raises ModelError where they do not."""
    if asked.card.kind == "product":
        fix = "give a place and a year to get_embedding"
        raise ModelError(asked.card.id, value=data.collection, reason="its vectors are read, not computed", fix=fix)
    inputs, of = asked.card.resolved_inputs(asked.spec)[0], _sensor(data)
    if of.id not in inputs.sensors:
        reason = f"it takes {', '.join(inputs.sensors) or 'other sensors'}, not {of.id}"
        raise ModelError(asked.card.id, value=data.collection, reason=reason, fix="use another model or modality")
    lacking = [band for band in inputs.bands if band not in _bands(data)]
    if lacking:
        reason = f"the data lack {', '.join(lacking)}"
        raise ModelError(asked.card.id, value=data.bands, reason=reason, fix="add these bands, or use another model")
    if "place" in asked.card.extras and data.spatial is None and data.crs is None:
        fix = "give UserData(spatial=...), or crs and transform"
        raise ModelError(asked.card.id, reason="it takes the place of an image, and none is stated", fix=fix)
    return inputs


def _embedded(asked: Asked, data: UserData, how: How) -> Embedding:
    data.validate()
    inputs = _matched(asked, data)
    return _in_place(asked, data, how) if data.crs is not None else _as_it_is(asked, data, how, inputs)


def _series(data: UserData) -> np.ndarray[Any, Any]:
    """Return the pixels as (T, C, H, W)."""
    pixels = np.asarray(data.data)
    return pixels if pixels.ndim == _SERIES else pixels[None]


def _dates(temporal: ours.TemporalSpec, count: int) -> list[dt.date]:
    """Return the middle of each of so many equal parts of a span."""
    start, days = temporal.start_date, temporal.days
    return [start + dt.timedelta(days=days * (2 * part + 1) // (2 * count)) for part in range(count)]


def _in_place(asked: Asked, data: UserData, how: How) -> Embedding:
    """Read a georeferenced image as any other source of pixels: on the model's grid, at its scale."""
    pixels, affine = _series(data), tuple(getattr(data.transform, name) for name in "abcdef")
    rows, columns = pixels.shape[-2:]
    grid = Grid(str(data.crs), affine, (rows, columns))
    a, _, c, _, e, f = affine
    place = data.spatial or ours.BBox(c, min(f, f + e * rows), c + a * columns, max(f, f + e * rows), str(data.crs))
    items = items_of([place], data.temporal, [asked])
    dates = _dates(items.spans[0], len(pixels))
    options = {"sensor": _sensor(data).id, "bands": _bands(data), "dates": dates, "grid": grid}
    provider = open_provider("files", source=pixels, **options)
    framed = replace(asked, fewest_frames=len(pixels), most_frames=len(pixels)) if len(pixels) > 1 else asked
    ((_, plan, result),) = results_of(plans_of([framed], items, replace(how, backend=provider)))
    return embedding_of(result, plan)


def _as_it_is(asked: Asked, data: UserData, how: How, inputs: Inputs) -> Embedding:
    """Embed an image without a CRS as it is: each pixel is taken to be one of the model's."""
    import xarray as xr

    from rs_embed_dask.compat.requests import output_of, prep_of
    from rs_embed_dask.inference.loading import load_model

    pixels, of = _series(data), _sensor(data)
    attrs = {"sensor": of.id} | ({"units": "linear"} if data.collection.endswith("S1_GRD_FLOAT") else {})
    attrs |= {"units": "DN"} if of.kind == "optical" else {"units": attrs.get("units", "dB")}
    array = xr.DataArray(pixels, {"band": list(_bands(data))}, ("time", "band", "y", "x"), attrs=attrs)
    side: dict[str, Any] = {"resolution_m": float(data.scale_m or inputs.resolution_m)}
    if data.temporal is not None or "dates" in asked.card.extras:
        span = items_of([ours.PointBuffer(0, 0, 10)], data.temporal, [asked]).spans[0]
        side["dates"] = [day.isoformat() for day in _dates(span, len(pixels))]
    if data.spatial is not None:
        side["place"] = data.spatial.center
    size = pixels.shape[-2:]
    return load_model(asked.spec).embed(
        array, output=output_of(how.output, asked), prep=prep_of(how.prep, asked, size), **side
    )
