"""TESSERA, annual embeddings of 10 m pixels: the facts."""

from rs_embed_dask.cards.card import Card, Product, Variant, vectors
from rs_embed_dask.preprocess.inputs import Option

_PRODUCT = Product("https://data.source.coop/tessera/tessera", "see the repository of the data", 10.0, (2017, 2025))

_BETAS, _PREFIXES = ("beta1", "beta2"), (16, 32, 64)

CARD = Card(
    id="tessera",
    title="TESSERA",
    aliases=("geotessera",),
    paper="arXiv:2506.20380",
    citation="Feng et al., TESSERA, CVPR 2026",
    code_licence="MIT",
    source="https://github.com/ucam-eo/geotessera",
    product=_PRODUCT,
    inputs=(),
    variants=(
        Variant("v1", 128),
        Variant("v1.1-cam", 128, config=(("zarr", "v1.1"),)),
        Variant("v1.1-dclimate", 128, config=(("folder", ""),)),
        *(
            Variant(f"v2-{beta}", 128, config=(("folder", f"v2-2B-L~{beta}"),), prefix_dims=_PREFIXES)
            for beta in _BETAS
        ),
    ),
    default_variant="v1",
    patch_px=1,
    outputs=vectors(
        mean="the mean of the place's pixels that have a vector",
        max="the maximum of each feature over those pixels",
        grid="the decoded vector under the centre of each pixel",
    ),
    options=_PRODUCT.options(
        Option(
            "files",
            "auto",
            ("auto", "ranges", "whole", "zarr"),
            "rows of tiles, tiles whole, by sha256, or Zarr stores",
        ),
    ),
    parity="exact: the decoded pixels, mosaic and seam of the reference sample",
    notes=(
        "A vector is its bytes times the pixel's scale; missing unless 0 < scale < 1, and where the landmask is 0.",
        "Pixels lie on multiples of 10 m, outward from the corner that the landmask's transform gives.",
        "Vectors of different versions cannot be compared, nor those of two betas of v2.",
        "files='zarr' reads a Zarr store of the mirror, such as zarr/v1; v1.1-dclimate, without tiles, always.",
        "There a scale of NaN means water or not embedded, and infinity not computed yet: no vector either way.",
        "v1.1-cam and v1.1-dclimate do not mix: they are variants, and a registry that lists both in one is refused.",
        "To compute v2 at other places and seasons: the model `tessera_encoder`, variant v2-large.",
        "files='auto' fetches a tile whole where it is small or a quarter of its rows is needed, else rows of it.",
        "Whole files are checked by the registry's sha256 where it has one, rows by the file's size.",
        "A span must lie in one calendar year.",
    ),
    deviations=(
        "Pixels lie in UTM, in one zone across an edge; rs-embed moves all to Web Mercator, by nearest neighbour.",
        "Pixels without a vector are NaN and counted; rs-embed has 0, which its mean includes.",
        "In overlaps of tiles rs-embed takes whichever came first.",
    ),
)
