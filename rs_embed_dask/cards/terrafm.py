"""TerraFM: the facts."""

from dataclasses import replace

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option
from rs_embed_dask.preprocess.steps import Clip, Divide, Linear, Log1p, Percentile, Resize, names

_BANDS = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22")
_UNIT = (Divide(10_000.0), Clip(0, 1), Resize())
_RADAR = (Linear(), Log1p(), Percentile(99.0), Clip(0, 1), Resize())
_FILE = Weights("MBZUAI/TerraFM", "TerraFM-B.pth", licence="Apache-2.0", keys=("model", "state_dict"))
_UNKNOWN = replace(_FILE, repo="", file="", url="huggingface.co/MBZUAI/TerraFM, if it is published")

CARD = Card(
    id="terrafm",
    title="TerraFM: Sentinel-2 of both levels and Sentinel-1",
    aliases=("terrafm_b",),
    paper="arXiv:2506.06281",
    citation="Danish et al., TerraFM: A Scalable Foundation Model for Unified Multisensor Earth Observation, ICLR 2026",
    code_licence="none stated on GitHub; Apache-2.0 on Hugging Face",
    source="mbzuai-oryx/TerraFM at e186ad8, terrafm.py",
    variants=(
        Variant.vit("base", (768, 12, 12), _FILE, params=113.0),
        Variant.vit("large", (1024, 24, 16), _UNKNOWN, params=345.0),
    ),
    patch_px=16,
    outputs=vectors(*("cls", "mean", "max"), cls="the class token after the final norm: the authors' own vector"),
    inputs=(
        Inputs("s2", ("sentinel-2-l2a",), _BANDS, steps=_UNIT, size_px=224, max_cloud_pct=30),
        Inputs("s2l1c", ("sentinel-2-l1c",), _BANDS, steps=_UNIT, size_px=224, max_cloud_pct=30),
        Inputs("s1", ("sentinel-1-rtc", "sentinel-1-grd"), ("vv", "vh"), steps=_RADAR, unit="db", size_px=224),
    ),
    options=(
        Option("stem", "auto", ("auto", "l2a", "l1c"), "of Sentinel-2: its level's; 'l1c' is rs-embed's", config=True),
        Option("size_px", 224, doc="side of the image; positions are resampled", multiple=16),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "The published forward sends Sentinel-2 of either level through the L1C stem (stem='l1c').",
        "The authors publish no scaling and no order of bands: scaling as rs-embed, order of Major-TOM.",
        "Radar is scaled by the 99th percentile of each image or tile, so values depend on its extent.",
        "Only the base checkpoint is known to be published.",
    ),
    deviations=("rs-embed sends surface reflectance (L2A) through the L1C stem; here it goes through its own.",),
)
