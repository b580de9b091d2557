"""Collections that no table here has: read by what their provider states of them, and matched to a model's bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask import specs as ours
from rs_embed_dask.compat.settings import differs
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensor_types import Unit
from rs_embed_dask.imagery.sensors import sensor as sensor_named
from rs_embed_dask.providers.registry import StatesCollections
from rs_embed_dask.providers.stac.bands import BandFacts, band_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.cards.card import Card
    from rs_embed_dask.imagery.sensors import Sensor
    from rs_embed_dask.imagery.stated import StatedBand, StatedCollection
    from rs_embed_dask.providers import Provider

__all__ = ["is_listed", "read_as", "sensor_for"]

_PAGE: Final = "migrating.md#other-collections"


def is_listed(sensor: Any) -> bool:
    """Whether the tables here have the collection of a sensor, and all its bands."""
    try:
        sensor_named(sensor.collection).common(tuple(sensor.bands or ()))
    except UnknownNameError:
        return False
    return True


def read_as(provider: Provider, sensor: Any) -> str:
    """Return the id under which the bands of an unlisted collection are read, in the units that are stated."""
    stated = _stated(provider, sensor)
    _tell(stated, sensor.bands, stacklevel=5)
    return stated.add(sensor.bands)


def sensor_for(
    provider: Provider, sensor: Any, card: Card, *, spec: ours.ModelSpec
) -> tuple[ours.SensorSpec, tuple[str, ...]]:
    """Return the sensor that an unlisted collection is for a model, and which of the model's bands it serves."""
    stated, inputs = _stated(provider, sensor), card.resolved_inputs(spec)[0]
    like = sensor_named(inputs.sensors[0])
    recognised = _recognised([stated.band(name) for name in sensor.bands], like)
    bands = recognised if recognised and card.any_bands else inputs.bands
    fix = f"give the bands that stand for {', '.join(inputs.bands)}, in this order"
    if recognised and recognised != bands:
        reason = f"they are {', '.join(recognised)}, and {card.id} takes others"
        raise SpecError("SensorSpec.bands", value=tuple(sensor.bands), reason=reason, fix=fix)
    if len(bands) != len(sensor.bands):
        reason = f"its catalogue does not say which bands these are, and {card.id} takes {len(inputs.bands)}"
        raise SpecError("SensorSpec.bands", value=tuple(sensor.bands), reason=reason, fix=fix)
    roles: list[tuple[str, Unit]] = [(name, like.band(name).unit) for name in bands]
    named = stated.add(sensor.bands, roles)
    _tell(stated, sensor.bands, stacklevel=8)
    metres = getattr(sensor, "scale_m", None) or getattr(sensor, "resolution_m", None)
    return ours.SensorSpec(named, None, metres, inputs.modality), bands


def _stated(provider: Provider, sensor: Any) -> StatedCollection:
    if not isinstance(provider, StatesCollections):
        fix = f"use one of {', '.join(sorted(provider.sensors()))}, or a provider with a catalogue"
        reason = f"the provider {provider.name} describes no other collections"
        raise SpecError("SensorSpec.collection", value=sensor.collection, reason=reason, fix=fix)
    if not sensor.bands:
        reason, fix = "of a collection that no table here has, bands are needed", "give bands=(...)"
        raise SpecError("SensorSpec.bands", value=sensor.bands, reason=reason, fix=fix)
    return provider.collection(sensor.collection)


def _recognised(bands: Sequence[StatedBand], like: Sensor) -> tuple[str, ...]:
    """Return the bands of another sensor that these are by wavelength and common name; nothing where one is not."""
    names = [band_of(BandFacts("", band.common, band.wavelength_um), like) for band in bands]
    known = tuple(name for name in names if name is not None)
    return known if len({*known}) == len(bands) else ()


def _tell(stated: StatedCollection, names: Sequence[str], *, stacklevel: int) -> None:
    """Say once how a collection's numbers are understood."""
    listed = ", ".join(f"{name} {_said(stated.band(name))}" for name in names)
    clouds = "its clouds are not masked" if stated.cloud else "its clouds are neither limited nor masked"
    what = f"{stated.id} is in no table here, so its catalogue decides: {listed}; {clouds}"
    differs(_PAGE, what, stacklevel=stacklevel)


def _said(band: StatedBand) -> str:
    numbers = band.numbers
    parts = [f"x {numbers.scale:g}" + (f" + {numbers.offset:g}" if numbers.offset else "")] if numbers.packed else []
    parts += [numbers.units] if numbers.units else []
    return f"({' '.join(parts)})" if parts else "(as it is)"
