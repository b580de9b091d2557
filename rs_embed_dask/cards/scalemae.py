"""Scale-MAE: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, either, rgb, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Option
from rs_embed_dask.preprocess.steps import Divide, Standard

_FILE = Weights(
    *("MVRL/scalemae-vitlarge-800", "pytorch_model.bin"),
    seen="at e323e80",
    url="the authors' release base-800 on GitHub (scalemae-vitlarge-800.pth)",
    licence="CC-BY-NC-4.0",
    restricted=True,
    keys=("model",),
    prefixes=("model.",),
    ignore=("pos_embed", "decoder_", "mask_token", "fpn.", "fcn.", "fcn_high.", "fcn_low."),
    safe_classes=("argparse.Namespace",),
)

CARD = Card(
    id="scalemae",
    title="Scale-MAE, RGB, ViT-L/16",
    aliases=("scalemae_rgb",),
    paper="arXiv:2212.14532",
    citation=(
        "Reed, Gupta, Li et al., Scale-MAE: A Scale-Aware Masked Autoencoder for Multiscale Geospatial Representation "
        "Learning, ICCV 2023"
    ),
    code_licence="CC-BY-NC-4.0",
    source="bair-climate-initiative/scale-mae at 89280d8, mae/models_mae.py",
    variants=(Variant.vit("fmow_rgb_vitl16_800", (1024, 24, 16), _FILE, ("patch", 16), params=303.1),),
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        cls="the class token after the final norm, what the authors' own kNN and linear probe use",
    ),
    extras=("gsd",),
    inputs=(rgb(*either(Divide(255.0), Standard((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))),),
    options=(
        Option("ending", "norm", ("norm", "none"), "every token's final norm; none is rs-embed's", config=True),
        Option("size_px", 224, doc="side of what the network sees; it was trained at 224", multiple=16),
        Option("resize", "pillow", ("pillow", "float"), "8-bit bicubic as Pillow's, or bicubic on floats"),
        RECTANGLE,
        Option("norm_eps", 1e-6, (1e-6, 1e-5), "epsilon of the LayerNorms", config=True),
    ),
    parity="the authors' code: vectors and grids within 1e-6, what the network sees bit for bit",
    notes=(
        "Positions follow the metres per pixel that the network sees: 10 for 224 px at 10 m, 13.39 for 300 px resized.",
        "It was trained at 2.2 to 5: 10 m imagery is out of range, and the authors do not discuss it.",
        "TorchGeo's copy loads too: isaaccorley/vit_large_patch16_224_fmow_rgb_scalemae at 75650aa.",
        "The mirror calls the weights Apache-2.0; the authors' CC-BY-NC-4.0 is taken to hold.",
    ),
    deviations=(
        "rs-embed leaves the final norm out: its values have a standard deviation near 6 instead of 1.",
        "The package under rs-embed ignores the resolution in its outer forward and takes 10; rs-embed avoids that.",
    ),
)
