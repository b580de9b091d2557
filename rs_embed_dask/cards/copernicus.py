"""Copernicus-Embed, cells of a quarter of a degree: the facts."""

from rs_embed_dask.cards.card import Card, Product, Variant, vectors
from rs_embed_dask.preprocess.inputs import Option

_HUB = "https://huggingface.co/datasets/torchgeo/copernicus_embed/resolve/435b4a7bdce6f6fdbf4272f9d6e54f2604f35fdb"
_PRODUCT = Product(_HUB, "CC-BY-4.0", 27830.0)

CARD = Card(
    id="copernicus",
    title="Copernicus-Embed-025deg",
    aliases=("copernicus_embed",),
    paper="arXiv:2503.11849",
    citation="Wang et al., Towards a Unified Copernicus Foundation Model for Earth Vision, ICCV 2025",
    code_licence="Apache-2.0",
    source="https://github.com/zhu-xlab/Copernicus-FM",
    product=_PRODUCT,
    inputs=(),
    variants=(Variant("v1", 768),),
    patch_px=1,
    outputs=vectors(
        mean="the mean of the cells that the place touches and that have a vector; weighted by area on request",
        max="the maximum of each feature over those cells",
        grid="the cells as published, or on a grid in metres the cell that holds each pixel",
    ),
    dim_per=("dim", 1),
    options=_PRODUCT.options(
        Option("file", "embed_map_310k.tif", doc="name of the file"),
        Option("dim", 768, doc="bands of the file; another number only for a reduced copy"),
        Option("weighting", "cells", ("cells", "area"), "equal weights in a mean: for cells, or for square kilometres"),
    ),
    parity="exact: the windows of the reference sample",
    notes=(
        "Cells are centred on multiples of 0.25 degree. Maps and grids without scale_m have these cells, in EPSG:4326.",
        "With scale_m it is the local UTM grid: each pixel takes the cell that holds it.",
        "A cell of zeros has no vector (ocean, mostly): it is NaN here.",
        "One layer for all times, of images from about 2021: any span is taken, and none is stored.",
        "The file's blocks of 64 by 64 degrees are decoded once, into the cache: 200 MB each at most.",
    ),
    deviations=(
        "A place inside one cell gets its vector; rs-embed raises. Longitudes wrap at 180; rs-embed clips them.",
        "Empty cells are left out of a mean; rs-embed counts them as 0.",
    ),
)
