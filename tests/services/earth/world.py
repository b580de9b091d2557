"""Made scenes for the emulator. Tests work out the same numbers from the same rasters with NumPy."""

from __future__ import annotations

import datetime as dt
import zlib

from tests.services.earth.rasters import Pattern, Raster, Scene

S2, S2_TOA = "COPERNICUS/S2_SR_HARMONIZED", "COPERNICUS/S2_HARMONIZED"
SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
S1, S1_FLOAT = "COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"
LANDSAT = ("LANDSAT/LC08/C02/T1_L2", "LANDSAT/LC09/C02/T1_L2")
HLS = {"hls2-l30": "NASA/HLS/HLSL30/v002", "hls2-s30": "NASA/HLS/HLSS30/v002"}
MODIS = "MODIS/061/MOD09A1"
VECTORS = "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"

S2_BANDS = {
    **dict.fromkeys(("B2", "B3", "B4", "B8"), 10),
    **dict.fromkeys(("B5", "B6", "B7", "B8A", "B11", "B12"), 20),
    **dict.fromkeys(("B1", "B9"), 60),
}
CLASSES = (4, 4, 5, 5, 6, 2, 3, 8, 9, 10)
SIDE_M = 109_800.0
PLACES = {
    # corner of a tile: crs, left, top
    "brussels": ("EPSG:32631", 600_000.0, 5_700_000.0),
    "liege": ("EPSG:32632", 199_980.0, 5_700_000.0),
    "santiago": ("EPSG:32719", 300_000.0, 6_300_040.0),
    "quito": ("EPSG:32717", 700_020.0, 10_000_000.0),
    "svalbard": ("EPSG:32633", 499_980.0, 8_400_000.0),
    "tromso": ("EPSG:32634", 399_960.0, 7_800_000.0),
}


def seed(*parts):
    return zlib.crc32("/".join(map(str, parts)).encode()) % 1_000_000


