"""AnySat: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Linear, Ratio, Resize, floats, names

_S2 = (
    "4304.32959 4159.2666 4057.77661 4328.95117 4571.22119 4644.87109 4837.24707 4700.25781 2823.26440 2319.97021; "
    "3537.99756 3324.23486 3270.07007 3250.53003 2897.39136 2754.49707 2821.52148 2625.95239 1731.56299 1549.30286"
)
_S1 = "3.28930140 -3.68293881 0.61162734; 40.1115227 40.5353355 1.03431833"
_AERIAL = "150.893494 92.7138901 84.8543777 80.7042389; 36.7649231 27.6249866 22.4794502 26.7337284"
_FILE = Weights(
    *("g-astruc/AnySat", "models/AnySat.pth"),
    licence="not stated (code: MIT)",
    keys=("state_dict",),
    prefixes=("model.",),
    drop=("pad_parameter",),
    spare=("projector_",),
)
_RADAR = ("sentinel-1-grd", "sentinel-1-rtc")
_LINEAR = When("radar", "linear", (("bands", ("vv", "vh", "ratio")), ("unit", "linear"), ("steps", ())))


def _demo(numbers: str, **more: Any) -> When:
    mean, std = map(floats, numbers.split(";"))
    return When("scale", "demo", (("per_band", (("mean", mean), ("std", std))), *more.items()))


def _inputs(name: str, bands: str, unit: str, *when: When, fold: int = 1, dense: int = 1, **more: Any) -> Inputs:
    """Return one modality; `fold` of its pixels make 10 m, `dense` of them a sub-patch."""
    more |= {"max_px": 32 * fold, "fold": fold, "resolution_m": 10 / fold, "apart": True}
    more |= {"when": (*when, When("grid", "dense", (("patch_px", dense),)))}
    more["frames"] = Frames("fixed", 8) if fold == 1 else Frames()  # images have no time
    return Inputs(name, more.pop("sensors", ()), names(bands), unit=unit, **more)


CARD = Card(
    id="anysat",
    title="AnySat: series and images of any resolution, alone or together",
    paper="arXiv:2412.14123",
    citation="Astruc et al., AnySat: One Earth Observation Model for Many Resolutions, Scales, Modalities, CVPR 2025",
    code_licence="MIT",
    source="gastruc/AnySat at e03e72e, hubconf.py",
    variants=(Variant.vit("base", (768, 6, 12), _FILE, params=124.9, dims=(("cls", 768), ("grid=dense", 1536))),),
    patch_px=1,
    outputs=vectors(
        *("cls", "mean", "max"),
        cls="the class token of the tile as the last block leaves it: the authors' own vector (`tile`)",
        mean="the mean of the grid's tokens",
        max="the maximum of each feature over the grid's tokens",
        grid="the tokens of the patches as the last block leaves them; dense: each sub-patch's joined to its patch's",
    ),
    extras=("dates",),
    modalities=(("s2",),),
    together=True,
    per_modality=True,
    inputs=(
        _inputs(
            *("s2", "blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22", "reflectance_e4"),
            _demo(_S2, steps=(Resize(),)),
            sensors=("sentinel-2-l2a",),
            steps=(Clip(0, 10_000), Resize()),
            max_cloud_pct=30,
        ),
        _inputs("s1", "vv vh", "db", _LINEAR, _demo(_S1), sensors=_RADAR, steps=(Linear(), Ratio(), Resize())),
        _inputs("s1-asc", "vv vh", "db", sensors=_RADAR),
        _inputs("l8", "B8 B1 B2 B3 B4 B5 B6 B7 B9 B10 B11", "dn", sensors=("landsat-c2-l1",)),
        _inputs("aerial", "nir red green blue", "byte", _demo(_AERIAL), fold=50, dense=10),
        _inputs("aerial-flair", "nir red green blue elevation", "byte", fold=50, dense=10),
        _inputs("spot", "red green blue", "byte", fold=10, dense=10),
        _inputs("naip", "red green blue nir", "byte", fold=8, dense=8, sensors=("naip",)),
    ),
    options=(
        Option("patch_px", 1, tuple(range(1, 33)), "side of a patch in units of 10 m", config=True),
        Option("max_px", 32, doc="largest side of an image in units of 10 m; the authors advise 1,024 patches at most"),
        Option("size_px", 0, doc="resize every image to this side; 0 does so only above max_px"),
        Option("grid", "patch", ("patch", "dense"), "vectors of patches, or of sub-patches with them", config=True),
        Option("scale", "own", ("own", "demo"), "standardise by the item's own statistics, or the demo's (TreeSatAI)"),
        Option("radar", "db", ("db", "linear"), "s1 in dB, or as linear power with VV / VH as a third band"),
        Option("first_day", 0, (0, 1), "the number of 1 January", config=True),
        Option("days_since", "", doc="count days from this date instead, as in 2018-09-01 for PASTIS", config=True),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "Each modality has frames and dates of its own: dates={'s2': [...], 's1': [...]}.",
        "The authors standardise by the data set in use; without one, each item's own mean and deviation are used.",
        "A pixel always counts as 10 m, so read at 10 m; above max_px an image is resized: prefer tiles.",
        "grid='dense' has one vector per pixel of a series, a tenth of an image's (an eighth of naip's): length 1,536.",
        "The authors lay the sub-patches of aerial images cell by cell, not row by row: grids here are in place.",
        "Any set of modalities will do, and of arrays some of those named: the others are left out, as the authors do.",
        "All bands of each are needed: there is no rule for a missing band. A place needs imagery of each.",
        "aerial and spot come as arrays; alos, l7 and modis, which fail beside others upstream: left out.",
        "l8 is Landsat Level-1, the only one with these eleven bands; the authors name no level.",
        "Read beside s2, naip lies on pixels of its own, up to 5 m off.",
    ),
    deviations=(
        "rs-embed pools by the mean of patches, its grid is the dense one, and it always resizes to 24 x 24 pixels.",
        "rs-embed takes patch_size from the ground size of the read; beyond 10 m the model then groups pixels.",
    ),
)
