"""Presto: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import LEVEL, OF_LEVEL, Inputs
from rs_embed_dask.preprocess.steps import Divide, Standard, Step, floats, names

_FILE = Weights(
    file="default_model.pt",
    url="https://github.com/nasaharvest/presto (data/default_model.pt)",
    sha256="559c9d76f525bdf2dd3774da8b1e7f1510769b73baacac12e9e4d8d5c67fbe65",
    size=3321716,
    licence="MIT",
    prefixes=("encoder.",),
)
_LEVELS, _GROUPS = "sentinel-2-l1c sentinel-2-l2a", "0 0 0 1 1 1 2 3 4 4"
_S2 = "blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22"


def _inputs(name: str, bands: str, unit: str, *steps: Step, sensors: str = "", groups: str = "", **more: Any) -> Inputs:
    more |= {"max_cloud_pct": 80} if unit == "reflectance_e4" else {}
    more["per_band"] = (("group", floats(groups or "0 " * len(names(bands)))),)
    more |= {"native": True, "frames": Frames("months", cap=12), "fill": "hide", "empty": "mask"}
    return Inputs(name, names(sensors), names(bands), steps, unit, **more)


CARD = Card(
    id="presto",
    title="Presto: the series of one pixel, from radar, optical, weather and terrain",
    paper="arXiv:2304.14065",
    citation="Tseng et al., Lightweight, Pre-trained Transformers for Remote Sensing Timeseries, 2023",
    code_licence="MIT",
    source="nasaharvest/presto at 13173d0, single_file_presto.py",
    variants=(Variant.vit("default", (128, 2, 8), _FILE, params=0.404),),
    patch_px=1,
    outputs=vectors(
        mean="the mean of the pixels' vectors",
        max="the maximum of each feature over the pixels",
        grid="a pixel's vector: the mean of its visible tokens and its place's, then the final norm",
    ),
    extras=("dates", "place"),
    modalities=(("s2",),),
    together=True,
    masks="hide",
    options=(LEVEL,),
    inputs=(
        _inputs("s2", _S2, "reflectance_e4", Divide(10_000), sensors=_LEVELS, groups=_GROUPS, when=OF_LEVEL),
        _inputs("s1", "vv vh", "db", Standard((-25.0,) * 2, (25.0,) * 2), sensors="sentinel-1-grd sentinel-1-rtc"),
        _inputs(
            *("era5", "temperature_2m total_precipitation", "kelvin, m", Standard((272.15, 0.0), (35.0, 0.03))),
            sensors="era5-land-monthly",
        ),
        _inputs("srtm", "elevation slope", "m, degrees", Standard((0.0, 0.0), (2000.0, 50.0)), sensors="srtm"),
        _inputs("dw", "label", "class"),
    ),
    parity="the authors' code and real weights: vectors and grids within 1e-6",
    notes=(
        "Every pixel is encoded alone: a grid has their vectors, an image their mean (as for EuroSAT).",
        "Any set of modalities may be combined, as in modality='s2+s1'; what is missing at a pixel and step is hidden.",
        "The place is always part of the vector, one for all pixels of an item; months are those of frames' middles.",
        "A pixel without any measurement gets the vector of its place alone.",
        "Only Earth Engine has `era5` (temperature and precipitation of a month's mean day) and `srtm`.",
        "Slopes are worked out there on the pixels of 10 m, as the authors did: steps between heights of 30 m.",
        "Labels of Dynamic World come as arrays: `dw` (0 to 8, 9 for none). No public STAC has ERA5-Land or slopes.",
        "Pretraining saw Sentinel-2 L1C; where a provider has L2A only, that is read, and the plan and receipt say so.",
        "NDVI is computed from the optical bands.",
    ),
    deviations=("rs-embed has no adapter for it.",),
)
