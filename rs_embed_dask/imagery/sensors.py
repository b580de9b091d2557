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
    "add_sensor",
    "added_sensors",
    "is_public",
    "mask_of",
    "sensor",
    "sensors",
    "source",
    "sources_of",
]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


_BY_NAME: Final = {_plain(name): each for each in SENSORS for name in (each.id, *each.aliases)}
_ADDED: Final[dict[str, tuple[Sensor, Source]]] = {}
"""Of collections that no table has. An id is made of all that it stands for, so none is ever replaced by another."""


def add_sensor(of: Sensor, where: Source) -> None:
    """Make a sensor, and how one provider serves it, known to this process."""
    _ADDED[_plain(of.id)] = of, where


def added_sensors(provider: str) -> frozenset[str]:
    """Return the ids that were added of a provider."""
    return frozenset(of.id for of, where in list(_ADDED.values()) if where.provider == provider)


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
    plain = _plain(str(name))
    match = _BY_NAME.get(plain) or next(iter(_ADDED.get(plain, ())), None)
    if not isinstance(match, Sensor):
        raise UnknownNameError.among("sensor", name, [each.id for each in SENSORS])
    return match


def sources_of(provider: str) -> tuple[Source, ...]:
    """Return the sources that a provider serves."""
    return tuple(each for each in SOURCES if each.provider == provider)


def is_public(name: str) -> bool:
    """Whether a catalogue has a sensor, and not only collections that users make and name."""
    return any(each.collection for each in SOURCES if each.sensor == name)


def source(provider: str, name: str) -> Source:
    """Find how a provider serves a sensor."""
    served = sources_of(provider)
    if not served:
        raise UnknownNameError.among("provider with sensor tables", provider, {each.provider for each in SOURCES})
    for each in served:
        if name in {each.collection, *each.more_collections}:
            return each
    sensor_id = sensor(name).id
    added = _ADDED.get(_plain(sensor_id))
    candidates: list[Source] = [*served, *([] if added is None else [added[1]])]
    for each in candidates:
        if each.sensor == sensor_id and each.provider == provider:
            return each
    listed = ", ".join(dict.fromkeys(each.sensor for each in served if each.collection))
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
