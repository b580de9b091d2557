"""WildSAT: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, either, rgb, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Option, When
from rs_embed_dask.preprocess.steps import Byte, Clip, Divide, Multiply, Resize, Stretch

_STRETCHED = (Clip(0, 10_000), Divide(10_000.0), Stretch(), Multiply(255.0), Byte())
# The authors' images are 8-bit true-colour products; the number approximates how those are produced.
_TRUE_COLOUR = (Divide(3558.0), Clip(0, 1), Multiply(255.0), Byte(), Divide(255.0))
_AUTHORS = (*_TRUE_COLOUR, Resize("bilinear", antialias=True), Stretch(least=1.0))

_HEADS = ("image", "text", "location", "backbone")
# By body: width of a token, its side, millions of parameters, torchvision's name.
_BODIES = {
    "vit": (768, 16, 87.3, "vit_b_16"),
    "resnet": (2048, 32, 26.3, "resnet50"),
    "swin": (768, 32, 29.1, "swin_t"),
}


def _variant(name: str, body: str, drive: str) -> Variant:
    wide, patch, params, torchvision = _BODIES[body]
    weights = Weights(
        file="" if "_" in name else f"{name}-imagenet-bnfc.pth",
        url=f"https://drive.google.com/file/d/{drive}",
        licence="none stated",
        keys=("satellite_state_dict",),
        prefixes=("module.",),
        drop=("relative_position_index",),
        safe_classes=("argparse.Namespace",),
    )
    dims = (*((kind, wide) for kind in ("grid", "max", "cls")), ("head=backbone", 1000))
    aliases = () if "_" in name else (torchvision,)
    return Variant(name, 256, weights, (("body", body),), params, dims, patch_px=patch, aliases=aliases)


CARD = Card(
    id="wildsat",
    title="WildSAT: ViT-B/16, ResNet-50 or Swin-T, tuned on wildlife observations",
    paper="arXiv:2412.14428",
    citation="Daroya et al., WildSAT: Learning Satellite Image Representations from Wildlife Observations, ICCV 2025",
    code_licence="none stated",
    source="cvl-umass/wildsat at 63d8c4a, models/get_model.py, on torchvision's backbones",
    variants=(
        _variant("vitb16", "vit", "1IxBpf3nbEMzny4YJWS6stMBxel6gMiYE"),
        _variant("resnet50", "resnet", "1LwCjzT1p0yFOtv1m0YD-rl7tP0eYXTb2"),
        _variant("swint", "swin", "12rfb3ES9-RuIAk_RjzYrMQJG_5J1Iq5H"),
        _variant("vitb16_random", "vit", "1jsabRt5QKvN8MAjsHKKZwlBqT16-6WPU"),
        _variant("resnet50_random", "resnet", "1qKphYzyPp3dM_l5CIno0-p4KPvypCOW_"),
        _variant("resnet50_mocov3", "resnet", "1FvxUuRITM-156QgJDJ8OYCPkTN74OlC-"),
        _variant("swint_random", "swin", "1nEKchTOxuXdJ6e-aLjnVZE4RmrJzZa-u"),
    ),
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="the output of the head that the option `head` names; backbone: length 1000",
        max="the maximum of each feature over the grid",
        cls="what the classifier reads: the ViT's class token after its norm, else the mean of the map",
        grid="the ViT's patch tokens after its norm; ResNet-50 and Swin-T: the last map",
    ),
    whole=("mean",),
    inputs=(rgb(*either(Divide(255.0), first=_STRETCHED), When("scaling", "authors", (("steps", _AUTHORS),))),),
    options=(
        Option("head", "image", _HEADS, "the head whose output is the vector; backbone: their input", config=True),
        Option("scaling", "stretch", ("stretch", "authors"), "each image's own range to 0..1, or 8-bit true colour"),
        Option("size_px", 224, tuple(range(32, 1025, 32)), "side of what the network sees (see the notes)"),
        Option("resize", "pillow", ("pillow", "float"), "8-bit bicubic as Pillow's, or bicubic on floats"),
        RECTANGLE,
    ),
    parity="the authors' code: vectors within 1e-6, grids within 2e-6, what the network sees bit for bit",
    notes=(
        "The licence of neither code nor weights is stated: ask the authors before you publish results.",
        "The stretch covers all bands of an image or tile together: one bright pixel changes every value.",
        "Variant names give the initial weights, ImageNet by default. Those that began elsewhere have other layouts.",
        "scaling='authors' takes reflectance 0.3558 for white, a guess at how true-colour products are produced.",
        "The ViT was trained at 224 px (another size resamples its positions), ResNet-50 and Swin-T at 512.",
    ),
    deviations=(
        "rs-embed gives the vector as a grid of one cell for ResNet-50 and Swin-T; here it is their last map.",
        "rs-embed pools the tokens of the grid, length 768, where the region is not a square.",
    ),
)
