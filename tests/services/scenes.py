"""Small scenes whose every number is known: a few hundred pixels that tests can check by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np

from rs_embed_dask.imagery.grid import Grid
from tests.services.catalog import Catalog, Layer, Scene

S2_10M = ("B02", "B03", "B04", "B08")
S2_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
S2_60M = ("B01", "B09")
CORNER = (600_000.0, 5_700_000.0)
SIDE_M = 1200.0
VEGETATION = 4


def when(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def transform(corner, pixel):
    return (pixel, 0.0, corner[0], 0.0, -pixel, corner[1])


def layer(name, values, *, pixel=10.0, corner=CORNER, nodata=None, dtype="uint16", **fields):
    return Layer(name, np.asarray(values, dtype), transform(corner, pixel), nodata, fields)


def flat(name, value, *, pixel=10.0, side_m=SIDE_M, **options):
    """A layer of one number."""
    n = round(side_m / pixel)
    return layer(name, np.full((n, n), value), pixel=pixel, **options)


def s2_scene(name, date, *, dn=1500, scl=VEGETATION, baseline="03.01", bands=S2_10M, crs="EPSG:32631", **more):
    """A Sentinel-2 L2A item of flat bands; `dn` may be one number or one per band; `layers` replaces or adds."""
    options = {"corner": more.pop("corner", CORNER)}
    pixels = dict.fromkeys(S2_60M, 60.0) | dict.fromkeys(S2_20M, 20.0)
    layers = {b: flat(b, dn[b] if isinstance(dn, dict) else dn, pixel=pixels.get(b, 10.0), **options) for b in bands}
    if scl is not None:
        layers["SCL"] = flat("SCL", scl, pixel=20.0, dtype="uint8", **options)
    layers |= {item.name: item for item in more.pop("layers", ())}
    properties = {
        "platform": "Sentinel-2A",
        "eo:cloud_cover": more.pop("cloud", 0.0),
        "s2:processing_baseline": baseline,
        "s2:mgrs_tile": more.pop("tile", "31UFS"),
        "s2:generation_time": more.pop("generated", "2022-07-01T00:00:00Z"),
        **more,
    }
    return Scene(name, "sentinel-2-l2a", when(date), crs, tuple(layers.values()), properties)


def catalogue(root, *scenes, edit=None):
    """Write scenes; `edit` may change each item before it is saved."""
    catalog = Catalog(root)
    for scene in scenes:
        item = catalog.add(scene)
        if edit is not None:
            edit(item)
    return catalog.save()


def grid(*, size=40, pixel=10.0, offset=(200.0, 200.0), corner=CORNER, crs="EPSG:32631"):
    """A square grid inside the scenes, `offset` metres right of and below their corner."""
    left, top = corner[0] + offset[0], corner[1] - offset[1]
    return Grid(crs, (pixel, 0.0, left, 0.0, -pixel, top), (size, size))


def acquisition(name, *, generated, strip="S20220601T100000", hour="10:00:00", tile="31UFS"):
    strips = {"s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_{generated[:8]}_{strip}_N04.00"}
    stamp = f"{generated[:4]}-{generated[4:6]}-{generated[6:8]}T00:00:00Z"
    return s2_scene(name, f"2022-06-01T{hour}", bands=("B04",), generated=stamp, tile=tile, **strips)


def seam_scenes():
    """One ground in two zones: 31 with its eastern third missing, 32 with noise of its own."""
    noise = np.random.default_rng(5)
    west = noise.integers(1000, 4000, (400, 400))
    west[:, 300:] = 0
    east = noise.integers(1000, 4000, (400, 400))
    near = noise.integers(1000, 4000, (400, 400))
    place = {"corner": (706_000.0, 5_711_000.0)}, {"corner": (289_800.0, 5_711_000.0)}
    return [
        s2_scene(
            "w1", "2022-06-05T10:00:00", bands=(), scl=None, layers=[layer("B04", west, **place[0])], tile="31UGT"
        ),
        s2_scene(
            "e1",
            "2022-06-05T10:00:04",
            bands=(),
            scl=None,
            crs="EPSG:32632",
            layers=[layer("B04", east, **place[1])],
            tile="32ULC",
        ),
        s2_scene(
            "e2",
            "2022-06-15T10:00:04",
            bands=(),
            scl=None,
            crs="EPSG:32632",
            layers=[layer("B04", near, **place[1])],
            tile="32ULC",
        ),
    ]


FOOTPRINTS = {
    "proj:epsg": lambda item: None,
    "proj:code": lambda item: item["properties"].update({"proj:epsg": None, "proj:code": "EPSG:32631"}),
    "on the asset": lambda item: (
        [
            asset.update({"proj:code": item["properties"].get("proj:code", "EPSG:32631")})
            for asset in item["assets"].values()
        ]
        + [item["properties"].pop("proj:epsg")]
    ),
    "nine numbers": lambda item: [a["proj:transform"].extend([0, 0, 1]) for a in item["assets"].values()],
    "box only": lambda item: [
        (a.pop("proj:transform"), a.update({"proj:bbox": [600_000.0, 5_698_800.0, 601_200.0, 5_700_000.0]}))
        for a in item["assets"].values()
    ],
    "box of the item": lambda item: [
        [a.pop("proj:transform") for a in item["assets"].values()],
        item["properties"].update({"proj:bbox": [600_000.0, 5_698_800.0, 601_200.0, 5_700_000.0]}),
    ],
    "degrees only": lambda item: [
        item["properties"].pop("proj:epsg"),
        [[a.pop(k) for k in list(a) if k.startswith("proj:")] for a in item["assets"].values()],
    ],
}
"""Ways in which a catalogue may state where an item of `s2_scene` lies; each changes an item."""
