"""SatMAE++: the facts."""

from dataclasses import replace

from rs_embed_dask.cards.card import BICUBIC, Card, Variant, Weights, rgb, vectors
from rs_embed_dask.cards.satmae import FLOAT
from rs_embed_dask.preprocess.inputs import LEVEL, OF_LEVEL, RECTANGLE, Inputs, Option, Scalar, When
from rs_embed_dask.preprocess.steps import Divide, Step, ValueSpan, names

_SPAN = ValueSpan.of(
    "1184.3824625 1120.77120066 1136.26026392 1263.73947144 1645.40315151 1846.87040806 1762.59530783 1972.62420416 "
    "1732.16362238 1247.91870117; "
    "650.2842772 712.12507725 965.23119807 948.9819932 1108.06650639 1258.36394548 1233.1492281 1364.38688993 "
    "1310.36996126 1087.6020813",
    byte=True,
)


def _scaled(*, float64: bool) -> tuple[Step, ...]:
    return (replace(_SPAN, float64=float64), Divide(255.0), BICUBIC)


def _variant(
    name: str, modality: str, params: float, where: tuple[str, str], *, seen: str = "", url: str = ""
) -> Variant:
    size, patch = (224, 16) if modality == "rgb" else (96, 8)
    weights = Weights(
        *where,
        seen=seen,
        url=url,
        licence="Apache-2.0",
        keys=("model",),
        prefixes=("module.",),
        ignore=("decoder_", "mask_token", "proj_up_conv.", "proj_up_norm.", "up_block", "head."),
        safe_classes=("argparse.Namespace",),
    )
    config: dict[str, Scalar] = {"size": size, "patch": patch, **({} if modality == "rgb" else {"grouped": True})}
    config |= {"ending": "fc_norm"} if name.endswith("finetuned") else {}
    more = {"patch_px": patch, "modality": modality, "aliases": (name.replace(f"_vitl{patch}", ""),)}
    return Variant.vit(name, (1024, 24, 16), weights, *config.items(), params=params, **more)


def _authors(stage: str) -> tuple[str, str]:
    return f"mubashir04/checkpoint_ViT-L_{stage}", f"checkpoint_ViT-L_{stage}.pth"


CARD = Card(
    id="satmaepp",
    title="SatMAE++: RGB, ViT-L/16, or ten Sentinel-2 bands, grouped, ViT-L/8",
    aliases=("satmaepp_rgb", "satmae++"),
    paper="arXiv:2403.05419",
    citation="Noman et al., Rethinking Transformers Pre-training for Multi-Spectral Satellite Imagery, CVPR 2024",
    code_licence="Apache-2.0",
    source="techmn/satmae_pp at ee173bf, models_mae.py and models_mae_group_channels.py",
    variants=(
        _variant(
            *("rgb_vitl16", "rgb", 303.3, ("MVRL/satmaepp_ViT-L_pretrain_fmow_rgb", "pytorch_model.bin")),
            seen="at 76e90f3, 1.32 GB",
            url="the authors' mubashir04/checkpoint_ViT-L_pretrain_fmow_rgb (seen at 8f4c97f)",
        ),
        _variant("s2_10b_vitl8", "s2_10b", 303.1, _authors("pretrain_fmow_sentinel")),
        _variant("rgb_vitl16_finetuned", "rgb", 303.3, _authors("finetune_fmow_rgb")),
        _variant("s2_10b_vitl8_finetuned", "s2_10b", 303.1, _authors("finetune_fmow_sentinel")),
    ),
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="the mean of the patch tokens after the final norm, of all groups; finetuned: the norm of the mean",
        cls="the class token after the final norm; finetuned: as the last block leaves it",
        grid="the patch tokens after the final norm, the groups of a cell joined by `over`; finetuned: no norm",
    ),
    inputs=(
        rgb(FLOAT, When("resize", "crop", (("short_px", 256),)), *OF_LEVEL),
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
                *OF_LEVEL,
            ),
        ),
    ),
    options=(
        Option("resize", "float", ("float", "crop"), "the whole image, or its centre, as upstream evaluates"),
        LEVEL,
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
        "rs-embed's grids are in random order; on ten bands, each cell has three unrelated tokens. Here they are maps.",
        "rs-embed uses LayerNorm epsilon 1e-5 on RGB; the authors use 1e-6. The vector differs by 1e-4.",
        "rs-embed scales the ten bands in float32: a few 8-bit values differ by one.",
        "rs-embed feeds L2A to s2_10b.",
    ),
)
