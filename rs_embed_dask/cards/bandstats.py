"""Band statistics: the facts."""

from rs_embed_dask.cards.card import Card, Variant, vectors
from rs_embed_dask.cards.rcf import BANDS, TEN
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import Inputs, Option
from rs_embed_dask.preprocess.steps import Divide

CARD = Card(
    id="bandstats",
    title="Statistics of each band over time",
    citation="rs-embed-dask",
    code_licence="Apache-2.0",
    source="own code",
    variants=(Variant("default", 0),),
    patch_px=8,
    outputs=vectors(
        "mean",
        mean="nine statistics of each band over time, averaged over the valid pixels",
        grid="the same for each cell; NaN where nothing is valid",
    ),
    dim_per=("bands", 9),
    any_bands=True,
    float32=True,
    extras=("share",),
    inputs=(
        Inputs(
            *("s2", ("sentinel-2-l2a", "sentinel-2-l1c"), BANDS, (Divide(10_000.0),)),
            native=True,
            frames=Frames("equal", days=30, cap=12),
            max_cloud_pct=80,
            fill="keep",
        ),
    ),
    options=(Option("bands", TEN, doc="bands to use"), Option("patch_px", 8, doc="side of a grid's cell", config=True)),
    notes=(
        "For each band: mean, std, min, max and percentiles 10, 25, 50, 75, 90 over a pixel's valid frames, averaged.",
        "Missing pixels are left out, never filled; a grid's cell without any is NaN.",
    ),
)
