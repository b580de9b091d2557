"""Panopticon: the facts."""

from dataclasses import replace

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Resize, Standard, floats, names

_RESIZE = Resize(antialias=True)
_S2 = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 cirrus swir16 swir22")
_STANDARD = Standard.of(
    "1569.1970 1383.9951 1338.4231 1408.1113 1537.2856 1926.5183 2136.5127 2033.4019 2262.4558 674.1297 16.7465 "
    "2027.3674 1501.4686; "
    "517.7932 595.0351 690.2477 994.7734 994.4599 1079.4558 1192.3668 1170.9979 1278.2103 474.7933 15.1294 1362.3807 "
    "1134.5983"
)
_IDS = ("channel_id", floats("442 492 559 664 704 740 782 827 864 945 1373 1613 2203"))
_SCALE = (_STANDARD, _RESIZE)
_L1C = Inputs("s2l1c", ("sentinel-2-l1c",), _S2, _SCALE, size_px=224, max_cloud_pct=30, per_band=(_IDS,))
_S1 = Inputs(
    *("s1", ("sentinel-1-grd", "sentinel-1-rtc"), ("vv", "vh")),
    steps=(Standard((-11.6568, -18.4975), (6.0908, 6.1924)), _RESIZE),
    unit="db",
    size_px=224,
    per_band=(("channel_id", (-1.0, -2.0)),),
    when=(
        When("orbit", "ascending", (("per_band", (("channel_id", (-5.0, -6.0)),)),)),
        When("orbit", "descending", (("per_band", (("channel_id", (-9.0, -10.0)),)),)),
    ),
)
_FILE = Weights("lewaldm/panopticon", "panopticon_vitb14_teacher.pth", licence="CC-BY-4.0", ignore=("mask_token",))

CARD = Card(
    id="panopticon",
    title="Panopticon: one ViT-B/14 for any channels, optical or radar, alone or together",
    paper="arXiv:2503.10845",
    citation="Waldmann et al., Panopticon: Advancing Any-Sensor Foundation Models for Earth Observation, CVPRW 2025",
    code_licence="Apache-2.0",
    source="Panopticon-FM/panopticon at 5ad7f82, dinov2/models/panopticon.py",
    variants=(Variant.vit("vitb14", (768, 12, 12), _FILE, params=99.0),),
    patch_px=14,
    outputs=vectors(*("cls", "mean", "max"), cls="the class token after the final norm: the authors' own vector"),
    together=True,
    any_bands=True,
    masks="drop",
    inputs=(replace(_L1C.take(_S2[:10] + _S2[11:]), modality="s2", sensors=("sentinel-2-l2a",)), _L1C, _S1),
    options=(
        Option("bands", (), doc="bands to use, of one modality's; none named: all"),
        Option("orbit", "any", ("any", "ascending", "descending"), "of Sentinel-1, where all scenes have the same"),
        Option("size_px", 224, doc="side of the image; positions are resampled", multiple=14),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "Images are square here; the authors' code takes rectangles of whole tokens too.",
        "Modalities may be combined, as in modality='s2+s1': their channels are joined at each place.",
        "Trained on Sentinel-2 L1C (s2l1c). Planetary Computer has L2A only (s2), which has no band B10.",
        "Statistics: fMoW-Sentinel's for Sentinel-2, EuroSAT-SAR's for Sentinel-1. None for HH, HV or other sensors.",
        "The order of the bands does not matter. The channel attention is computed factored, the same to rounding.",
    ),
    deviations=("rs-embed has no such model.",),
)