def millis(text):
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def tile(place, pixel, numbers, *, side_m=SIDE_M, **more):
    crs, left, top = PLACES[place] if isinstance(place, str) else place
    n = int(side_m // pixel)
    return Raster(crs, (pixel, 0.0, left, 0.0, -pixel, top), (n, n), numbers, **more)


def s2(place, time, *, cloud=10.0, platform="Sentinel-2A", collection=S2, name="", holes=0):
    """A Sentinel-2 tile with SCL, QA60, and its Cloud Score+ in a collection of its own."""
    label = f"{place if isinstance(place, str) else place[1:]}{name}"
    stamp = time.replace("-", "").replace(":", "")
    bands = {b: tile(place, m, Pattern(seed(b, time, label), holes=holes)) for b, m in S2_BANDS.items()}
    if collection == S2_TOA:
        bands["B10"] = tile(place, 60, Pattern(seed("B10", time, label)))
    else:
        bands["SCL"] = tile(place, 20, Pattern(seed("scl", time, label), choices=CLASSES), dtype="|u1")
    bands["QA60"] = tile(place, 60, Pattern(seed("qa", time, label), choices=(0, 0, 1024, 2048, 3072)))
    score = {"cs": tile(place, 10, Pattern(seed("cs", time, label), 0, 1000, divisor=1000), dtype="<f4")}
    properties = {"CLOUDY_PIXEL_PERCENTAGE": cloud, "SPACECRAFT_NAME": platform}
    index = f"{stamp}_{label}"
    return [Scene(collection, index, millis(time), bands, properties), Scene(SCORE, index, millis(time), score)]


def s1(place, time, *, orbit="DESCENDING", mode="IW", polarisations=("VV", "VH"), platform="A"):
    """A Sentinel-1 scene in power and in decibels."""
    power = {p: Pattern(seed(p, time, place, orbit, mode), 1, 9999, divisor=10_000) for p in polarisations}
    properties = {
        "instrumentMode": mode,
        "orbitProperties_pass": orbit,
        "transmitterReceiverPolarisation": list(polarisations),
        "platform_number": platform,
    }
    index = f"S1{platform}_{mode}_{time.replace(':', '')}_{orbit[0]}"
    made = []
    for collection, numbers in ((S1_FLOAT, power), (S1, {p: Decibels(made) for p, made in power.items()})):
        bands = {p: tile(place, 10, each, dtype="<f8") for p, each in numbers.items()}
        made.append(Scene(collection, index, millis(time), bands, properties))
    return made


class Decibels(Pattern):
    """A pattern of power in decibels."""

    def __init__(self, power):
        super().__init__(power.seed, power.low, power.high, power.divisor)

    def __call__(self, columns, rows):
        import numpy as np

        return 10 * np.log10(super().__call__(columns, rows))


def landsat(place, time, *, satellite=8, cloud=10.0):
    """A Landsat scene; its lattice is 15 m off that of Sentinel-2."""
    crs, left, top = PLACES[place]
    where = (crs, left - 15.0, top + 15.0)
    bands = {f"SR_B{n}": tile(where, 30, Pattern(seed(n, time, satellite), 7000, 40_000)) for n in range(1, 8)}
    bands["ST_B10"] = tile(where, 30, Pattern(seed("st", time, satellite), 30_000, 50_000))
    bands["QA_PIXEL"] = tile(where, 30, Pattern(seed("q", time, satellite), choices=(64, 64, 64, 72, 80, 66, 1)))
    properties = {"CLOUD_COVER": cloud, "SPACECRAFT_ID": f"LANDSAT_{satellite}"}
    return [Scene(LANDSAT[satellite - 8], f"LC0{satellite}_{time.replace(':', '')}", millis(time), bands, properties)]


def hls(sensor, place, time, *, cloud=10.0):
    """An HLS scene: fractions, temperatures in degrees Celsius."""
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10", "B11")
    if sensor == "hls2-s30":
        names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
    bands = {n: tile(place, 30, Pattern(seed(n, time), 1, 6000, divisor=10_000), dtype="<f4") for n in names}
    bands["Fmask"] = tile(place, 30, Pattern(seed("f", time), choices=(64, 64, 128, 2, 4, 8)), dtype="|u1")
    return [Scene(HLS[sensor], f"T_{time.replace(':', '')}", millis(time), bands, {"CLOUD_COVERAGE": cloud})]


def modis(time, *, left=0.0, top=5_800_000.0):
    """A MODIS composite on the sinusoidal lattice."""
    pixel, n = 463.3127165, 2400
    place = {"crs": SINUSOIDAL, "transform": (pixel, 0.0, left, 0.0, -pixel, top), "shape": (n, n)}
    bands = {
        f"sur_refl_b0{k}": Raster(**place, numbers=Pattern(seed(k, time), -150, 16_050), dtype="<i2")
        for k in range(1, 8)
    }
    bands["StateQA"] = Raster(**place, numbers=Pattern(seed("q", time), choices=(8, 8, 8, 1, 4, 1024)))
    return [Scene(MODIS, time[:10].replace("-", "_"), millis(time), bands)]


def modis_l1b(time, numbers, *, properties, collection="projects/me/assets/mod021km"):
    """An image of stored integers of MOD021KM, by band patterns or arrays (160 x 160 km), with its own properties."""
    bands = {name: tile("brussels", 1000, each, side_m=160_000.0) for name, each in numbers.items()}
    return [Scene(collection, f"MOD_{time.replace(':', '')}", millis(time), bands, properties)]


def layers(collection, time, **about):
    """An image of 30 m pixels: a band for each pair of a lowest and a highest number; the rest are properties."""
    ranges = {name: value for name, value in about.items() if isinstance(value, tuple)}
    bands = {name: tile("brussels", 30, Pattern(seed(name, time), *ends), dtype="<i4") for name, ends in ranges.items()}
    properties = {name: value for name, value in about.items() if name not in ranges}
    return [Scene(collection, f"L_{time[:10]}", millis(time), bands, properties)]


def vectors(place, year, *, side_m=81_920.0):
    """Annual embeddings: 64 bands, stored with the south on top as the published files are."""
    crs, left, top = PLACES[place]
    n = int(side_m // 10)
    lattice = (10.0, 0.0, left, 0.0, 10.0, top - n * 10.0)
    bands = {f"A{k:02d}": Raster(crs, lattice, (n, n), Squared(seed(k, year, place)), dtype="<f8") for k in range(64)}
    return [Scene(VECTORS, f"{year}_{place}", millis(f"{year}-01-01"), bands)]


class Squared(Pattern):
    """Numbers between -1 and 1 as they come of whole ones: the sign times the square."""

    def __init__(self, seed_):
        super().__init__(seed_, -127, 127)

    def __call__(self, columns, rows):
        import numpy as np

        whole = super().__call__(columns, rows) / 127.5
        return np.sign(whole) * whole**2
