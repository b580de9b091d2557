"""SatMAE: the facts."""

from rs_embed_dask.cards.card import BICUBIC, BYTES, Card, Variant, Weights, either, rgb, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Option, When
from rs_embed_dask.preprocess.steps import Divide, Standard

_STANDARD = Standard(
    (0.4182007312774658, 0.4214799106121063, 0.3991275727748871),
    (0.28774282336235046, 0.27541765570640564, 0.2764017581939697),
)
FLOAT = (*BYTES, Divide(255.0), _STANDARD, BICUBIC)
_FILE = Weights(
    *("MVRL/satmae-vitlarge-fmow-pretrain-800", "model.safetensors"),
    seen="at deb650b, 1.32 GB",
    url="https://zenodo.org/records/7369797 (fmow_pretrain.pth)",
    licence="CC-BY-NC-4.0",
    restricted=True,
    keys=("model",),
    ignore=("decoder_", "mask_token"),
    safe_classes=("argparse.Namespace",),
)

CARD = Card(
    id="satmae",
    title="SatMAE, RGB, ViT-L/16",
    aliases=("satmae_rgb",),
    paper="arXiv:2207.08051",
    citation="Cong et al., SatMAE: Pre-training Transformers for Temporal and Multi-Spectral Satellite Imagery, 2022",
    code_licence="CC-BY-NC-4.0",
    source="sustainlab-group/SatMAE at e31c11f, models_mae.py",
    variants=(Variant.vit("fmow_rgb_vitl16", (1024, 24, 16), _FILE, ("size", 224), ("patch", 16), params=303.3),),
    patch_px=16,
    outputs=vectors("mean", "max", "cls"),
    inputs=(rgb(*either(Divide(255.0), _STANDARD), When("resize", "crop", (("steps", FLOAT), ("short_px", 256)))),),
    options=(
        Option(
            "resize", "pillow", ("pillow", "float", "crop"), "8-bit bicubic; on floats; or, as upstream, cut from 256"
        ),
        RECTANGLE,
        Option("norm_eps", 1e-6, (1e-6, 1e-5), "epsilon of the LayerNorms; 1e-5 is rs-embed's", config=True),
    ),
    parity="the authors' code: vectors within 5e-7, grids within 1e-6, what the network sees bit for bit",
    notes=(
        "Trained on 8-bit RGB of 0.3 to 3 m; Sentinel-2 at 10 m is darker and coarser than the training data.",
        "The authors published no use of frozen vectors; 'mean' is what rs-embed intends.",
    ),
    deviations=(
        "rs-embed's grid is in random order: its encoder shuffles the patches permanently. Here it is a map.",
        "rs-embed uses LayerNorm epsilon 1e-5; the authors use 1e-6. The vector differs by 1e-4.",
    ),
)
