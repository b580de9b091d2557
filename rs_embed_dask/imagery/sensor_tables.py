"""How each provider serves each sensor: collection ids, asset names, scale and offset, mask assets.

These tables alone decide what the numbers in a file mean. ``raster:bands`` and the like are hints that some catalogues
get wrong (Earth Search states an offset of -0.1 that is already applied), so nothing here reads them.
"""

from __future__ import annotations

from typing import Final

from rs_embed_dask.imagery.rarer_sensors import RARER_SENSORS, RARER_SOURCES
from rs_embed_dask.imagery.sensor_types import (
    DB,
    EMBEDDING,
    KELVIN,
    REFLECTANCE,
    Band,
    Bits,
    Mask,
    PropertyNames,
    Scaling,
    Sensor,
    Source,
)

__all__ = ["NOT_SERVED", "PRODUCTS", "SENSORS", "SOURCES"]

_S2_CIRRUS: Final = Band("cirrus", "B10", 60, wavelength_um=1.3735)
_S2: Final = (
    Band("coastal", "B01", 60, wavelength_um=0.4427),
    Band("blue", "B02", 10, wavelength_um=0.4924),
    Band("green", "B03", 10, wavelength_um=0.5598),
    Band("red", "B04", 10, wavelength_um=0.6646),
    Band("rededge1", "B05", 20, wavelength_um=0.7041),
    Band("rededge2", "B06", 20, wavelength_um=0.7405),
    Band("rededge3", "B07", 20, wavelength_um=0.7828),
    Band("nir", "B08", 10, wavelength_um=0.8328),
    Band("nir08", "B8A", 20, wavelength_um=0.8647),
    Band("nir09", "B09", 60, wavelength_um=0.9451),
)
_S2_SWIR: Final = (
    Band("swir16", "B11", 20, wavelength_um=1.6137),
    Band("swir22", "B12", 20, wavelength_um=2.2024),
)

# no data, saturated, shadow, medium and high cloud, cirrus
_SCL: Final = Mask("scl", "SCL", "classes", classes=(0, 1, 3, 8, 9, 10))
_QA60: Final = Mask("qa60", "QA60", "bits", bits=(Bits(10, 1), Bits(11, 1)))
_SCORE: Final = Mask("cloud_score_plus", "cs", "below", below=0.6)
# cloud, next to cloud or shadow, shadow; 255 is fill and has them all
_FMASK: Final = Mask("fmask", "Fmask", "bits", bits=(Bits(1, 1), Bits(2, 1), Bits(3, 1)))
# fill, dilated cloud, cirrus, cloud, shadow
_QA_PIXEL: Final = Mask("qa_pixel", "QA_PIXEL", "bits", bits=tuple(Bits(shift, 1) for shift in range(5)))
# cloud state cloudy or mixed, shadow, high cirrus, the internal cloud algorithm's flag
_STATE: Final = Mask("state", "StateQA", "bits", bits=(Bits(0, 2, (1, 2)), Bits(2, 1), Bits(8, 2, (3,)), Bits(10, 1)))


def _hls(sensor: str, instrument: str, bands: tuple[Band, ...], ids: tuple[str, ...]) -> Sensor:
    return Sensor(
        id=sensor,
        title=f"Harmonized Landsat Sentinel-2 v2, {instrument}",
        kind="optical",
        bands=bands,
        resolution_m=30,
        revisit_days=8 if instrument == "Landsat" else 5,
        masks=(_FMASK,),
        default_mask="fmask",
        aliases=ids,
    )


_RADAR: Final = (Band("vv", "VV", 10, DB), Band("vh", "VH", 10, DB), Band("hh", "HH", 10, DB), Band("hv", "HV", 10, DB))

