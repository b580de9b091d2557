"""DINOv3 on satellite images: the facts."""

from rs_embed_dask.cards.card import BYTES, Card, Variant, Weights, rgb, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Option, When
from rs_embed_dask.preprocess.steps import Byte, Divide, Resize, Standard, names

_SEEN = (Resize("bilinear_u8"), Divide(255.0), Standard((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)))
# From names of the Hugging Face form, and of gated layers, to those of the module.
_CONVERTED = (
    "embeddings.patch_embeddings.>patch_embed.proj. embeddings.register_tokens>storage_tokens embeddings.> "
    "model.layer.>layer. layer.>blocks. attention.o_proj.>attn.proj. attention.>attn. lambda1>gamma layer_scale>ls "
)
_PLAIN = "mlp.up_proj.>mlp.fc1. mlp.down_proj.>mlp.fc2."
_GATED = "gate_proj.>w1. up_proj.>w2. down_proj.>w3. mlp.w1.>mlp.fc1. mlp.w2.>mlp.fc3. mlp.w3.>mlp.fc2."


def _weights(name: str, digest: str, layers: str) -> Weights:
    pairs = (pair.partition(">") for pair in names(_CONVERTED + layers))
    return Weights(
        *(f"facebook/dinov3-{name}-pretrain-sat493m", "model.safetensors"),
        url=f"ai.meta.com/resources/models-and-libraries/dinov3-downloads: dinov3_{name}_pretrain_sat493m-{digest}.pth",
        licence="DINOv3 License",
        restricted=True,
        rename=tuple((old, new) for old, _, new in pairs),
        join=(("attn.qkv.", ("attn.q_proj.", "attn.k_proj.", "attn.v_proj.")),),
        ignore=("mask_token", "local_cls_norm.", "rope_embed."),
        drop=("bias_mask",),
    )


_LARGE, _LARGEST = _weights("vitl16", "eadcf0ff", _PLAIN), _weights("vit7b16", "a6675841", _GATED)
CARD = Card(
    id="dinov3sat",
    title="DINOv3 trained on satellite images (SAT-493M), RGB",
    paper="arXiv:2508.10104",
    citation="Siméoni et al., DINOv3, arXiv:2508.10104",
    code_licence="DINOv3 License",
    source="facebookresearch/dinov3 at 6876159, dinov3/models/vision_transformer.py",
    variants=(
        Variant.vit("vitl16", (1024, 24, 16), _LARGE, params=303.1),
        Variant.vit("vit7b16", (4096, 40, 32), _LARGEST, ("mlp_ratio", 2.0), ("gated", True), params=6716.0),
    ),
    patch_px=16,
    outputs=vectors(
        *("cls", "mean", "max"),
        cls="the class token after the final norm: the authors' own vector",
        mean="the mean of the patch tokens after the final norm, without class and storage tokens",
    ),
    inputs=(
        rgb(
            (Divide(40.0), Byte(), *_SEEN),
            When("scale", "dn10000", (("steps", (*BYTES, *_SEEN)),)),
            When("scale", "bytes", (("steps", _SEEN), ("unit", "byte"), ("sensors", ()))),
            size_px=256,
        ),
    ),
    options=(
        Option("scale", "dn40", ("dn40", "dn10000", "bytes"), "8 bits: DN / 40, DN 10 000 as 255, or bytes as input"),
        Option("size_px", 256, doc="side of the image", multiple=16),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "The DINOv3 License binds whoever loads the weights: pass on a copy of it, and credit it in publications.",
        "Trained on 8-bit RGB of 0.6 m; there is no official conversion of Sentinel-2; the scale affects the result.",
        "Places are relative to the image: the same ground has other tokens in another crop.",
        "vit7b16 was never run here; its names are from the published code. 27 GB in float32.",
    ),
    deviations=("rs-embed has no such model.",),
)
