"""Terrain, aerial photographs, Level-1 numbers, other Sentinels: what single models take and only catalogues have."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rs_embed_dask.imagery.modis_l1b import EMISSIVE, LARGEST, REFLECTIVE
from rs_embed_dask.imagery.sensor_types import (
    BYTE,
    COLUMN,
    DIGITAL,
    KELVIN,
    METRES,
    PERCENT,
    RADIANCE,
    SLOPE,
    Band,
    Bits,
    Mask,
    OwnNumbers,
    PropertyNames,
    Scaling,
    Sensor,
    Source,
    Unit,
)

__all__ = ["RARER_SENSORS", "RARER_SOURCES"]

_NOTHING: Final = PropertyNames(cloud=(), platform=(), orbit=())
_LANDSAT: Final = PropertyNames(cloud=("CLOUD_COVER",), platform=("SPACECRAFT_ID",), orbit=())
_CLEAR: Final = Mask("qa_pixel", "QA_PIXEL", "bits", bits=tuple(Bits(shift, 1) for shift in range(5)))
# what a step of each OLCI band stands for, in W m-2 sr-1 um-1, as the catalogue of Earth Engine states it
_OLCI_STEPS: Final = (
    *(0.0139465, 0.0133873, 0.0121481, 0.0115198, 0.0100953, 0.0123538, 0.00879161, 0.00876539, 0.0095103, 0.00773378),
    *(0.00675523, 0.0071996, 0.00749684, 0.0086512, 0.00526779, 0.00530267, 0.00493004, 0.00549962, 0.00502847),
    *(0.00326378, 0.00324118),
)
_GASES: Final = {
    "no2": "tropospheric_NO2_column_number_density",
    "co": "CO_column_number_density",
    "o3": "O3_column_number_density",
    "so2": "SO2_column_number_density",
}


def _other(name: str, title: str, bands: tuple[Band, ...], *collections: str, days: float, **more: bool) -> Sensor:
    """Return a sensor of the kind that neither files nor the synthetic landscape stand for."""
    metres = bands[0].resolution_m
    return Sensor(name, title, "product", bands, metres, days, aliases=collections, **more)  # type: ignore[arg-type]


def _bands(names: str, metres: float, unit: Unit) -> tuple[Band, ...]:
    return tuple(Band(name, name, metres, unit) for name in names.split())


_LEVEL_1: Final = Sensor(
    id="landsat-c2-l1",
    title="Landsat 8 and 9 Collection 2 Level-1, digital numbers",
    kind="product",
    bands=tuple(Band(f"B{n}", f"B{n}", metres, DIGITAL) for n, metres in enumerate((30,) * 7 + (15, 30, 30, 30), 1)),
    resolution_m=30,
    revisit_days=8,
    masks=(_CLEAR,),
    default_mask="qa_pixel",
    aliases=("LANDSAT/LC08/C02/T1", "LANDSAT/LC09/C02/T1"),
)
_LEVEL_1B: Final = tuple(
    Band(name, name, 1000, KELVIN if name in EMISSIVE else PERCENT) for name in sorted({*REFLECTIVE, *EMISSIVE})
)
_WEATHER: Final = (
    Band("temperature_2m", "temperature_2m", 11_132, KELVIN),
    Band("total_precipitation", "total_precipitation_sum", 11_132, METRES),
)
_OLCI: Final = tuple(Band(f"oa{n:02}", f"Oa{n:02}_radiance", 300, RADIANCE) for n in range(1, 22))

RARER_SENSORS: Final = (
    _other(
        *("cop-dem-glo-30", "Copernicus DEM GLO-30, surface heights", (Band("elevation", "DEM", 30, METRES),)),
        "COPERNICUS/DEM/GLO30",
        days=3650,
        still=True,
    ),
    _other(
        *("srtm", "SRTM, surface heights and slopes"),
        (Band("elevation", "elevation", 30, METRES), Band("slope", "slope", 30, SLOPE)),
        "USGS/SRTMGL1_003",
        days=3650,
        still=True,
    ),
    _other(
        *("era5-land-monthly", "ERA5-Land: temperature, and precipitation of a day, means of months", _WEATHER),
        "ECMWF/ERA5_LAND/MONTHLY_AGGR",
        days=30.4,
        monthly=True,
    ),
    _other(
        *("naip", "NAIP, aerial photographs of the United States", _bands("red green blue nir", 1, BYTE)),
        "USDA/NAIP/DOQQ",
        days=730,
    ),
    _LEVEL_1,
    _other("sentinel-3-olci", "Sentinel-3 OLCI, radiances", _OLCI, "COPERNICUS/S3/OLCI", days=1.5),
    _other(
        "modis-l1b",
        "MODIS Level-1B at 1 km (MOD021KM), calibrated",
        _LEVEL_1B,
        "MOD021KM",
        "MODIS/061/MOD021KM",
        days=1,
    ),
    *(
        _other(
            *(f"sentinel-5p-{gas}", f"Sentinel-5P, column of {gas.upper()}", (Band(gas, name, 1113.2, COLUMN),)),
            f"COPERNICUS/S5P/OFFL/L3_{gas.upper()}",
            days=1,
        )
        for gas, name in _GASES.items()
    ),
)


def _on_earth_engine(of: Sensor, *scalings: tuple[str, Scaling], names: tuple[str, ...] = ()) -> Source:
    """Return how Earth Engine serves a sensor: under its only alias, bands by the agency's names or others."""
    assets = tuple((b.common, (name,)) for b, name in zip(of.bands, names or [b.name for b in of.bands], strict=True))
    return Source("earth_engine", of.id, of.aliases[0], assets, scalings, properties=_NOTHING)