_LANDSAT: Final = Sensor(
    id="landsat-c2-l2",
    title="Landsat Collection 2 Level-2, surface reflectance and temperature",
    kind="optical",
    bands=(
        Band(
            "coastal", "SR_B1", 30, wavelength_um=0.443, aliases=("B1",), not_on=("landsat-4", "landsat-5", "landsat-7")
        ),
        Band("blue", "SR_B2", 30, wavelength_um=0.482, aliases=("B2",)),
        Band("green", "SR_B3", 30, wavelength_um=0.561, aliases=("B3",)),
        Band("red", "SR_B4", 30, wavelength_um=0.655, aliases=("B4",)),
        Band("nir08", "SR_B5", 30, wavelength_um=0.865, aliases=("B5", "nir")),
        Band("swir16", "SR_B6", 30, wavelength_um=1.609, aliases=("B6",)),
        Band("swir22", "SR_B7", 30, wavelength_um=2.201, aliases=("B7",)),
        Band("lwir11", "ST_B10", 30, KELVIN, 10.895, aliases=("B10", "lwir")),
    ),
    resolution_m=30,
    revisit_days=8,
    masks=(_QA_PIXEL,),
    default_mask="qa_pixel",
    aliases=("landsat", "LANDSAT/LC08/C02/T1_L2", "LANDSAT/LC09/C02/T1_L2", "landsat-8-c2-l2", "landsat-9-c2-l2"),
)

_L30: Final = (
    Band("coastal", "B01", 30, wavelength_um=0.443),
    Band("blue", "B02", 30, wavelength_um=0.482),
    Band("green", "B03", 30, wavelength_um=0.561),
    Band("red", "B04", 30, wavelength_um=0.655),
    Band("nir08", "B05", 30, wavelength_um=0.865, aliases=("nir",)),
    Band("swir16", "B06", 30, wavelength_um=1.609),
    Band("swir22", "B07", 30, wavelength_um=2.201),
    Band("cirrus", "B09", 30, wavelength_um=1.373),
    Band("lwir11", "B10", 30, KELVIN, 10.895),
    Band("lwir12", "B11", 30, KELVIN, 12.005),
)

_MODIS: Final = Sensor(
    id="modis-09a1",
    title="MODIS surface reflectance, 8-day composites (MOD09A1, version 6.1)",
    kind="optical",
    bands=(
        Band("red", "sur_refl_b01", 500, wavelength_um=0.645, aliases=("b1",)),
        Band("nir08", "sur_refl_b02", 500, wavelength_um=0.8585, aliases=("b2", "nir")),
        Band("blue", "sur_refl_b03", 500, wavelength_um=0.469, aliases=("b3",)),
        Band("green", "sur_refl_b04", 500, wavelength_um=0.555, aliases=("b4",)),
        Band("swir12", "sur_refl_b05", 500, wavelength_um=1.240, aliases=("b5",)),
        Band("swir16", "sur_refl_b06", 500, wavelength_um=1.640, aliases=("b6",)),
        Band("swir22", "sur_refl_b07", 500, wavelength_um=2.130, aliases=("b7",)),
    ),
    resolution_m=500,
    revisit_days=8,
    masks=(_STATE,),
    default_mask="state",
    aliases=("modis", "modis-09A1-061", "MODIS/061/MOD09A1", "MOD09A1"),
)

