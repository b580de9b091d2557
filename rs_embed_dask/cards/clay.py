"""Clay: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option
from rs_embed_dask.preprocess.steps import Resize, Standard, Step, floats, names

_TEN = "blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22"
_SIX = "red green blue nir08 swir16 swir22"
_S2 = (
    "1105 1355 1552 1887 2422 2630 2743 2785 2388 1835; 1809 1757 1888 1870 1732 1697 1742 1648 1470 1379; "
    "0.493 0.56 0.665 0.704 0.74 0.783 0.842 0.865 1.61 2.19"
)
_LANDSAT = "13705 13310 12474 17801 14615 12701; 9578 9408 10144 8277 5300 4522; 0.65 0.56 0.48 0.86 1.6 2.2"
_NAIP = "110.16 115.41 98.15 139.04; 47.23 39.82 35.43 49.86; 0.65 0.56 0.48 0.842"
# From reflectance to the digital numbers of the files, to which the statistics apply.
_LANDSAT_DN = Standard((-2000.0,) * 6, (0.275,) * 6)


def _inputs(modality: str, sensor: str, bands: str, numbers: str, *before: Step, **more: Any) -> Inputs:
    """Return one platform's input; `numbers` are means, standard deviations and wavelengths of its bands."""
    mean, std, waves = map(floats, numbers.split(";"))
    more |= {"steps": (*before, Standard(mean, std), Resize()), "per_band": (("wavelength_um", waves),)}
    return Inputs(modality, (sensor,) if sensor else (), names(bands), size_px=256, **more)


def _variant(name: str, sizes: tuple[int, int, int], params: float, where: tuple[str, str], seen: str) -> Variant:
    weights = Weights(*where, seen=seen, licence="Apache-2.0", keys=("state_dict",), prefixes=("model.", "encoder."))
    return Variant.vit(name, sizes, weights, params=params)


_NOW = ("made-with-clay/Clay", "v1.5/clay-v1.5.ckpt")
_OLD = ("made-with-clay/Clay-legacy", "v1/clay-v1-base.ckpt")
CARD = Card(
    id="clay",
    title="Clay: any bands by their wavelengths, with date, place and ground size",
    citation="Clay Foundation Model v1.5, Clay Foundation, 2024 (clay-foundation.github.io/model)",
    code_licence="Apache-2.0",
    source="Clay-foundation/model at a5790ce, claymodel/model.py",
    variants=(
        _variant("v1.5", (1024, 24, 16), 311.4, _NOW, "about 4.8 GB, decoder and teacher included"),
        _variant("v1", (768, 12, 12), 92.1, _OLD, "named so in terratorch"),
    ),
    patch_px=8,
    outputs=vectors(*("cls", "mean", "max"), cls="the class token after the final norm: the authors' own vector"),
    extras=("dates", "place", "gsd"),
    any_bands=True,
    masks="drop",
    inputs=(
        _inputs("s2", "sentinel-2-l2a", _TEN, _S2, max_cloud_pct=30),
        _inputs("s1", "sentinel-1-rtc", "vv vh", "-12.113 -18.673; 8.314 8.017; 3.5 4.0", unit="db"),
        _inputs("landsat", "landsat-c2-l2", _SIX, _LANDSAT, _LANDSAT_DN, resolution_m=30, max_cloud_pct=30),
        _inputs("naip", "", "red green blue nir", _NAIP, unit="byte", resolution_m=1),
    ),
    options=(
        Option("hour", 0, tuple(range(24)), "hour (UTC) of the images; composites have none: 0", config=True),
        Option("gsd", "read", ("read", "resized"), "which image's ground size of a pixel to use", config=True),
        Option("metadata", default=True, doc="pass date, place, ground size; else zeros and 1", config=True),
        Option("size_px", 256, doc="side of the image", multiple=8),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "The date is the middle of the span; weeks are ISO weeks, of which the 53rd equals the first.",
        "Any of a modality's bands may be left out: bands=('red', 'nir').",
        "No provider serves NAIP here: pass `naip` as an array of 8-bit values to Model.embed.",
        "The authors support further platforms (MODIS, LINZ, PlanetScope, Landsat Level-1, Satellogic), absent here.",
        "The statistics are those of version 1.5; version 1's were not checked.",
    ),
    deviations=("rs-embed pools the tokens of the grid, not the class token, where the region is not a square.",),
)
