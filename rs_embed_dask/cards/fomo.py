"""FoMo-Net: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Divide, Resize, Standard, names

_S2 = (
    "752.40087073 884.29673756 1144.16202635 1297.47289228 1624.90992062 2194.6423161 2422.21248945 2517.76053101 "
    "2581.64687018 2645.51888987 2368.51236873 1805.06846033; 1108.02887453 1155.15170768 1183.6292542 1368.11351514 "
    "1370.265037 1355.55390699 1416.51487101 1474.78900051 1439.3086061 1582.28010962 1455.52084939 1343.48379601"
)
_S1 = "-12.54847273 -20.19237134; 5.25697717 5.91150917"
_FILE = Weights(
    file="fomo_single_embedding_layer_weights.pt",
    url="the Dropbox link in the readme of github.com/RolnickLab/FoMo-Bench",
    licence="not stated (code: MIT)",
    prefixes=("module.", "model."),
    ignore=("mlp_head.", "cls_token"),
)
_REFLECTANCE = When("scale", "reflectance", (("steps", (Clip(0, 10_000), Divide(10_000), Resize())),))


def _inputs(name: str, bands: str, keys: range, numbers: str = "", *sensors: str, **more: Any) -> Inputs:
    """Return one sensor's input with the keys of its bands; without statistics, pixels arrive standardised."""
    steps = (Standard.of(numbers), Resize()) if numbers else ()
    listed = [key for key in keys if key != 16]  # Sentinel-2 B10, which no Level-2A has
    more = {"unit": "standardised", "size_px": 64, "per_band": (("key", tuple(listed)),), **more}
    return Inputs(name, sensors, names(bands), steps, **more)


CARD = Card(
    id="fomo",
    title="FoMo-Net: any of 37 channels of seven sensors, each by its key",
    paper="arXiv:2312.10114",
    citation="Bountos et al., FoMo: Multi-Modal, Multi-Scale and Multi-Task Foundation Models for Forests, AAAI 2025",
    code_licence="MIT",
    source="RolnickLab/FoMo-Bench at 93f7218, model_zoo/multimodal_mae.py",
    variants=(Variant.vit("fomo_net_1", (768, 12, 12), _FILE, ("mlp_ratio", 2048 / 768), params=66.4),),
    patch_px=16,
    outputs=vectors(
        mean="the mean of the tokens of all channels and places after the final norm",
        grid="at each place the mean of its channels' tokens after the final norm; extra['grid_concat']: all of them",
    ),
    together=True,
    any_bands=True,
    masks="drop",
    inputs=(
        _inputs(
            *("s2", "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22", range(6, 19)),
            *(_S2, "sentinel-2-l2a"),
            unit="reflectance_e4",
            max_cloud_pct=30,
            when=(_REFLECTANCE,),
        ),
        _inputs("s1", "vv vh", range(4, 6), _S1, "sentinel-1-grd", "sentinel-1-rtc", unit="db"),
        _inputs("planet", "red green blue nir", range(4), resolution_m=3),
        _inputs("landsat", "red green blue nir swir16 swir22 pan coastal cirrus", range(19, 28), resolution_m=30),
        _inputs("aerial", "red green blue nir", range(28, 32), resolution_m=1),
        _inputs("dem", "elevation", range(32, 33), resolution_m=30),
        _inputs("gaofen2", "red green blue nir", range(33, 37), resolution_m=4),
    ),
    options=(
        Option("scale", "statistics", ("statistics", "reflectance"), "Sentinel-2 standardised, or 0..1 as rs-embed"),
        Option("size_px", 64, (16, 32, 48, 64), "side of the image; positions are the first of the table"),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "Sentinel-1 and 2 are standardised with the statistics of SSL4EO (ssl4eos1s2); any set of bands may be given.",
        "Planet, Landsat, aerial, elevation and Gaofen-2 come as arrays, standardised with their own set's statistics.",
        "Sentinel-2 B10, which pretraining never saw, is not offered; Sentinel-1 it saw in a scale of its own.",
        "The names come from the authors' code, not from the file.",
    ),
    deviations=(
        "rs-embed feeds reflectance 0..1 (scale='reflectance'): 2e-4 to 4e-4 off on textured ground, more on water.",
        "rs-embed loads the file without checking that every name was there.",
    ),
)
