"""What was read, checked and described as rs-embed does: reports, quicklooks, and the arrays themselves."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.compat.requests import How, ask, items_of, plans_of, provider_of, radar_options
from rs_embed_dask.compat.settings import current
from rs_embed_dask.compat.specs import FetchSpec, SensorSpec, SpatialSpec, TemporalSpec
from rs_embed_dask.compat.unlisted import is_listed, read_as
from rs_embed_dask.engine.local import read_items
from rs_embed_dask.engine.recipe import square_of
from rs_embed_dask.errors import EngineError, ModelError, SpecError
from rs_embed_dask.imagery.checks import pixels_of, report_of
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers import load
from rs_embed_dask.specs import FetchSpec as OurFetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rs_embed_dask.compat.requests import Asked
    from rs_embed_dask.engine.local import ItemResult
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.imagery.cube import Cube

__all__ = [
    "checked",
    "cubes_of",
    "inspect_gee_patch",
    "inspect_model_input",
    "inspect_provider_patch",
    "pixels_of",
    "report_of",
]

_CONSTANT: Final = 1e-6
_RGB: Final = 3


def cubes_of(result: ItemResult, plan: Plan, number: int = 0) -> dict[str, Cube]:
    """Return what a model of a plan saw of an item, by modality; what could not be read is left out."""
    label, cubes = plan.request.models[number].label, {}
    for group, need in plan.recipe.needs(label):
        read = plan.recipe.groups[group].read(result.item.spatial, result.item.temporal)
        cube = next((one.value for one in result.pixels if one.value is not None and one.value.read == read), None)
        if cube is not None:
            cubes[need.modality] = cube.select(bands=need.bands)
    return cubes


def checked(asked: Asked, cubes: Mapping[str, Cube]) -> dict[str, Any]:
    """Check a model's input where its sensor asks for it. Raises ModelError where it is to be refused."""
    sensor = asked.sensor
    if not isinstance(sensor, SensorSpec) or not sensor.check_input:
        return {}
    reports = {name: report_of(pixels_of(cube), name, fill_value=sensor.fill_value) for name, cube in cubes.items()}
    issues = [issue for report in reports.values() for issue in report["issues"]]
    if sensor.check_save_dir:
        for name, cube in cubes.items():
            quicklook(pixels_of(cube), f"{asked.name}_{name}", sensor.check_save_dir)
    if issues and sensor.check_raise:
        fix = "use another place or span, or check_raise=False"
        raise ModelError(f"input of {asked.name}", value=issues[0], reason="it failed the check", fix=fix)
    config = {"enabled": True, "raise": sensor.check_raise, "save_dir": sensor.check_save_dir}
    return {"input_checks": reports, "input_checks_config": config}


def quicklook(pixels: NDArray[np.float32], name: str, folder: str) -> str | None:
    """Draw the first three bands, each stretched between its 2nd and 98th percentile."""
    image = pixels if pixels.ndim == _RGB else pixels[0]
    if len(image) < _RGB:
        return None
    from matplotlib.image import imsave

    low, high = (np.nanpercentile(np.nan_to_num(image[:_RGB]), q, axis=(1, 2), keepdims=True) for q in (2, 98))
    shown = np.clip((np.nan_to_num(image[:_RGB]) - low) / np.maximum(high - low, _CONSTANT), 0, 1)
    path = Path(folder).expanduser() / f"{name}_{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.moveaxis(shown, 0, -1))
    return str(path)


def inspect_provider_patch(
    *,
    spatial: SpatialSpec,
    temporal: TemporalSpec | None = None,
    sensor: SensorSpec,
    backend: str = "gee",
    name: str = "gee_patch",
    value_range: tuple[float, float] | None = None,
    return_array: bool = False,
) -> dict[str, Any]:
    """Read a place of a collection, without a model, and describe it."""
    item = items_of([spatial], temporal, [])[0]
    provider = provider_of(backend, radar_options(sensor))
    listed = is_listed(sensor)
    of = sensor_named(sensor.collection if listed else read_as(provider, sensor))
    crs = current().crs
    fetch = OurFetch(float(sensor.scale_m), sensor.cloudy_pct, of.default_mask, sensor.composite, crs=crs)
    grid, _ = square_of(item.spatial, float(sensor.scale_m), crs)
    read = Read(grid, of.id, sensor.bands if listed else of.band_names, (Span.of(item.temporal),), fetch)
    pixels = load(provider, read).values[0]
    report = report_of(pixels, name, value_range=value_range, fill_value=sensor.fill_value)
    path = quicklook(pixels, name, sensor.check_save_dir) if sensor.check_save_dir else None
    told = {
        "ok": report["ok"],
        "report": report,
        "sensor": sensor.to_dict(),
        "temporal": None if temporal is None else temporal.to_dict(),
        "backend": backend,
        "artifacts": {"quicklook_rgb": path} if path else None,
    }
    return told | ({"array_chw": pixels} if return_array else {})


inspect_gee_patch = inspect_provider_patch
"""rs-embed's earlier name of it."""


def inspect_model_input(
    model: str,
    *,
    spatial: SpatialSpec,
    temporal: TemporalSpec | None = None,
    sensor: SensorSpec | None = None,
    fetch: FetchSpec | None = None,
    modality: str | None = None,
    backend: str = "gee",
    value_range: tuple[float, float] | None = None,
    return_arrays: bool = False,
    **model_kwargs: Any,
) -> dict[str, Any]:
    """Read what a model would see, without running it, and describe it."""
    asked = ask(model, model_kwargs, sensor=sensor, fetch=fetch, modality=modality)
    if asked.card.kind == "product":
        fix = "use get_embedding(..., output=OutputSpec.grid()) to see its vectors"
        raise SpecError("model", value=model, reason="its vectors are read: it has no input imagery", fix=fix)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a resize changes", UserWarning)  # no model runs here
        ((_, plan),) = plans_of([asked], items_of([spatial], temporal, [asked]), How(backend=backend, prep="resize"))
    unit, pixels = next(read_items(plan))
    frames = []
    for group, need in plan.recipe.needs(plan.request.models[0].label):
        read = pixels[group]
        if read.value is None:
            raise read.error or EngineError("read", value=unit.item.id, reason="it returned nothing", fix="report it")
        frames += _frames(read.value.select(bands=need.bands), need.modality, value_range, return_arrays=return_arrays)
    return {
        "ok": all(one["report"]["ok"] for one in frames if not one["empty"]),
        "model": asked.card.id,
        "backend": backend,
        "n_frames": len(frames),
        "n_empty": sum(one["empty"] for one in frames),
        "frames": frames,
        "fetch_meta": {"reads": plan.to_dict()["reads"]},
        "sensor": None if sensor is None else sensor.to_dict(),
        "temporal": unit.item.temporal.to_dict(),
        "artifacts": None,
    }


def _frames(
    cube: Cube, modality: str, value_range: tuple[float, float] | None, *, return_arrays: bool
) -> list[dict[str, Any]]:
    """Describe each frame of a cube."""
    frames = []
    for span, image, counts in zip(cube.read.frames, cube.values, cube.n_obs, strict=True):
        one = {"start": span.start.isoformat(), "end": span.end.isoformat(), "empty": not counts.any()}
        one |= {"modality": modality, "report": report_of(image, modality, value_range=value_range)}
        frames.append(one | ({"array_chw": image} if return_arrays else {}))
    return frames
