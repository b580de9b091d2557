"""AlphaEarth Foundations, annual embeddings: the facts."""

from rs_embed_dask.cards.card import Card, Product, Variant, vectors
from rs_embed_dask.preprocess.inputs import Option

_PRODUCT = Product("https://data.source.coop/tge-labs/aef/v1/annual", "CC-BY-4.0", 10.0, (2017, 2025))

CARD = Card(
    id="gse",
    title="Google Satellite Embedding, annual (AlphaEarth Foundations)",
    aliases=("gse_annual", "alphaearth", "aef"),
    paper="arXiv:2507.22291",
    citation=(
        "Brown et al., AlphaEarth Foundations, 2025. "
        "The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind."
    ),
    code_licence="no network is public",
    source="https://source.coop/tge-labs/aef",
    product=_PRODUCT,
    inputs=(),
    variants=(Variant("v1", 64),),
    patch_px=1,
    outputs=vectors(
        mean="the mean of the place's pixels that have a vector; of length one only with renormalise=True",
        max="the maximum of each feature over those pixels",
        grid="the published vector under the centre of each pixel",
    ),
    options=_PRODUCT.options(
        Option("index", "", doc="name of the index of tiles; else aef_index.parquet, or aef_index.csv"),
        Option("renormalise", default=False, doc="bring a pooled mean to length one"),
        Option("source", "auto", ("auto", "mirror"), "whether a provider that has it may serve it"),
    ),
    parity="exact: the decode table, tile and means of the reference sample",
    notes=(
        "A stored byte v means sign(v) (v / 127.5)**2; -128 is missing. Vectors have length one to about 0.01.",
        "A pooled mean is shorter than one where the ground is mixed, and stays so unless renormalise=True.",
        "A span must lie in one calendar year. Nothing is interpolated.",
        "This mirror has no 2017. Google's has it, with a CSV index of 800 MB:",
        "https://storage.googleapis.com/alphaearth_foundations/satellite_embedding/v1/annual",
    ),
    deviations=(
        "rs-embed reads in Web Mercator, where at 60 degrees each pixel comes about twice per axis; here it is UTM.",
        "A span of several years is refused; rs-embed takes the first.",
    ),
)