SENSORS: Final[tuple[Sensor, ...]] = (
    Sensor(
        id="sentinel-2-l2a",
        title="Sentinel-2 Level-2A, surface reflectance",
        kind="optical",
        bands=(*_S2, *_S2_SWIR),
        resolution_m=10,
        revisit_days=5,
        masks=(_SCL, _QA60, _SCORE),
        default_mask="scl",
        aliases=("sentinel-2", "s2", "s2-l2a", "COPERNICUS/S2_SR_HARMONIZED", "COPERNICUS/S2_SR", "sentinel-2-c1-l2a"),
        elsewhere=(
            ("B10", "leave B10 out, or read it from sentinel-2-l1c: Level-2A products hold no cirrus band"),
            ("cirrus", "leave it out, or read it from sentinel-2-l1c: Level-2A products hold no cirrus band"),
        ),
    ),
    Sensor(
        id="sentinel-2-l1c",
        title="Sentinel-2 Level-1C, top-of-atmosphere reflectance",
        kind="optical",
        bands=(*_S2, _S2_CIRRUS, *_S2_SWIR),
        resolution_m=10,
        revisit_days=5,
        masks=(_QA60, _SCORE),
        default_mask="qa60",
        aliases=("s2-l1c", "COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2"),
    ),
    Sensor(
        id="sentinel-1-rtc",
        title="Sentinel-1 gamma nought, radiometrically terrain corrected",
        kind="radar",
        bands=_RADAR,
        resolution_m=10,
        revisit_days=6,
        aliases=("sentinel-1", "s1", "s1-rtc"),
    ),
    Sensor(
        id="sentinel-1-grd",
        title="Sentinel-1 sigma nought, calibrated and terrain corrected from GRD",
        kind="radar",
        bands=_RADAR,
        resolution_m=10,
        revisit_days=6,
        aliases=("s1-grd", "COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"),
    ),
    _LANDSAT,
    _hls("hls2-l30", "Landsat", _L30, ("hls-l30", "HLSL30", "NASA/HLS/HLSL30/v002")),
    _hls(
        "hls2-s30",
        "Sentinel-2",
        tuple(Band(b.common, b.name, 30, wavelength_um=b.wavelength_um) for b in (*_S2, _S2_CIRRUS, *_S2_SWIR)),
        ("hls-s30", "HLSS30", "NASA/HLS/HLSS30/v002"),
    ),
    _MODIS,
    Sensor(
        id="satellite-embedding",
        title="Annual satellite embeddings: one unit vector of dimension 64 per 10 m pixel and year",
        kind="product",
        bands=tuple(Band(f"a{number:02d}", f"A{number:02d}", 10, EMBEDDING) for number in range(64)),
        resolution_m=10,
        revisit_days=365,
        aliases=("GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL",),
    ),
    *RARER_SENSORS,
)

PRODUCTS: Final = frozenset(sensor.id for sensor in SENSORS if sensor.kind == "product")
"""Sensors that neither files nor the synthetic landscape stand for."""

_Assets = tuple[tuple[str, tuple[str, ...]], ...]
_BANDS: Final = {sensor.id: sensor.bands for sensor in SENSORS}
_MASKS: Final = {sensor.id: tuple((mask.name, mask.band) for mask in sensor.masks) for sensor in SENSORS}

# how each encoding becomes reflectance_e4, decibels or kelvin
_S2_BASELINE: Final = ((REFLECTANCE, Scaling(offset_rule="s2_baseline", nodata=0)),)
_S2_HARMONISED: Final = ((REFLECTANCE, Scaling(nodata=0)),)
_POWER: Final = ((DB, Scaling(nodata=-32768, above=0)),)
_DECIBEL: Final = ((DB, Scaling(encoding="db")),)
_LANDSAT_SCALINGS: Final = (
    (REFLECTANCE, Scaling(scale=0.275, offset=-2000, nodata=0)),
    (KELVIN, Scaling(scale=0.00341802, offset=149.0, nodata=0)),
)
_HLS: Final = ((REFLECTANCE, Scaling(nodata=-9999)), (KELVIN, Scaling(scale=0.01, offset=273.15, nodata=-9999)))
_HLS_FRACTION: Final = ((REFLECTANCE, Scaling(scale=10_000)), (KELVIN, Scaling(offset=273.15)))
_MODIS_SCALINGS: Final = ((REFLECTANCE, Scaling(nodata=-28672, above=-101, at_most=16_000)),)

# properties that all images of an Earth Engine collection have; its filters drop images without the property
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
    """Return assets named as the agency names the bands; `short` drops the zero of B01, as Earth Engine does."""
    return tuple((b.common, (b.name.replace("B0", "B") if short else b.name,)) for b in _BANDS[sensor])


def _common_names(sensor: str) -> _Assets:
    return tuple((band.common, (band.common,)) for band in _BANDS[sensor])


def _any_name(sensor: str) -> _Assets:
    """Accept any name that a user may have given to a band."""
    return tuple((b.common, tuple(dict.fromkeys((b.common, b.name, *b.aliases)))) for b in _BANDS[sensor])


def _any_name_source(provider: str, sensor: str, scalings: tuple[tuple[str, Scaling], ...]) -> Source:
    """Return the source of user files or the synthetic landscape: bands under any name, no offset unless stated."""
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
    "landsat-c2-l2": _LANDSAT_SCALINGS,
    "hls2-l30": _HLS,
    "hls2-s30": _HLS,
    "modis-09a1": _MODIS_SCALINGS,
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
    ),
    Source(
        "planetary_computer",
        "landsat-c2-l2",
        collection="landsat-c2-l2",
        assets=_LANDSAT_ASSETS,
        scalings=_LANDSAT_SCALINGS,
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
        scalings=_MODIS_SCALINGS,
        masks=(("state", "sur_refl_state_500m"),),
    ),
)

