"""How each provider serves each sensor: collection ids, asset names, scale and offset, mask assets.

These tables alone decide what the numbers in a file mean. ``raster:bands`` and the like are hints that some catalogues
get wrong (Earth Search states an offset of -0.1 that is already applied), so nothing here reads them.
"""

from __future__ import annotations

from typing import Final

from rs_embed_dask.imagery.bands import DB, KELVIN, REFLECTANCE
from rs_embed_dask.imagery.sensor_tables import SENSORS
from rs_embed_dask.imagery.sensor_types import PropertyNames, Scaling, Source

__all__ = ["NOT_SERVED", "SOURCES"]

_Assets = tuple[tuple[str, tuple[str, ...]], ...]
_BANDS: Final = {sensor.id: sensor.bands for sensor in SENSORS}
_MASKS: Final = {sensor.id: tuple((mask.name, mask.band) for mask in sensor.masks) for sensor in SENSORS}

# reflectance_e4 of each encoding
_S2_BASELINE: Final = ((REFLECTANCE, Scaling(offset_rule="s2_baseline", nodata=0)),)
_S2_HARMONISED: Final = ((REFLECTANCE, Scaling(nodata=0)),)
_POWER: Final = ((DB, Scaling(nodata=-32768, above=0)),)
_DECIBEL: Final = ((DB, Scaling(encoding="db")),)
_LANDSAT: Final = (
    (REFLECTANCE, Scaling(scale=0.275, offset=-2000, nodata=0)),
    (KELVIN, Scaling(scale=0.00341802, offset=149.0, nodata=0)),
)
_HLS: Final = ((REFLECTANCE, Scaling(nodata=-9999)), (KELVIN, Scaling(scale=0.01, offset=273.15, nodata=-9999)))
_HLS_FRACTION: Final = ((REFLECTANCE, Scaling(scale=10_000)), (KELVIN, Scaling(offset=273.15)))
_MODIS: Final = ((REFLECTANCE, Scaling(nodata=-28672, above=-101, at_most=16_000)),)

# what each collection of Earth Engine states of all its images; filters there drop an image without the property
_EE_NOTHING: Final = PropertyNames(cloud=(), platform=(), orbit=())
_EE_S2: Final = PropertyNames(
    cloud=("CLOUDY_PIXEL_PERCENTAGE",),
    platform=("SPACECRAFT_NAME",),
    baseline=("PROCESSING_BASELINE",),
    product=("PRODUCT_ID",),
    tile=("MGRS_TILE",),
    datastrip=("DATASTRIP_ID",),
    generated=("GENERATION_TIME",),
    orbit=(),
)
_EE_S1: Final = PropertyNames(cloud=(), platform=("platform_number",), orbit=("orbitProperties_pass",))
_EE_LANDSAT: Final = PropertyNames(cloud=("CLOUD_COVER",), platform=("SPACECRAFT_ID",), orbit=())
_EE_HLS: Final = PropertyNames(cloud=("CLOUD_COVERAGE",), platform=(), orbit=())


def _own_names(sensor: str, *, short: bool = False) -> _Assets:
    """Assets named as the agency names the bands; `short` drops the zero of B01, as Earth Engine does."""
    return tuple((b.common, (b.name.replace("B0", "B") if short else b.name,)) for b in _BANDS[sensor])


def _common_names(sensor: str) -> _Assets:
    return tuple((band.common, (band.common,)) for band in _BANDS[sensor])


def _any_name(sensor: str) -> _Assets:
    """Any name that a user may have given to a band."""
    return tuple((b.common, tuple(dict.fromkeys((b.common, b.name, *b.aliases)))) for b in _BANDS[sensor])


def _made(provider: str, sensor: str, scalings: tuple[tuple[str, Scaling], ...]) -> Source:
    """Files of the user's, or the made landscape: bands under any of their names, no offset unless stated."""
    return Source(
        provider,
        sensor,
        collection=sensor,
        assets=_any_name(sensor),
        scalings=scalings,
        masks=_MASKS[sensor],
        assumed_baseline=0.0,
    )


_SCALINGS: Final = {
    "sentinel-2-l2a": _S2_BASELINE,
    "sentinel-2-l1c": _S2_BASELINE,
    "sentinel-1-rtc": _POWER,
    "sentinel-1-grd": _DECIBEL,
    "landsat-c2-l2": _LANDSAT,
    "hls2-l30": _HLS,
    "hls2-s30": _HLS,
    "modis-09a1": _MODIS,
}

_LANDSAT_ASSETS: Final = tuple(
    (common, ("lwir11", "lwir") if common == "lwir11" else names) for common, names in _common_names("landsat-c2-l2")
)

_PLANETARY_COMPUTER: Final = (
    Source(
        "planetary_computer",
        "sentinel-2-l2a",
        collection="sentinel-2-l2a",
        assets=_own_names("sentinel-2-l2a"),
        scalings=_S2_BASELINE,
        masks=(("scl", "SCL"),),
    ),
    Source(
        "planetary_computer",
        "sentinel-1-rtc",
        collection="sentinel-1-rtc",
        assets=_common_names("sentinel-1-rtc"),
        scalings=_POWER,
        bytes_per_px=3.4,
        needs_account=True,
    ),
    Source(
        "planetary_computer",
        "landsat-c2-l2",
        collection="landsat-c2-l2",
        assets=_LANDSAT_ASSETS,
        scalings=_LANDSAT,
        masks=(("qa_pixel", "qa_pixel"),),
        block_px=256,
    ),
    Source(
        "planetary_computer",
        "hls2-l30",
        collection="hls2-l30",
        assets=_own_names("hls2-l30"),
        scalings=_HLS,
        masks=(("fmask", "Fmask"),),
        block_px=256,
    ),
    Source(
        "planetary_computer",
        "hls2-s30",
        collection="hls2-s30",
        assets=_own_names("hls2-s30"),
        scalings=_HLS,
        masks=(("fmask", "Fmask"),),
        block_px=256,
    ),
    Source(
        "planetary_computer",
        "modis-09a1",
        collection="modis-09A1-061",
        assets=_own_names("modis-09a1"),
        scalings=_MODIS,
        masks=(("state", "sur_refl_state_500m"),),
    ),
)

