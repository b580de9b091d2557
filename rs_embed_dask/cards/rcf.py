"""Random convolutional features: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import Inputs, Option
from rs_embed_dask.preprocess.steps import Standard, floats, names

BANDS = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22")
TEN = tuple(band for band in BANDS if band not in {"coastal", "nir09"})

# Round numbers near those of clear land; they only bring the bands to one scale.
_MEAN = floats("600 700 900 1000 1400 2200 2500 2600 2700 2700 2000 1400")
_STD = floats("450 500 550 700 700 900 1000 1050 1050 1050 900 800")

CARD = Card(
    id="rcf",
    title="Random convolutional features (MOSAIKS)",
    aliases=("mosaiks",),
    paper="doi:10.1038/s41467-021-24638-z",
    citation=(
        "Rolf et al., A generalizable and accessible approach to machine learning with global satellite imagery, "
        "Nature Communications 2021"
    ),
    code_licence="Apache-2.0",
    source="own code, from the paper",
    variants=(
        Variant("gaussian", 0),
        Variant("patches", 0, Weights(url="rs_embed_dask.models.rcf.filters_from_images", licence="your images'")),
    ),
    patch_px=8,
    outputs=vectors(
        mean="the means over all pixels of the positive and negative responses of each filter",
        max="the largest of the cells' means",
        grid="the means over each cell",
    ),
    dim_per=("features", 2),
    kernel="kernel_px",
    any_bands=True,
    float32=True,
    extras=("share",),
    inputs=(
        Inputs(
            *("s2", ("sentinel-2-l2a", "sentinel-2-l1c"), BANDS, (Standard(_MEAN, _STD),)),
            native=True,
            max_cloud_pct=30,
        ),
    ),
    options=(
        Option("bands", TEN, doc="bands to use"),
        Option("features", 256, doc="filters; the vector is twice as long", config=True),
        Option("kernel_px", 3, (1, 3, 5, 7, 9, 11), "side of a filter", config=True),
        Option("patch_px", 8, doc="side of a grid's cell", config=True),
        Option("bias", 1.0, doc="what a response must exceed", config=True),
        Option("seed", 0, doc="of the filters", config=True),
    ),
    notes=(
        "Nothing is trained and nothing is downloaded; equal seeds give equal vectors on every machine.",
        "gaussian: random filters of norm one. patches: filters cut from images and whitened, as in the paper.",
        "A grid's cells are patch_px pixels; the last row and column may be partial.",
    ),
)
