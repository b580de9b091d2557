"""SatMAE++: the facts."""

from __future__ import annotations

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights
from rs_embed_dask.cards.satmae import FLOAT
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Divide, Resize, Span, Step, floats, names

_MEAN = floats(
    "1184.3824625 1120.77120066 1136.26026392 1263.73947144 1645.40315151 "
    "1846.87040806 1762.59530783 1972.62420416 1732.16362238 1247.91870117"
)
_STD = floats(
    "650.2842772 712.12507725 965.23119807 948.9819932 1108.06650639 "
    "1258.36394548 1233.1492281 1364.38688993 1310.36996126 1087.6020813"
)


def _scaled(*, float64: bool) -> tuple[Step, ...]:
    return (Span(_MEAN, _STD, float64=float64, byte=True), Divide(255.0), Resize("bicubic", antialias=True))


def _variant(name: str, modality: str, weights: dict[str, Any], params: float) -> Variant:
    size, patch = (224, 16) if modality == "rgb" else (96, 8)
    sizes = (("size", size), ("patch", patch), ("dim", 1024), ("depth", 24), ("heads", 16))
    grouped = (("grouped", True),) if modality == "s2_10b" else ()
    tuned = (("ending", "fc_norm"),) if name.endswith("finetuned") else ()
    return Variant(
        name,
        1024,
        Weights(
            **weights,
            licence="Apache-2.0",
            keys=("model",),
            prefixes=("module.",),
            ignore=("decoder_", "mask_token", "proj_up_conv.", "proj_up_norm.", "up_block", "head."),
            safe_classes=("argparse.Namespace",),
        ),
        config=(*sizes, *grouped, *tuned),
        params=params,
        patch_px=patch,
        modality=modality,
        aliases=(name.replace("_vitl16", "").replace("_vitl8", ""),),
    )


def _authors(stage: str) -> dict[str, Any]:
    name = f"checkpoint_ViT-L_{stage}"
    return {"repo": f"mubashir04/{name}", "file": f"{name}.pth"}


_MIRROR: dict[str, Any] = {
    "repo": "MVRL/satmaepp_ViT-L_pretrain_fmow_rgb",
    "file": "pytorch_model.bin",
    "seen": "at 76e90f3, 1.32 GB",
    "url": "the authors' mubashir04/checkpoint_ViT-L_pretrain_fmow_rgb (seen at 8f4c97f)",
}


CARD = Card(
    id="satmaepp",
    title="SatMAE++: RGB, ViT-L/16, or ten Sentinel-2 bands, grouped, ViT-L/8",
    aliases=("satmaepp_rgb", "satmae++"),
    paper="arXiv:2403.05419",
    citation="Noman et al., Rethinking Transformers Pre-training for Multi-Spectral Satellite Imagery, CVPR 2024",
    code_licence="Apache-2.0",
    source="techmn/satmae_pp at ee173bf, models_mae.py and models_mae_group_channels.py",
    variants=(
        _variant("rgb_vitl16", "rgb", _MIRROR, 303.3),
        _variant("s2_10b_vitl8", "s2_10b", _authors("pretrain_fmow_sentinel"), 303.1),
        _variant("rgb_vitl16_finetuned", "rgb", _authors("finetune_fmow_rgb"), 303.3),
        _variant("s2_10b_vitl8_finetuned", "s2_10b", _authors("finetune_fmow_sentinel"), 303.1),
    ),
    patch_px=16,
    poolings=("mean", "max", "cls"),
    outputs=(
        ("mean", "the mean of the patch tokens after the final norm, of all groups; finetuned: the norm of the mean"),
        ("max", "the largest number of each feature over those tokens"),
        ("cls", "the class token after the final norm; finetuned: as the last block leaves it"),
        ("grid", "the patch tokens after the final norm, the groups of a cell joined by `over`; finetuned: no norm"),
    ),
    inputs=(
        Inputs(
            "rgb",
            sensors=("sentinel-2-l2a", "sentinel-2-l1c"),
            bands=("red", "green", "blue"),
            steps=FLOAT,
            size_px=224,
            max_cloud_pct=30,
            when=(When("resize", "crop", (("short_px", 256),)),),
        ),
        Inputs(
            "s2_10b",
            sensors=("sentinel-2-l1c", "sentinel-2-l2a"),
            bands=names("blue green red rededge1 rededge2 rededge3 nir nir08 swir16 swir22"),
            steps=_scaled(float64=True),
            size_px=96,
            max_cloud_pct=30,
            when=(
                When("resize", "crop", (("short_px", 109),)),
                When("scaling", "float32", (("steps", _scaled(float64=False)),)),
            ),
        ),
    ),
    options=(
        Option("resize", "float", ("float", "crop"), "all of the image, or as upstream evaluates: its centre"),
        Option("over", "mean", ("mean", "max"), "how a grid joins the three groups of bands", config=True),
        Option("scaling", "float64", ("float64", "float32"), "of the ten bands before 8 bits; float32 is rs-embed's"),
        RECTANGLE,
        Option("norm_eps", 1e-6, (1e-6, 1e-5), "epsilon of the LayerNorms; 1e-5 is rs-embed's on RGB", config=True),
    ),
    parity="the authors' code: vectors within 5e-7, grids within 1e-6, what the network sees bit for bit",
    notes=(
        "Images shrink with an antialiased bicubic on floats, as torchvision has done since 0.17.",
        "s2_10b: trained on top-of-atmosphere data, so L1C is read where a provider has it.",
        "s2_10b: 144 cells of three tokens, by groups: blue green red nir, rededge1 to 3 with nir08, swir16 swir22.",
    ),
    deviations=(
        "rs-embed's grids are in random order, on ten bands each cell is of three unrelated tokens. These are maps.",
        "rs-embed uses LayerNorm epsilon 1e-5 on RGB; the authors use 1e-6. It costs 1e-4 of the vector.",
        "rs-embed scales the ten bands in float32: a few 8-bit values differ by one.",
        "rs-embed feeds L2A to s2_10b.",
    ),
)
