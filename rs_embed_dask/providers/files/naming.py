"""What the names of files and folders say: dates, baselines, bands, and the product that a file is part of."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rs_embed_dask.imagery.sensor_types import plain_band_name
from rs_embed_dask.imagery.sensors import sensor as sensor_named

if TYPE_CHECKING:
    from rs_embed_dask.imagery.sensors import Sensor

__all__ = [
    "FileProduct",
    "baseline_in",
    "is_aside",
    "is_picture",
    "layer_in",
    "layer_named",
    "moment_in",
    "product_of",
    "scene_folder",
]

_DAY: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<gap>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=gap)(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:[T_]?(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_DAY_OF_YEAR: Final = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d{2})(?P<doy>[0-3]\d{2})(?:T(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d))?(?!\d)"
)
_BASELINE: Final = re.compile(r"_N(\d{2})(\d{2})_")
_TOKENS: Final = re.compile(r"[\s_\-.]+")
_NOON: Final = dt.time(12)


def moment_in(text: str) -> dt.datetime | None:
    """Find a date in a name: ``20220605``, ``2022-06-05``, ``20220605T103629``, ``2022156`` and the like."""
    for match in _DAY.finditer(text):
        try:
            day = dt.date(int(match["y"]), int(match["m"]), int(match["d"]))
        except ValueError:  # such as 31 June
            continue
        return _moment(day, match["time"])
    for match in _DAY_OF_YEAR.finditer(text):
        first, number = dt.date(int(match["y"]), 1, 1), int(match["doy"])
        day = first + dt.timedelta(days=number - 1)
        if number >= 1 and day.year == first.year:
            return _moment(day, match["time"])
    return None


def _moment(day: dt.date, time: str | None) -> dt.datetime:
    at = _NOON if time is None else dt.time(int(time[:2]), int(time[2:4]), int(time[4:6]))
    return dt.datetime.combine(day, at, tzinfo=dt.UTC)


def baseline_in(text: str) -> str | None:
    """Find a Sentinel-2 processing baseline in a product's name."""
    match = _BASELINE.search(text)
    return None if match is None else f"{match[1]}.{match[2]}"


def layer_named(name: str, sensor: Sensor) -> str | None:
    """Return the layer that a band name means: a band's common name, or a quality band's name."""
    return name if name in sensor.band_names else _layers(sensor.id).get(plain_band_name(name))


@cache
def _layers(sensor_id: str) -> dict[str, str]:
    """Return the layers of a sensor by all plain names."""
    of = sensor_named(sensor_id)
    quality = {name: mask.band for mask in of.masks for name in (mask.band, *_MORE_NAMES.get(mask.band, ()))}
    names = list(quality.items())
    names += [(name, band.common) for band in of.bands for name in (band.common, band.name, *band.aliases)]
    layers: dict[str, str] = {}
    for name, layer in names:
        layers.setdefault(plain_band_name(name), layer)
    return layers


_LONGEST_NAME: Final = 4  # words of sur_refl_state_500m
_MORE_NAMES: Final = {"StateQA": ("sur_refl_state_500m",)}
_OLD_LANDSAT: Final = re.compile(r"L[TEM]0[4567]_")
# Landsat 4 to 7 number their bands in another way than Landsat 8 and 9
_OLD_BANDS: Final = {
    f"{kind}{number}": name
    for kind in ("SR_B", "B")
    for number, name in ((1, "blue"), (2, "green"), (3, "red"), (4, "nir08"), (5, "swir16"), (7, "swir22"))
} | {"ST_B6": "lwir11"}


def layer_in(stem: str, sensor: Sensor) -> tuple[str, str] | None:
    """Find the layer in a file's name, and the rest of the name."""
    words = _TOKENS.split(stem)
    old = _OLD_LANDSAT.match(stem) is not None
    for last in range(len(words), 0, -1):
        for first in range(max(0, last - _LONGEST_NAME), last):  # SR_B4 and QA_PIXEL are one name
            name = "_".join(words[first:last])
            if old:
                name = _OLD_BANDS.get(name.upper(), "" if re.search(r"B\d", name) else name)
            layer = layer_named(name, sensor) if words[first] and words[last - 1] and name else None
            if layer is not None:
                rest = [word for word in (*words[:first], *words[last:]) if not re.fullmatch(r"\d{2,3}m", word)]
                return layer, "_".join(rest)
    return None


