"""TerraMind: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, rgb, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Multiply, Percentile, Resize, Standard, names

_L2A = (
    "1390.458 1503.317 1718.197 1853.91 2199.1 2779.975 2987.011 3083.234 3132.22 3162.988 2424.884 1857.648; "
    "2106.761 2141.107 2038.973 2134.138 2085.321 1889.926 1820.257 1871.918 1753.829 1797.379 1434.261 1334.311"
)
_L1C = (
    "2357.089 2137.385 2018.788 2082.986 2295.651 2854.537 3122.849 3040.56 3306.481 1473.847 506.07 2472.825 1838.929;"
    "1624.683 1675.806 1557.708 1833.702 1823.738 1733.977 1732.131 1679.732 1727.26 1024.687 442.165 1331.411 1160.419"
)
_NINE = "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09"
_RGB = Standard((87.271, 80.931, 66.667), (58.767, 47.663, 42.631))


def _optical(modality: str, sensor: str, bands: str, statistics: str) -> Inputs:
    steps = (Resize(), Standard.of(statistics))
    clipped = When("clip", value=True, change=(("steps", (Clip(0, 10_000), *steps)),))
    return Inputs(modality, (sensor,), names(bands), steps=steps, size_px=224, max_cloud_pct=30, when=(clipped,))


def _radar(modality: str, sensor: str, mean: tuple[float, float], std: tuple[float, float]) -> Inputs:
    return Inputs(modality, (sensor,), ("vv", "vh"), steps=(Resize(), Standard(mean, std)), unit="db", size_px=224)


def _variant(name: str, sizes: tuple[int, int, int], hidden: int, params: float) -> Variant:
    weights = Weights(
        *(f"ibm-esa-geospatial/TerraMind-1.0-{name}", f"TerraMind_v1_{name}.pt"),
        licence="Apache-2.0",
        keys=("model", "state_dict"),
        ignore=("decoder", "mask_token"),
        optional=("norm1.bias", "norm2.bias", "encoder_norm.bias", ".pos_emb"),
        spare=("encoder_embeddings.",),
    )
    config, alias = ("mlp_ratio", hidden / sizes[0]), f"terramind_v1_{name}"
    return Variant.vit(name, sizes, weights, config, params=params, aliases=(alias,))


CARD = Card(
    id="terramind",
    title="TerraMind 1.0: optical, radar and elevation images, alone or together",
    paper="arXiv:2504.11171",
    citation="Jakubik et al., TerraMind: Large-Scale Generative Multimodality for Earth Observation, ICCV 2025",
    code_licence="Apache-2.0",
    source="IBM/terratorch at 85467a9, terratorch/models/backbones/terramind",
    variants=(
        _variant("tiny", (192, 12, 3), 512, 7.2),
        _variant("small", (384, 12, 6), 1024, 25.0),
        _variant("base", (768, 12, 12), 2048, 92.4),
        _variant("large", (1024, 24, 16), 2730, 311.9),
    ),
    default_variant="small",
    patch_px=16,
    outputs=vectors(
        mean="the mean of all tokens after the final norm; there is no class token",
        grid="the tokens after the final norm, those of several modalities at one place joined by `merge`",
    ),
    together=True,
    per_modality=True,
    inputs=(
        _optical("s2l2a", "sentinel-2-l2a", f"{_NINE} swir16 swir22", _L2A),
        _optical("s2l1c", "sentinel-2-l1c", f"{_NINE} cirrus swir16 swir22", _L1C),
        rgb(
            (Percentile(98.0, 2.0), Clip(0, 1), Multiply(255.0), Resize(), _RGB),
            When("rgb", "bytes", (("steps", (Resize(), _RGB)), ("unit", "byte"))),
            sensors=("sentinel-2-l2a",),
        ),
        _radar("s1grd", "sentinel-1-grd", (-12.599, -20.293), (5.195, 5.89)),
        _radar("s1rtc", "sentinel-1-rtc", (-10.93, -17.329), (4.391, 4.459)),
        Inputs(
            "dem", ("cop-dem-glo-30",), ("elevation",), (Resize(), Standard((670.665,), (951.272,))), "m", size_px=224
        ),
    ),
    options=(
        Option("merge", "mean", ("mean", "max"), "how the tokens of several modalities are joined", config=True),
        Option("clip", default=False, doc="limit digital numbers to 0..10000 first, as rs-embed"),
        Option("rgb", "stretch", ("stretch", "bytes"), "RGB from reflectance by percentiles, or bytes 0..255 as input"),
        Option("size_px", 224, doc="side of the image; positions are resampled", multiple=16),
        RECTANGLE,
    ),
    parity="the authors' code: vectors within 5e-7, grids within 1e-6",
    notes=(
        "Modalities may be combined, as in modality='s2l2a+s1rtc'; their tokens are joined at each place.",
        "RGB was stretched by quantiles: here from the 2nd to the 98th percentile of each image or tile.",
        "Version 0.1 has other statistics and is not covered.",
    ),
    deviations=(
        "rs-embed clips digital numbers to 0..10000 (clip=True); the authors do not. Bright cloud and snow differ.",
        "rs-embed takes Sentinel-2 L2A only: it checks for 12 bands whatever the modality.",
    ),
)
