"""From an order to one Earth Engine image: built where it is requested, never sent between processes.

Of each frame the image has the sensor's bands as composited, raw and as float32; ``n``, the observations that each
pixel had; and ``days``, the first of them times 4096 plus the last, in days since the first frame began. A composite of
no images has no bands, so each frame begins with an image that is masked everywhere: an empty frame has its bands too.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rs_embed_dask.imagery.sensors import mask_of, sensor
from rs_embed_dask.providers.earth_engine.orders import DAYS_BASE
from rs_embed_dask.specs.where import BBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.imagery.grid import Grid
    from rs_embed_dask.imagery.sensors import Mask, Scaling, Source
    from rs_embed_dask.providers.earth_engine.orders import Look, Order

__all__ = ["collection_of", "image_of", "region_of"]

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_TIME: Final = "system:time_start"
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_DEGREES_PER_HOUR: Final = 15
_PASS: Final = "rs_pass"  # noqa: S105 - a pass of a satellite
_MEMBERS: Final = "rs_members"
_DAY: Final = "rs_day"
_PAIRS: Final = (frozenset({"VV", "VH"}), frozenset({"HH", "HV"}))


def region_of(grid: Grid) -> Any:
    """Return the ground of a grid as an Earth Engine geometry."""
    import ee

    if grid.epsg is not None:
        return ee.Geometry.Rectangle(list(grid.bounds), proj=grid.crs, geodesic=False)
    boxes = [[list(BBox(*box).geometry.exterior.coords)] for box in grid.lonlat_boxes]
    return ee.Geometry.MultiPolygon(boxes, None, False)


def collection_of(order: Order, look: Look, source: Source) -> Any:
    """Return the scenes of an order: by place, time, cloud cover, and for radar by mode, polarisation and orbit."""
    import ee

    scenes = ee.ImageCollection([ee.Image(source.collection)] if source.is_image else source.collection)
    for more in source.more_collections:
        scenes = scenes.merge(ee.ImageCollection(more))
    scenes = scenes.filterBounds(region_of(order.grid))
    scenes = scenes.filterDate(*(day.isoformat() for day in order.days))
    if look.cloud is not None:
        cover = source.properties.cloud[0]
        scenes = scenes.filter(ee.Filter.lessThanOrEquals(leftField=cover, rightValue=look.cloud))
    if sensor(order.sensor).kind == "radar":
        polarisations = {source.asset(band)[0] for band in look.bands}
        if not order.settings.any_mode:
            scenes = scenes.filter(ee.Filter.eq("instrumentMode", "IW"))
            polarisations = polarisations.union(*(pair for pair in _PAIRS if pair & polarisations))
        for name in sorted(polarisations):
            scenes = scenes.filter(ee.Filter.listContains("transmitterReceiverPolarisation", name))
        if order.settings.orbit is not None:
            scenes = scenes.filter(ee.Filter.eq("orbitProperties_pass", order.settings.orbit.upper()))
    return scenes


def image_of(order: Order, source: Source) -> Any:
    """Return the image that holds all frames of an order."""
    import ee

    once = not order.settings.plain
    clean = {look: _clean(order, look, source) for look in dict.fromkeys(layer.look for layer in order.layers)}
    frames = []
    for number, layer in enumerate(order.layers):
        scenes = clean[layer.look].filterDate(layer.first.isoformat(), layer.after.isoformat())
        if once and not layer.look.plain:
            scenes = _passes(scenes)
        names = [*layer.look.bands, _DAY]
        nothing = ee.Image.constant([0] * len(names)).toFloat().rename(names).updateMask(0).set(_TIME, 0)
        frames.append(_composited(ee.ImageCollection([nothing]).merge(scenes), layer.look, number))
    # one type for all bands, or the reply would be read as if all had the type of the first
    return reduce(lambda image, more: image.addBands(more), frames).toFloat()


def _clean(order: Order, look: Look, source: Source) -> Any:
    """Return the scenes of an order with spoilt pixels masked, their day as a band, and the name of their pass."""
    import ee

    scenes = collection_of(order, look, source)
    masked = mask_of(look.mask or "none", source)
    home = {} if masked is None else dict(source.mask_collections)
    if masked is not None and masked[0].name in home:
        scenes = scenes.linkCollection(ee.ImageCollection(home[masked[0].name]), [masked[1]])
    hours = round(order.grid.center_lonlat[0] / _DEGREES_PER_HOUR)
    return _mapped(scenes, _cleaning(look, source, order.since, order.step, hours))


def _mapped(collection: Any, function: Any) -> Any:
    """Map a prepared function: to describe it anew for each place would take longer than the rest."""
    import ee

    return ee.ImageCollection(ee.ApiFunction.call_("Collection.map", collection, function))


@lru_cache(maxsize=256)
def _cleaning(look: Look, source: Source, since: int, step: int, hours: int) -> Any:
    """Describe what happens to each scene."""
    import ee

    masked = mask_of(look.mask or "none", source)
    assets = [source.asset(band)[0] for band in look.bands]
    start_ms, step_ms = _DAY_MS * (since - _EPOCH), _DAY_MS * step

    def clean(element: Any) -> Any:
        scene = ee.Image(element)
        if source.heights:
            scene = scene.addBands(ee.Terrain.slope(scene.select([source.heights])))
        raw = scene.select(assets, list(look.bands)).toFloat()
        if masked is not None:
            raw = raw.updateMask(_clear(scene.select([masked[1]]), masked[0]))
        whole = _valid(scene, raw, look, source=source)
        time = ee.Number(scene.get(_TIME))
        day = ee.Image.constant(time.subtract(start_ms).divide(step_ms).floor()).toFloat().rename([_DAY])
        cleaned = whole.addBands(day.updateMask(whole.mask().select([0])))
        if look.plain:
            return cleaned
        key = ee.Date(time.add(hours * _HOUR_MS)).format("YYYY-MM-dd")
        for name in (*source.properties.platform, *source.properties.orbit):
            key = key.cat(ee.String(scene.get(name)))
        return cleaned.set(_PASS, key)

    return ee.CustomFunction.create(clean, "Object", ["Object"])


def _composited(frame: Any, look: Look, number: int) -> Any:
    """Composite a frame, and add the count and days of its observations."""
    bands = list(look.bands)
    image = frame.median() if look.how == "median" else frame.sort(_TIME).mosaic()
    # bands are selected after: the service computes only those bands of a composite that are requested
    n_obs = frame.count().select([bands[0]], [f"{number}_n"]).unmask(0, False)
    first, last = frame.min().select([_DAY], [f"{number}_days"]), frame.max().select([_DAY])
    named = image.select(bands, [f"{number}_{band}" for band in bands])
    return named.addBands(n_obs).addBands(first.multiply(DAYS_BASE).add(last))


def _clear(quality: Any, rule: Mask) -> Any:
    """Return where a quality band admits a pixel. Where the band is missing, none counts."""
    if rule.kind == "below":
        return quality.gte(float(np.float32(rule.below)))
    if rule.kind == "classes":
        return _none_of(quality, rule.classes)
    fields = [
        _none_of(quality.rightShift(bits.shift).bitwiseAnd((1 << bits.width) - 1), bits.bad) for bits in rule.bits
    ]
    return reduce(lambda one, other: one.And(other), fields)


def _none_of(image: Any, numbers: Sequence[int]) -> Any:
    return reduce(lambda one, other: one.And(other), [image.neq(number) for number in numbers])


def _valid(scene: Any, raw: Any, look: Look, *, source: Source) -> Any:
    """Mask values outside the valid range; a pixel counts where all bands of its scene do, as in every provider."""
    import ee

    of = sensor(source.sensor)
    scalings = [source.scaling(of.band(band)) for band in look.bands]
    own = any(scaling.own for scaling in scalings)
    valid = raw
    for test in ("nodata", "above", "at_most"):
        limits = [getattr(scaling, test) for scaling in scalings]
        if (look.plain and not own) or all(limit is None for limit in limits):
            continue
        # a number that no band has, where a band has no such limit
        filled = [{"nodata": -1e9, "above": -1e9, "at_most": 1e9}[test] if n is None else n for n in limits]
        one = filled[0] if len(set(filled)) == 1 else filled
        valid = valid.updateMask({"nodata": raw.neq, "above": raw.gt, "at_most": raw.lte}[test](one))
    valid = _physical(scene, valid, scalings)
    if look.plain or len(look.bands) == 1:
        return valid
    return valid.updateMask(valid.mask().reduce(ee.Reducer.min()))


def _physical(scene: Any, valid: Any, scalings: Sequence[Scaling]) -> Any:
    """Return numbers in the units that each scene states itself, and a day's share of the sums over a month."""
    import ee

    own = [scaling.own for scaling in scalings if scaling.own is not None]
    if own:
        offsets, scales = (
            ee.Image.constant(ee.List([ee.Number(scene.get(getattr(one, name))) for one in own]))
            for name in ("offset", "scale")
        )
        valid = valid.subtract(offsets).multiply(scales).toFloat()
        # no temperature follows from a radiance that is not positive
        valid = valid.updateMask(valid.gt([0 if scaling.encoding == "radiance" else -1e9 for scaling in scalings]))
    if any(scaling.monthly for scaling in scalings):
        first = ee.Date(scene.get(_TIME))
        days = first.advance(1, "month").difference(first, "day")
        shares = ee.List([days if scaling.monthly else 1 for scaling in scalings])
        valid = valid.divide(ee.Image.constant(shares)).toFloat()
    return valid


def _passes(scenes: Any) -> Any:
    """Merge the scenes of one pass of a satellite, which overlap, into one image each."""
    import ee

    same = ee.Filter.equals(leftField=_PASS, rightField=_PASS)
    # the earliest lies on top, as mosaic() has its last image on top
    join = ee.Join.saveAll(matchesKey=_MEMBERS, ordering=_TIME, ascending=False)
    return _mapped(join.apply(scenes.distinct([_PASS]), scenes, same), _merging())


@lru_cache(maxsize=1)
def _merging() -> Any:
    """Describe how the scenes of one pass become one image."""
    import ee

    def merged(first: Any) -> Any:
        members = ee.ImageCollection.fromImages(ee.List(ee.Image(first).get(_MEMBERS)))
        return members.mosaic().set(_TIME, ee.Image(first).get(_TIME))

    return ee.CustomFunction.create(merged, "Object", ["Object"])
