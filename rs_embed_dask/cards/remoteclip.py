"""RemoteCLIP: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, either, rgb, vectors
from rs_embed_dask.preprocess.inputs import Option, Scalar, When
from rs_embed_dask.preprocess.steps import Divide, Standard

_STANDARD = Standard((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_GELUS = ("quick_gelu", "gelu")


def _variant(name: str, official: str, sizes: tuple[int, int, int, float], size: str, **config: Scalar) -> Variant:
    dim, wide, patch, params = sizes
    where, seen = ("chendelong/RemoteCLIP", f"RemoteCLIP-{official}.pt"), f"at bf1d8a3, {size}"
    weights = Weights(*where, seen=seen, licence="none stated", prefixes=("model.", "visual."))
    dims = (("grid", wide), ("max", wide))
    return Variant(name, dim, weights, tuple(config.items()), params, dims, patch_px=patch, aliases=(official,))


def _vit(patch: int, dim: int, depth: int, out: int) -> dict[str, Scalar]:
    return {"patch": patch, "dim": dim, "depth": depth, "heads": dim // 64, "norm_eps": 1e-5, "out": out}


CARD = Card(
    id="remoteclip",
    title="RemoteCLIP, visual tower: ViT-B/32, ViT-L/14 or ResNet-50",
    aliases=("remoteclip_s2rgb",),
    paper="arXiv:2306.11029",
    citation="Liu, Chen et al., RemoteCLIP: A Vision Language Foundation Model for Remote Sensing, IEEE TGRS 62, 2024",
    code_licence="Apache-2.0",
    source="ChenDelong1999/RemoteCLIP at a6a4787, retrieval.py, on open_clip 2.32",
    variants=(
        _variant("vitb32", "ViT-B-32", (512, 768, 32, 87.8), "605 MB", **_vit(32, 768, 12, 512)),
        _variant("vitl14", "ViT-L-14", (768, 1024, 14, 304.0), "1.71 GB", **_vit(14, 1024, 24, 768)),
        _variant("rn50", "RN50", (1024, 2048, 32, 38.3), "408 MB", body="resnet"),
    ),
    patch_px=32,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="CLIP's projected image vector, not scaled to length one",
        max="the maximum of each feature over the tokens of the grid",
        cls="the same as `mean`",
        grid="the tokens of the last block, before norm and projection; rn50: the map of layer4",
    ),
    whole=("mean",),
    inputs=(
        rgb(*either(Divide(255.0), _STANDARD), When("rectangle", "crop", (("rectangle", "stretch"),)), short_px=224),
    ),
    options=(
        Option("activation", "quick_gelu", _GELUS, "of the ViTs; gelu: the exact one, of the demos", config=True),
        Option("resize", "pillow", ("pillow", "float"), "8-bit bicubic as Pillow's, or bicubic on floats"),
        Option("rectangle", "pad", ("pad", "crop"), "reflect an image that is not square, or crop its centre"),
    ),
    parity="the authors' code: vectors and grids within 1e-6, what the network sees bit for bit",
    notes=(
        "The weights state no licence. The code is Apache-2.0; CLIP's weights, the starting point, are MIT.",
        "The mirrors also load: MVRL/remote-clip-vit-base-patch32, -vit-large-patch14 and -resnet-50.",
    ),
    deviations=(
        "rs-embed computes the ViTs with the exact GELU: activation='gelu'.",
        "rs-embed pools the tokens of the grid, of another length, where the region is not a square.",
    ),
)
