"""Prithvi-EO-2.0: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Divide, Resize, Standard, floats, names

_SCALE = Standard(floats("1087 1342 1433 2734 1958 1363"), floats("2248 2179 2178 1850 1242 1049"))


def _variant(name: str, sizes: tuple[int, int, int], params: float, *, patch: int = 16) -> Variant:
    where = (f"ibm-nasa-geospatial/Prithvi-EO-2.0-{name}", f"Prithvi_EO_V2_{name.replace('-', '_')}.pt")
    keys, unused = ("state_dict", "model"), ("decoder.", "pos_embed")
    weights = Weights(*where, licence="Apache-2.0", keys=keys, prefixes=("encoder.",), ignore=unused)
    codes = ("dates", "place") if name.endswith("-TL") else ()
    alias = f"prithvi_eo_v2_{name.lower().replace('m', '').replace('-', '_')}"
    config = (("patch", patch), ("codes", codes))
    return Variant.vit(name, sizes, weights, *config, params=params, patch_px=patch, aliases=(alias,))


CARD = Card(
    id="prithvi",
    title="Prithvi-EO-2.0: six bands over time, with dates and place",
    aliases=("prithvi_eo_v2_s2_6b",),
    paper="arXiv:2412.02732",
    citation=(
        "Szwarcman et al., Prithvi-EO-2.0: A Versatile Multi-Temporal Foundation Model for Earth Observation "
        "Applications, arXiv:2412.02732, 2024"
    ),
    code_licence="Apache-2.0",
    source="IBM/terratorch at 85467a9, terratorch/models/backbones/prithvi_mae.py",
    variants=(
        _variant("tiny-TL", (192, 12, 3), 5.6),
        _variant("100M-TL", (768, 12, 12), 86.2),
        *(_variant(name, (1024, 24, 16), 303.9) for name in ("300M", "300M-TL")),
        *(_variant(name, (1280, 32, 16), 631.2, patch=14) for name in ("600M", "600M-TL")),
    ),
    default_variant="100M-TL",
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="the mean of the patch tokens of all frames after the final norm",
        grid="the mean over the frames of the patch tokens after the final norm",
    ),
    extras=("dates", "place"),
    inputs=(
        Inputs(
            "s2",
            sensors=("sentinel-2-l2a", "hls2-s30", "hls2-l30"),
            bands=names("blue green red nir08 swir16 swir22"),
            steps=(Resize(), _SCALE),
            resolution_m=30,
            size_px=224,
            frames=Frames("equal", days=28, cap=4),
            max_cloud_pct=30,
            # 0.0001 once standardised, which is the value of missing pixels in the authors' script
            fill=tuple(mean + 1e-4 * std for mean, std in zip(_SCALE.mean, _SCALE.std, strict=True)),
            when=(When("scaling", "unit", (("steps", (Divide(10_000.0), Clip(0, 1), Resize())),)),),
        ),
    ),
    options=(
        Option("scaling", "standard", ("standard", "unit"), "standardise digital numbers, or, as rs-embed, 0..1"),
        Option("first_day", 0, (0, 1), "number of the first of January; 1 is rs-embed's", config=True),
        Option("place_order", "lat_lon", ("lat_lon", "lon_lat"), "the first coordinate of the place code", config=True),
        Option("side", "both", ("both", "dates", "place", "none"), "side inputs to use (TL variants)", config=True),
        Option("size_px", 224, doc="side of the image; 600M needs a multiple of 14, the others of 16", multiple=2),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 5e-7",
    notes=(
        "A span becomes 1 to 4 frames of at least 28 days, each with the day in its middle; empty ones are left out.",
        "Trained on 4 frames, 1 to 6 months apart, of Harmonized Landsat Sentinel-2 at 30 m.",
        "The variants whose names end in TL use dates and place; the others do not.",
        "The authors contradict themselves on the first day (0 or 1) and on the order of the place: see the options.",
    ),
    deviations=(
        "rs-embed does not standardise: it feeds reflectance of 0..1 (scaling='unit'). The authors standardise.",
        "rs-embed counts days from 1 (first_day=1); the authors' evaluation code counts from 0.",
        "rs-embed also leaves out frames that equal another.",
    ),
)