_EARTH_SEARCH: Final = (
    # the offset is taken off already, whatever raster:bands says (earth-search issues 66 and 71)
    Source(
        "earth_search",
        "sentinel-2-l2a",
        collection="sentinel-2-l2a",
        assets=_common_names("sentinel-2-l2a"),
        scalings=_S2_HARMONISED,
        masks=(("scl", "scl"),),
        block_px=1024,
    ),
    Source(
        "earth_search",
        "sentinel-2-l2a",
        collection="sentinel-2-c1-l2a",
        assets=_common_names("sentinel-2-l2a"),
        scalings=_S2_BASELINE,
        masks=(("scl", "scl"),),
        block_px=1024,
    ),
    Source(
        "earth_search",
        "landsat-c2-l2",
        collection="landsat-c2-l2",
        assets=_LANDSAT_ASSETS,
        scalings=_LANDSAT,
        masks=(("qa_pixel", "qa_pixel"),),
        block_px=256,
        needs_account=True,
    ),
)

_S2_EE_MASKS: Final = (("qa60", "QA60"), ("cloud_score_plus", "cs"))
_SCORE_HOME: Final = (("cloud_score_plus", "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"),)

_EARTH_ENGINE: Final = (
    Source(
        "earth_engine",
        "sentinel-2-l2a",
        collection="COPERNICUS/S2_SR_HARMONIZED",
        assets=_own_names("sentinel-2-l2a", short=True),
        scalings=_S2_HARMONISED,
        masks=(("scl", "SCL"), *_S2_EE_MASKS),
        mask_collections=_SCORE_HOME,
        needs_account=True,
        properties=_EE_S2,
    ),
    Source(
        "earth_engine",
        "sentinel-2-l1c",
        collection="COPERNICUS/S2_HARMONIZED",
        assets=_own_names("sentinel-2-l1c", short=True),
        scalings=_S2_HARMONISED,
        masks=_S2_EE_MASKS,
        mask_collections=_SCORE_HOME,
        needs_account=True,
        properties=_EE_S2,
    ),
    Source(
        "earth_engine",
        "sentinel-1-grd",
        collection="COPERNICUS/S1_GRD",
        assets=_own_names("sentinel-1-grd"),
        scalings=_DECIBEL,
        needs_account=True,
        properties=_EE_S1,
    ),
    Source(
        "earth_engine",
        "sentinel-1-grd",
        collection="COPERNICUS/S1_GRD_FLOAT",
        assets=_own_names("sentinel-1-grd"),
        scalings=((DB, Scaling(above=0)),),
        needs_account=True,
        properties=_EE_S1,
    ),
    Source(
        "earth_engine",
        "landsat-c2-l2",
        collection="LANDSAT/LC08/C02/T1_L2",
        more_collections=("LANDSAT/LC09/C02/T1_L2",),
        assets=_own_names("landsat-c2-l2"),
        scalings=_LANDSAT,
        masks=(("qa_pixel", "QA_PIXEL"),),
        needs_account=True,
        properties=_EE_LANDSAT,
    ),
    Source(
        "earth_engine",
        "hls2-l30",
        collection="NASA/HLS/HLSL30/v002",
        assets=_own_names("hls2-l30", short=True),
        scalings=_HLS_FRACTION,
        masks=(("fmask", "Fmask"),),
        needs_account=True,
        properties=_EE_HLS,
    ),
    Source(
        "earth_engine",
        "hls2-s30",
        collection="NASA/HLS/HLSS30/v002",
        assets=_own_names("hls2-s30", short=True),
        scalings=_HLS_FRACTION,
        masks=(("fmask", "Fmask"),),
        needs_account=True,
        properties=_EE_HLS,
    ),
    Source(
        "earth_engine",
        "modis-09a1",
        collection="MODIS/061/MOD09A1",
        assets=_own_names("modis-09a1"),
        scalings=_MODIS,
        masks=(("state", "StateQA"),),
        needs_account=True,
        properties=_EE_NOTHING,
    ),
    Source(
        "earth_engine",
        "satellite-embedding",
        collection="GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL",
        assets=_own_names("satellite-embedding"),
        scalings=(),
        needs_account=True,
        properties=_EE_NOTHING,
    ),
)

SOURCES: Final[tuple[Source, ...]] = (
    *_PLANETARY_COMPUTER,
    *_EARTH_SEARCH,
    *_EARTH_ENGINE,
    *(_made("files", sensor, scalings) for sensor, scalings in _SCALINGS.items()),
    *(_made("synthetic", sensor, scalings) for sensor, scalings in _SCALINGS.items()),
)

NOT_SERVED: Final = {
    "sentinel-1-grd": (
        "catalogues serve GRD as uncalibrated amplitudes without a coordinate system, which is no backscatter",
        "read sentinel-1-rtc, or sentinel-1-grd from earth_engine, which calibrates it",
    ),
    "sentinel-2-l1c": (
        "it does not serve Level-1C",
        "read sentinel-2-l2a, or sentinel-2-l1c from earth_engine or from files",
    ),
}
"""Why a provider lacks a sensor that people ask it for, and what to do."""