_EARTH_SEARCH: Final = (
    # the offset is already applied, whatever raster:bands states (earth-search issues 66 and 71)
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
        scalings=_LANDSAT_SCALINGS,
        masks=(("qa_pixel", "qa_pixel"),),
        block_px=256,
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
        properties=_EE_S2,
    ),
    Source(
        "earth_engine",
        "sentinel-1-grd",
        collection="COPERNICUS/S1_GRD",
        assets=_own_names("sentinel-1-grd"),
        scalings=_DECIBEL,
        properties=_EE_S1,
    ),
    Source(
        "earth_engine",
        "sentinel-1-grd",
        collection="COPERNICUS/S1_GRD_FLOAT",
        assets=_own_names("sentinel-1-grd"),
        scalings=((DB, Scaling(above=0)),),
        properties=_EE_S1,
    ),
    Source(
        "earth_engine",
        "landsat-c2-l2",
        collection="LANDSAT/LC08/C02/T1_L2",
        more_collections=("LANDSAT/LC09/C02/T1_L2",),
        assets=_own_names("landsat-c2-l2"),
        scalings=_LANDSAT_SCALINGS,
        masks=(("qa_pixel", "QA_PIXEL"),),
        properties=_EE_LANDSAT,
    ),
    Source(
        "earth_engine",
        "hls2-l30",
        collection="NASA/HLS/HLSL30/v002",
        assets=_own_names("hls2-l30", short=True),
        scalings=_HLS_FRACTION,
        masks=(("fmask", "Fmask"),),
        properties=_EE_HLS,
    ),
    Source(
        "earth_engine",
        "hls2-s30",
        collection="NASA/HLS/HLSS30/v002",
        assets=_own_names("hls2-s30", short=True),
        scalings=_HLS_FRACTION,
        masks=(("fmask", "Fmask"),),
        properties=_EE_HLS,
    ),
    Source(
        "earth_engine",
        "modis-09a1",
        collection="MODIS/061/MOD09A1",
        assets=_own_names("modis-09a1"),
        scalings=_MODIS_SCALINGS,
        masks=(("state", "StateQA"),),
        properties=_EE_NOTHING,
    ),
    Source(
        "earth_engine",
        "satellite-embedding",
        collection="GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL",
        assets=_own_names("satellite-embedding"),
        scalings=(),
        properties=_EE_NOTHING,
    ),
)

SOURCES: Final[tuple[Source, ...]] = (
    *_PLANETARY_COMPUTER,
    *_EARTH_SEARCH,
    *_EARTH_ENGINE,
    *RARER_SOURCES,
    *(_any_name_source("files", sensor, scalings) for sensor, scalings in _SCALINGS.items()),
    *(_any_name_source("synthetic", sensor, scalings) for sensor, scalings in _SCALINGS.items()),
)

_SWATHS: Final = (
    "catalogues have Sentinel-3 and Sentinel-5P as NetCDF swaths, numbers without a grid, which are no rasters",
    "read it from earth_engine, or give arrays to Model.embed",
)

NOT_SERVED: Final = {
    **dict.fromkeys((one.id for one in RARER_SENSORS if one.id.startswith(("sentinel-3", "sentinel-5p"))), _SWATHS),
    "sentinel-1-grd": (
        "catalogues serve GRD as uncalibrated amplitudes without a coordinate system, which are not backscatter",
        "read sentinel-1-rtc, or sentinel-1-grd from earth_engine, which calibrates it",
    ),
    "sentinel-2-l1c": (
        "it does not serve Level-1C",
        "read sentinel-2-l2a, or sentinel-2-l1c from earth_engine or from files",
    ),
    "modis-l1b": (
        "no public catalogue has MOD021KM, Earth Engine's neither",
        "name images of your own, EarthEngine(collections={'modis-l1b': 'projects/...'}), or give arrays",
    ),
}
"""Why a provider lacks a sensor that users ask it for, and what to do."""
