"""Finding sensors and sources by name. The tables themselves are data, in `sensor_tables`."""

from __future__ import annotations

from typing import Final

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensor_tables import NOT_SERVED, SENSORS, SOURCES
from rs_embed_dask.imagery.sensor_types import Band, Bits, Mask, PropertyNames, Scaling, Sensor, Source, Unit

__all__ = [
    "Band",
    "Bits",
    "Mask",
    "PropertyNames",
    "Scaling",
    "Sensor",
    "Source",
    "Unit",
    "mask_of",
    "sensor",
    "sensors",
    "source",
    "sources_of",
]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


_BY_NAME: Final = {_plain(name): each for each in SENSORS for name in (each.id, *each.aliases)}


def sensors() -> tuple[Sensor, ...]:
    """Return all sensors."""
    return SENSORS


def sensor(name: str) -> Sensor:
    """Find a sensor by its id or by any provider's collection id.

    Parameters
    ----------
    name : str
        For example ``sentinel-2-l2a`` or ``COPERNICUS/S2_SR_HARMONIZED``. Case does not matter.

    Returns
    -------
    Sensor
        The sensor.

    Raises
    ------
    UnknownNameError
        If no sensor has that name.

    Examples
    --------
    >>> sensor("COPERNICUS/S2_SR_HARMONIZED").id
    'sentinel-2-l2a'
    """
    match = _BY_NAME.get(_plain(str(name)))
    if match is None:
        raise UnknownNameError.among("sensor", name, [each.id for each in SENSORS])
    return match


def sources_of(provider: str) -> tuple[Source, ...]:
    """Return the sources that a provider serves."""
    return tuple(each for each in SOURCES if each.provider == provider)


def source(provider: str, name: str) -> Source:
    """Find how a provider serves a sensor."""
    served = sources_of(provider)
    if not served:
        raise UnknownNameError.among("provider with sensor tables", provider, {each.provider for each in SOURCES})
    for each in served:
        if name in {each.collection, *each.more_collections}:
            return each
    sensor_id = sensor(name).id
    for each in served:
        if each.sensor == sensor_id:
            return each
    listed = ", ".join(dict.fromkeys(each.sensor for each in served))
    reason, fix = NOT_SERVED.get(
        sensor_id, ("it does not serve this sensor", f"use one of {listed}, or another provider")
    )
    raise SpecError(f"sensor at {provider}", value=sensor_id, reason=reason, fix=fix)


def mask_of(name: str | None, where: Source) -> tuple[Mask, str] | None:
    """Return the mask rule of a read and the asset that it needs."""
    of = sensor(where.sensor)
    mask_name = of.default_mask if name is None else name
    if mask_name == "none":
        return None
    rule = of.mask(mask_name)
    served = dict(where.masks)
    if rule.name in served:
        return rule, served[rule.name]
    if name is None:
        return None
    raise SpecError(
        "FetchSpec.mask",
        value=name,
        reason=f"{where.provider} does not serve the band {rule.band} of {where.sensor}",
        fix=f"use one of {', '.join(['none', *served])}, or leave it out",
    )
