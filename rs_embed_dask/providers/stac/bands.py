"""What a catalogue says of the bands of an asset, and which band of a sensor that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rs_embed_dask.errors import UnknownNameError
from rs_embed_dask.imagery.sensor_types import Sensor

__all__ = ["BandFacts", "band_facts", "band_of"]

_NEAR: Final = 0.015
"""How far a stated wavelength may be from the table's, as a share of it; the closest bands are 2.6 % apart."""
_LONGEST_UM: Final = 100.0


@dataclass(frozen=True, slots=True)
class BandFacts:
    """What a catalogue says of one band of an asset."""

    name: str = ""
    common: str = ""
    wavelength_um: float | None = None


def band_facts(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[BandFacts, ...]:
    """Return what ``bands`` or ``eo:bands`` of an asset say, however old the catalogue is."""
    listed: list[Any] = next((asset[key] for key in ("bands", "eo:bands") if isinstance(asset.get(key), list)), [])
    item_bands = properties.get("eo:bands")
    by_number = item_bands if isinstance(item_bands, list) else []
    rows = [by_number[b] if isinstance(b, int) and 0 <= b < len(by_number) else b for b in listed]
    if not rows and asset.get("eo:common_name"):
        rows = [{}]
    shared = {key: value for key, value in asset.items() if key.startswith("eo:") and key != "eo:bands"}
    return tuple(_facts({**shared, **row} if isinstance(row, Mapping) else {}) for row in rows)


def _facts(row: Mapping[str, Any]) -> BandFacts:
    def stated(name: str) -> Any:
        return row.get(f"eo:{name}", row.get(name))

    try:
        wavelength = float(stated("center_wavelength"))
    except (TypeError, ValueError):
        wavelength = math.nan
    wavelength = wavelength / 1000 if wavelength > _LONGEST_UM else wavelength  # nanometres
    known = wavelength if math.isfinite(wavelength) and wavelength > 0 else None
    return BandFacts(str(row.get("name") or ""), str(stated("common_name") or "").lower(), known)


def band_of(facts: BandFacts, of: Sensor) -> str | None:
    """Return the band that all facts agree on: its name, its wavelength and its common name."""
    stated = {_by_name(facts.name, of), _by_wavelength(facts.wavelength_um, of), _by_common(facts.common, of)} - {""}
    return stated.pop() if len(stated) == 1 else None


def _by_name(name: str, of: Sensor) -> str | None:
    try:
        return of.band(name).common if name else ""
    except UnknownNameError:
        return ""  # catalogues name bands as they like


def _by_common(common: str, of: Sensor) -> str | None:
    names = {band.common for band in of.bands} | {alias for band in of.bands for alias in band.aliases}
    return of.band(common).common if common in names else ""  # "rededge" is three bands


def _by_wavelength(wavelength_um: float | None, of: Sensor) -> str | None:
    """Return the band of a wavelength, None if the sensor has none there, or nothing where none is stated."""
    if wavelength_um is None:
        return ""
    near = {
        abs(band.wavelength_um - wavelength_um) / band.wavelength_um: band.common
        for band in of.bands
        if band.wavelength_um
    }
    nearest = min(near, default=math.inf)
    return near[nearest] if nearest <= _NEAR else None
