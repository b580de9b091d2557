"""The waves of longitude and latitude: the facts."""

from rs_embed_dask.cards.card import Card, Product, Variant, vectors
from rs_embed_dask.preprocess.inputs import DEGREES, Inputs, Option
from rs_embed_dask.preprocess.waves import PER_SCALE

CARD = Card(
    id="location",
    title="Sines and cosines of longitude and latitude",
    citation="rs-embed-dask",
    code_licence="Apache-2.0",
    source="own code",
    variants=(Variant("default", 0),),
    patch_px=1,
    product=Product("", "", 10.0),
    inputs=(Inputs("place", (), ("east", "north"), unit=DEGREES, native=True, fill="keep"),),
    outputs=vectors(
        mean="the mean of the pixels' vectors",
        max="the maximum of each feature over the pixels",
        grid="the vector of each pixel's centre",
    ),
    dim_per=("scales", PER_SCALE),
    float32=True,
    options=(
        Option("scales", 16, doc="how many times the wave is halved; the vector is four times as long", config=True),
    ),
    notes=(
        "It sees no imagery: what it predicts, a place alone predicts. A model is worth its cost only beyond that.",
        "For k = 0, 1, ...: sin and cos of 2**k longitude, then of 2**k latitude. Waves of 360 degrees to 1.2 km.",
        "Every provider and span gives the same. `load_model` takes any array with x, y and a reference system.",
    ),
)
