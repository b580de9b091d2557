"""Galileo: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import LEVEL, OF_LEVEL, Inputs, Option
from rs_embed_dask.preprocess.steps import ValueSpan, floats, names

_S2 = ValueSpan.of(
    "1395.3408730676722 1338.4026921784578 1343.09883810357 1543.8607982512297 2186.2022069512263 2525.0932853316694 "
    "2410.3377187373408 2750.2854646886753 2234.911100061487 1474.5311266077113; "
    "917.7041440370853 913.2988423581528 1092.678723527555 1047.2206083460424 1048.0101611156767 1143.6903026819996 "
    "1098.979177731649 1204.472755085893 1145.9774063078878 980.2429840007796",
    float64=True,
)
_S1 = ValueSpan((-11.728724389184965, -18.85558188024017), (4.887145774840316, 5.730270320384293), float64=True)


def _variant(name: str, sizes: tuple[int, int, int], params: float, digest: str = "") -> Variant:
    where, rename = ("nasaharvest/galileo", f"models/{name}/encoder.pt"), ((".backbone", ""),)
    return Variant.vit(name, sizes, Weights(*where, sha256=digest, licence="MIT", rename=rename), params=params)


def _inputs(modality: str, sensors: str, bands: str, scale: ValueSpan, **more: Any) -> Inputs:
    frames = Frames("months", cap=12)
    return Inputs(modality, names(sensors), names(bands), (scale,), max_px=96, frames=frames, empty="mask", **more)


CARD = Card(
    id="galileo",
    title="Galileo: global and local features of many remote sensing modalities",
    paper="arXiv:2502.09356",
    citation="Tseng et al., Galileo: Learning Global & Local Features of Many Remote Sensing Modalities, ICML 2025",
    code_licence="MIT",
    source="nasaharvest/galileo at 0f0b5b9, single_file_galileo.py",
    variants=(
        _variant("nano", (128, 4, 8), 1.04, "eab6acacf527886a508a555bc24efe4b4a2cf91b162e84cd1c4a1807e942180c"),
        _variant("tiny", (192, 12, 3), 5.71),
        _variant("base", (768, 12, 12), 86.5),
    ),
    default_variant="nano",
    patch_px=8,
    outputs=vectors(
        mean="the mean of all visible tokens after the final norm",
        max="the maximum of each feature over the cells of the grid",
        grid="the mean of the visible tokens of each cell, over frames and groups of bands",
    ),
    extras=("dates", "gsd"),
    modalities=(("s2",), ("s1",), ("s2", "s1")),
    masks="hide",
    inputs=(
        _inputs(
            "s2",
            "sentinel-2-l1c sentinel-2-l2a",
            "blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22",
            _S2,
            max_cloud_pct=80,
            per_band=(("group", floats("0 0 0 1 1 1 2 3 4 4")),),
            when=OF_LEVEL,
        ),
        _inputs("s1", "sentinel-1-grd sentinel-1-rtc", "vv vh", _S1, unit="db", per_band=(("group", (0.0, 0.0)),)),
    ),
    options=(
        Option("patch_px", 8, (1, 2, 3, 4, 5, 6, 7, 8), "side of a token in pixels", config=True),
        LEVEL,
        Option("location", default=False, doc="add the place as a token, as in pretraining", config=True),
        Option("max_px", 96, doc="largest side of an image; pretraining saw at most 12 tokens per side"),
    ),
    parity="the authors' code, real nano weights too: vectors within 1e-6, grids within 2e-6",
    notes=(
        "An image takes the multiple of patch_px nearest to its side, up to max_px; the authors never resize.",
        "Positions follow the real ground size of a pixel, resize included; months are those of each frame's middle.",
        "Its other inputs (elevation, Dynamic World, WorldCereal, ERA5, TerraClimate, VIIRS, LandScan) are not read.",
        "Frames without imagery are hidden from attention and keep their place in time.",
        "MIT is the licence of the authors' repository, which holds the nano weights; the hub's tag was not checked.",
        "Pretraining saw Sentinel-2 L1C; where a provider has L2A only, that is read, and the plan and receipt say so.",
    ),
    deviations=(
        "rs-embed feeds raw digital numbers by default: with the nano weights its vector differs by 132 %.",
        "rs-embed's official_stats is (x - mean) / std; the authors scale mean -/+ 2 std to 0..1.",
        "rs-embed resizes to 64 px but still passes 10 m.",
    ),
)
