"""Real imagery as a catalogue: the series and the granule of a data folder as COGs and STAC items, for ``make real``.

``python -m tests.services.real_imagery DATA OUT`` writes it. Collections and assets have Planetary Computer's names.
Items carry what exists, and say in ``processing:lineage`` how they differ from the real collection:

* sentinel-2-l2a, Belgium 2020-11 .. 2021-10: ten monthly composites of nine bands. They have no SCL (clouds were masked
  before compositing), so they are read with ``FetchSpec(mask="none")``. Two months have no optical data and so no item.
* sentinel-2-l2a, Belgium 2023: 31 single dates with SCL, four or five bands.
* sentinel-2-l2a, granule 29RKH of 2020-02-19: 12 bands, SCL and AOT, decimated ten times (100, 200 and 600 m pixels).
* sentinel-1-rtc, Belgium: 12 months and 10 dates of VV and VH. Linear power, float32, nodata -32768 as in the real
  collection, but sigma nought of the ellipsoid, not gamma nought of the terrain.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

from tests.services.catalog import Catalog, Layer, Scene

MONTHLY = "s2s1-belgium-monthly/worldcereal_preprocessed_inputs.nc"
OPTICAL_DATES = ("s2s1-belgium-acquisitions/cdse_sentinel2_l2a.nc", "s2s1-belgium-acquisitions/test_optical_cube.nc")
RADAR_DATES = "s2s1-belgium-acquisitions/cdse_sentinel1_grd.nc"
GRANULE = "s2-29RKH-s1-grd/S2A_29RKH_20200219_0_L2A"

S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
BELGIUM = "EPSG:32631"
FILL = 65535
RADAR_NODATA = -32768.0
CLOUDS = (8, 9, 10)
# the numbers come without the offset of baseline 04.00, as products before it do
BEFORE_OFFSET = "03.01"


def build(data: Path, out: Path) -> Path:
    """Write the catalogue of `data` into `out` and return it."""
    catalogue = Catalog(out, account="realimages")
    for scene in (*monthly(data), *optical_dates(data), *radar_dates(data), granule(data)):
        item = catalogue.add(scene)
        if "start_datetime" in scene.properties:
            item["properties"]["datetime"] = None
    return catalogue.save()


def series(path: Path, prefix: str) -> Iterator[tuple[dt.datetime, dict[str, np.ndarray], tuple[float, ...]]]:
    """Yield date, bands as uint16 and transform of each time of an openEO cube."""
    with xr.open_dataset(path, mask_and_scale=False, engine="netcdf4") as cube:
        names = {name: name.removeprefix(prefix) for name in map(str, cube.data_vars) if name.startswith(prefix)}
        x, y, times = cube["x"].values, cube["y"].values, cube["t"].values.astype("datetime64[s]").astype(object)
        values = {short: cube[name].transpose("t", "y", "x").values.view("uint16") for name, short in names.items()}
    pixel = float(x[1] - x[0])
    transform = (pixel, 0.0, float(x[0]) - pixel / 2, 0.0, -pixel, float(y[0]) + pixel / 2)
    for index, time in enumerate(times):
        yield time.replace(tzinfo=dt.UTC), {name: band[index] for name, band in values.items()}, transform


def power(code: np.ndarray) -> np.ndarray:
    """Turn openEO's code of backscatter into linear power: dB = 20 log10(code) - 83."""
    linear = np.square(code.astype("float64")) * 10**-8.3
    return np.where(code == 0, RADAR_NODATA, linear).astype("float32")


def month(start: dt.datetime) -> dict[str, str]:
    """Return the properties of an item that spans a month."""
    stop = (start + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(seconds=1)
    return {"start_datetime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end_datetime": f"{stop:%Y-%m-%dT%H:%M:%SZ}"}


def monthly(data: Path) -> Iterator[Scene]:
    for time, bands, transform in series(data / MONTHLY, "S2-L2A-"):
        missing = np.mean([band == FILL for band in bands.values()])
        if missing < 1:
            about = {
                "eo:cloud_cover": round(100 * float(missing), 2),
                "s2:processing_baseline": BEFORE_OFFSET,
                "platform": "Sentinel-2",
                "processing:lineage": "monthly openEO composite without clouds; eo:cloud_cover tells the part missing",
                **month(time),
            }
            layers = [Layer(name, band, transform, nodata=FILL) for name, band in bands.items()]
            yield Scene(f"S2_31UFS_{time:%Y%m}_monthly", S2, time, BELGIUM, tuple(layers), about)
    for time, bands, transform in series(data / MONTHLY, "S1-SIGMA0-"):
        yield radar(f"S1_31UFS_{time:%Y%m}_monthly", time, bands, transform=transform, about=month(time))


def optical_dates(data: Path) -> Iterator[Scene]:
    for number, path in enumerate(OPTICAL_DATES):
        for time, bands, transform in series(data / path, "S2-L2A-"):
            scl = bands["SCL"].astype("uint8")
            about = {
                "eo:cloud_cover": round(100 * float(np.isin(scl, CLOUDS).mean()), 2),
                "s2:processing_baseline": BEFORE_OFFSET,
                "platform": "Sentinel-2",
                "processing:lineage": "openEO extract; the offset of baseline 04.00 is taken off already",
            }
            layers = [Layer(name, band, transform, nodata=0) for name, band in bands.items() if name != "SCL"]
            layers.append(Layer("SCL", scl, transform, nodata=0))
            yield Scene(f"S2_belgium{number}_{time:%Y%m%d}", S2, time, BELGIUM, tuple(layers), about)


def radar_dates(data: Path) -> Iterator[Scene]:
    for time, bands, transform in series(data / RADAR_DATES, "S1-SIGMA0-"):
        yield radar(f"S1_belgium_{time:%Y%m%d}", time, bands, transform=transform, about={})


def radar(name, time, bands, *, transform, about) -> Scene:
    layers = [Layer(band.lower(), power(code), transform, nodata=RADAR_NODATA) for band, code in bands.items()]
    about = {
        "platform": "Sentinel-1",
        "sar:polarizations": [layer.name.upper() for layer in layers],
        "processing:lineage": "openEO sigma nought (ellipsoid), not gamma nought of the terrain",
        **about,
    }
    return Scene(name, S1, time, BELGIUM, tuple(layers), about)


def granule(data: Path) -> Scene:
    folder = data / GRANULE
    properties = json.loads((folder / f"{folder.name}.json").read_text("utf-8"))["properties"]
    layers = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as file:
            layers.append(Layer(path.stem, file.read(1), tuple(file.transform)[:6], nodata=file.nodata))
            crs = str(file.crs)
    kept = (
        "platform",
        "eo:cloud_cover",
        "s2:processing_baseline",
        "s2:datastrip_id",
        "s2:generation_time",
        "s2:product_uri",
    )
    about = {name: properties[name] for name in kept}
    about |= {"s2:mgrs_tile": "29RKH", "processing:lineage": "every tenth pixel of the product"}
    return Scene(folder.name, S2, dt.datetime.fromisoformat(properties["datetime"]), crs, tuple(layers), about)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write real imagery as a catalogue.")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    items = json.loads((build(chosen.data, chosen.out) / "items.json").read_text("utf-8"))["features"]
    files = sum(len(item["assets"]) for item in items)
    print(f"{len(items)} items, {files} files in {chosen.out}")


if __name__ == "__main__":
    main()
