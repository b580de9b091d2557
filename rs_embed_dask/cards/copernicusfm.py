"""Copernicus-FM: the facts."""

from dataclasses import replace
from itertools import combinations
from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Divide, Resize, Standard, Step, floats, names

_S2 = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 cirrus swir16 swir22")
_S2_SCALE = Standard.of(
    "1612.9 1397.6 1322.3 1373.1 1561.0 2108.4 2390.7 2318.7 2581.0 837.7 22.0 2195.2 1537.4; "
    "791.0 854.3 878.7 1144.9 1127.5 1164.2 1276.0 1249.5 1345.9 577.5 47.5 1340.0 1142.9"
)
_S2_WAVES = "440 490 560 665 705 740 783 842 860 940 1370 1610 2190; 20 65 35 30 15 15 20 115 20 20 30 90 180"
_OLCI_WAVES = (
    "400 412.5 442.5 490 510 560 620 665 673.75 681.25 708.75 753.75 761.25 764.375 767.5 778.75 865 885 900 940 1020; "
    "15 10 10 10 10 10 10 10 7.5 7.5 10 7.5 7.5 3.75 2.5 15 20 10 10 20 40"
)


def _inputs(modality: str, bands: tuple[str, ...], *scale: Step, waves: str = "", **more: Any) -> Inputs:
    """Return one kind of image, with the centres and widths of its bands in nanometres where it is known by these."""
    values = tuple(zip(("wavelength_nm", "bandwidth_nm"), map(floats, waves.split(";")), strict=True)) if waves else ()
    fill: Any = next((step.mean for step in scale if isinstance(step, Standard)), "zero")
    steps = {"steps": (*scale, Resize(corners=True)), "when": (When("resize", "edges", (("steps", scale),)),)}
    return Inputs(modality, bands=bands, fill=fill, per_band=values, **{"sensors": (), "size_px": 224, **steps, **more})


_L1C = _inputs("s2l1c", _S2, _S2_SCALE, waves=_S2_WAVES, sensors=("sentinel-2-l1c",), max_cloud_pct=30)
_GRD: dict[str, Any] = {"waves": "5e7 5e7; 1e9 1e9", "sensors": ("sentinel-1-grd", "sentinel-1-rtc"), "unit": "db"}
_OLCI: dict[str, Any] = {"waves": _OLCI_WAVES, "unit": "radiance", "resolution_m": 300, "size_px": 96, "patch_px": 8}
_OLCI["sensors"] = ("sentinel-3-olci",)
_COLUMN: dict[str, Any] = {"unit": "mol_m2", "resolution_m": 1000, "size_px": 56, "patch_px": 4}
_DEM: dict[str, Any] = {"sensors": ("cop-dem-glo-30",), "unit": "m", "resolution_m": 30, "size_px": 960, "patch_px": 64}
_METADATA = tuple(some for count in range(4) for some in combinations(("place", "dates", "area"), count))
_FILE = Weights(
    *("wangyi111/Copernicus-FM", "CopernicusFM_ViT_base_varlang_e100.pth"),
    licence="CC-BY-4.0",
    keys=("model",),
    ignore=("decoder", "mask_token", "student_proj.", "teacher."),
    drop=("_fc_decoder.", "_token_dec"),
)

CARD = Card(
    id="copernicusfm",
    title="Copernicus-FM: one ViT-B for all Sentinels and elevation",
    paper="arXiv:2503.11849",
    citation="Wang et al., Towards a Unified Copernicus Foundation Model for Earth Vision, ICCV 2025",
    code_licence="Apache-2.0, parts MIT and CC-BY-NC-4.0",
    source="zhu-xlab/Copernicus-FM at da95635, Copernicus-FM/src/model_vit.py",
    variants=(Variant.vit("base", (768, 12, 12), _FILE, params=139.5),),
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="the mean of the last block's patch tokens, through a norm without weights",
        max="the maximum of each feature over the grid's tokens",
        grid="the patch tokens as the last block leaves them; normed=True: after the final norm",
    ),
    extras=("dates", "place", "gsd"),
    any_bands=True,
    masks="drop",
    per_modality=True,
    inputs=(
        replace(_L1C.take(_S2[:10] + _S2[11:]), modality="s2", sensors=("sentinel-2-l2a",)),
        _L1C,
        _inputs("s1", ("vv", "vh"), Standard((-12.59, -20.26), (5.26, 5.91)), **_GRD),
        _inputs("s3", tuple(f"oa{number:02}" for number in range(1, 22)), **_OLCI),
        *(_inputs(f"s5p_{gas}", (gas,), sensors=(f"sentinel-5p-{gas}",), **_COLUMN) for gas in names("no2 co o3 so2")),
        _inputs("dem", ("elevation",), Divide(10_000.0), **_DEM),
    ),
    options=(
        Option("language", "", doc="file of the vectors of names, varname_embed_llama3.2_1B.pt: s5p, dem", config=True),
        Option("metadata", _METADATA[-1], _METADATA, "which of these the network receives", config=True),
        Option("normed", default=False, doc="tokens of a grid (and 'max') after the final norm", config=True),
        Option("resize", "corners", ("corners", "edges"), "what it keeps: centres of the corner pixels, or edges"),
        Option("bands", (), doc="bands to use, of the modality's; none named: all"),
        Option("patch_px", 0, (0, 4, 8, 16, 32, 64), "side of a token; 0: the modality's own"),
        Option("size_px", 0, doc="side of the image; 0: the modality's own", multiple=4),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "mean is that of the authors' benchmark. A grid's token sees its cell moved one network pixel up and left.",
        "Trained on Sentinel-2 L1C (s2l1c). Planetary Computer has L2A only (s2): no B10, and a domain shift.",
        "Days are counted from 1970; the date is the middle of the span. Elevation was dated 2015-01-01.",
        "The area of a patch is that of the pixels read, not resized. What is unknown becomes a learned token.",
        "s5p_no2, _co, _o3, _so2 and dem are identified by a name, whose vector is in a separate file: language=PATH.",
        "s3 are radiances: digital numbers times the OLCI factors.",
        "Only Earth Engine serves s3 and s5p: others have NetCDF swaths, which are no rasters.",
    ),
    deviations=("rs-embed has no such model.",),
)