@dataclass(frozen=True)
class FileProduct:
    """The product that a file is part of, and the sensor that it is of; None for one that is not in the tables."""

    name: str
    level: str
    sensor: str | None
    tiled: bool


_PRODUCTS: Final = tuple(
    (re.compile(pattern), sensors)
    for pattern, sensors in (
        (
            r"S2[ABCD]_MSI(?P<level>L1C|L2A)_\d{8}T\d{6}_N\d{4}_R\d{3}_T\w{5}_\d{8}T\d{6}",
            {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"},
        ),
        (
            r"S2[AB]_(?:OPER|USER)_PRD_MSI(?P<level>L1C|L2A)_PDMC_\d{8}T\d{6}_R\d{3}_V\d{8}T\d{6}_\d{8}T\d{6}",
            {"L1C": "sentinel-2-l1c", "L2A": "sentinel-2-l2a"},
        ),
        (
            r"L[COTEM]0\d_(?P<level>L1TP|L1GT|L1GS|L2SP|L2SR)_\d{6}_\d{8}_\d{8}_\d{2}_(?:T1|T2|RT)",
            {"L2SP": "landsat-c2-l2", "L2SR": "landsat-c2-l2"},
        ),
        (
            r"HLS\.(?P<level>S30|L30)\.T\w{5}\.\d{7}T\d{6}\.v\d\.\d",
            {"S30": "hls2-s30", "L30": "hls2-l30"},
        ),
    )
)
_PRODUCT_URI: Final = re.compile(r"<PRODUCT_URI[^>]*>\s*([^<\s]+)\s*<")
_MANY_TILES: Final = "_PRD_"
_NEAREST_FOLDERS: Final = 6
_MOST_BYTES: Final = 4_000_000


def product_of(path: Path) -> FileProduct | None:
    """Find the product of a file: in its name, in the folders around it, or in ESA's metadata beside it."""
    return _product_in(path.name) or _product_around(path.absolute().parent)


@lru_cache(maxsize=4096)
def _product_around(folder: Path) -> FileProduct | None:
    folders = (folder, *folder.parents[:_NEAREST_FOLDERS])
    named = next((product for each in folders if (product := _product_in(each.name)) is not None), None)
    if named is not None:
        return named
    metadata = next((file for each in folders for file in sorted(each.glob("MTD_MSIL*.xml"))), None)
    if metadata is None:  # also where a folder was renamed, ESA's metadata say what it is
        return None
    with metadata.open(encoding="utf-8", errors="replace") as file:
        uri = _PRODUCT_URI.search(file.read(_MOST_BYTES))
    return None if uri is None else _product_in(uri[1])


def _product_in(name: str) -> FileProduct | None:
    for pattern, sensors in _PRODUCTS:
        match = pattern.search(name)
        if match is not None:
            return FileProduct(match[0], match["level"], sensors.get(match["level"]), _MANY_TILES in match[0])
    return None


_ASIDE: Final = frozenset({"qi_data", "aux_data", "html", "rep_info", "datastrip", "inspire", "__macosx"})
_PICTURES: Final = frozenset(
    {"tci", "pvi", "rgb", "visual", "preview", "thumbnail", "thumb", "quicklook", "ql", "browse", "overview"}
)
_BY_RESOLUTION: Final = re.compile(r"R?\d{2}m|IMG_DATA", re.IGNORECASE)


def is_aside(parts: tuple[str, ...]) -> bool:
    """Whether a file found in a folder is none of the user's images: a hidden one, or one that describes others."""
    folders, name = {part.lower() for part in parts[:-1]}, parts[-1]
    return any(part.startswith(".") for part in parts) or name.startswith("MSK_") or bool(folders & _ASIDE)


def is_picture(stem: str) -> bool:
    """Whether a name says that a file is a picture for the eye."""
    return bool(_PICTURES & set(_TOKENS.split(stem.lower())))


def scene_folder(path: Path) -> Path:
    """Return the folder of a file's scene, above those that sort its bands by resolution."""
    folder = path.parent
    while _BY_RESOLUTION.fullmatch(folder.name):
        folder = folder.parent
    return folder