def _calibration(band: Band) -> Scaling:
    """Return how the stored integers of MOD021KM become percent or radiance: by each image's own properties."""
    own = OwnNumbers(f"{band.name}_scale", f"{band.name}_offset")
    if band.unit == KELVIN:
        return Scaling(encoding="radiance", at_most=LARGEST, own=own)
    return Scaling(scale=100, at_most=LARGEST, own=own)


_BY_ID: Final = {of.id: of for of in RARER_SENSORS}

RARER_SOURCES: Final = (
    Source(
        *("planetary_computer", "cop-dem-glo-30", "cop-dem-glo-30", (("elevation", ("data",)),), ()),
        properties=_NOTHING,
        bytes_per_px=2.0,
    ),
    Source(
        *("planetary_computer", "naip", "naip"),
        tuple((band.common, (f"image#{n}",)) for n, band in enumerate(_BY_ID["naip"].bands, 1)),
        (),
        properties=_NOTHING,
        bytes_per_px=1.0,
    ),
    _on_earth_engine(_BY_ID["cop-dem-glo-30"]),
    replace(_on_earth_engine(_BY_ID["srtm"]), is_image=True, heights="elevation"),
    _on_earth_engine(_BY_ID["era5-land-monthly"], ("total_precipitation", Scaling(monthly=True))),
    _on_earth_engine(_BY_ID["naip"], names=("R", "G", "B", "N")),
    Source(
        *("earth_engine", "landsat-c2-l1", "LANDSAT/LC08/C02/T1"),
        tuple((band.common, (band.name,)) for band in _LEVEL_1.bands),
        ((DIGITAL, Scaling(nodata=0)),),
        masks=(("qa_pixel", "QA_PIXEL"),),
        more_collections=("LANDSAT/LC09/C02/T1",),
        properties=_LANDSAT,
    ),
    _on_earth_engine(
        _BY_ID["sentinel-3-olci"],
        *((band.common, Scaling(scale=step)) for band, step in zip(_OLCI, _OLCI_STEPS, strict=True)),
    ),
    *(_on_earth_engine(_BY_ID[f"sentinel-5p-{gas}"]) for gas in _GASES),
    Source(
        *("earth_engine", "modis-l1b", ""),
        tuple((band.common, (band.name,)) for band in _LEVEL_1B),
        tuple((band.common, _calibration(band)) for band in _LEVEL_1B),
        properties=_NOTHING,
    ),
)
