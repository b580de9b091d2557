"""THOR: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Divide, Resize, Standard, Step, floats, names

_BANDS = names("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22")
_GROUPS = (2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 1.0)
_STATISTICS = Standard(
    floats("0.182569 0.17662 0.195923 0.213948 0.263378 0.300818 0.313144 0.308133 0.320993 0.322589 0.22155 0.175772"),
    floats("0.282463 0.26452 0.252949 0.25918 0.272771 0.248175 0.235432 0.226434 0.223274 0.235857 0.171606 0.156223"),
)
# By kind of Sentinel-1 product, "iw10" the first: mean and standard deviation of vv vh hh hv.
_RADAR = {
    "iw10": floats("-12.985 -20.6958 -13.9485 -22.4575 5.0062 5.8688 6.8015 6.9106"),
    "iw60": floats("-13.0095 -20.6672 -13.0126 -21.2863 5.2439 5.9634 7.158 7.6221"),
    "ew10": floats("-13.9046 -23.5719 -12.7691 -22.6922 6.3085 6.8895 6.6416 7.2472"),
    "ew60": floats("-13.124 -23.2024 -12.1138 -21.745 5.5013 7.0584 6.583 7.4658"),
}
# Of Sentinel-3 reflectance (0 to 1) and, of the last three of SLSTR, kelvin: means, then standard deviations.
_OLCI = (
    "0.41836 0.407687 0.384837 0.356827 0.342093 0.313561 0.305947 0.326632 0.329984 0.331824 0.348113 0.3944 0.101062 "
    "0.18893 0.352127 0.394914 0.402817 0.398475 0.312429 0.166702 0.380989; "
    "0.271155 0.276213 0.286278 0.291605 0.28496 0.259517 0.260534 0.286289 0.290304 0.291953 0.281539 0.265238 "
    "0.066239 0.122599 0.233035 0.258835 0.251323 0.244922 0.213306 0.156878 0.209298"
)
_OA = " ".join(f"oa{number:02}" for number in range(1, 22))
_SLSTR = (
    "0.338953 0.339034 0.405393 0.010942 0.184803 0.137453; 0.280222 0.294075 0.26246 0.030842 0.140885 0.109526",
    "286.190167 278.423815 277.117165; 21.070093 22.109991 21.526558",
)
_PATCHES = (4, 6, 8, 10, 12, 15, 16, 20, 24, 30, 40, 48)
_COMMON = (
    When("fit", "snap", (("snap_px", 288),)),
    *(When("patch_px", side, (("multiple_px", 2 * side),)) for side in _PATCHES),
)


_E4 = Divide(10_000.0)


def _s2(bands: tuple[int, ...], multiple: int, *when: When) -> Inputs:
    scale = _STATISTICS.take(bands, len(_BANDS))
    steps = (Clip(0, 10_000), _E4, scale, Resize())
    groups, own = tuple(_GROUPS[i] for i in bands), tuple(_BANDS[i] for i in bands)
    settings = {"per_band": (("group", groups),), "multiple_px": multiple, "max_cloud_pct": 30, "when": when}
    return Inputs("s2", ("sentinel-2-l2a",), own, steps, **settings)  # type: ignore[arg-type]


def _radar(modality: str, bands: str, first: int, group: float) -> Inputs:
    chosen = {kind: (Standard(v[first : first + 2], v[first + 4 : first + 6]), Resize()) for kind, v in _RADAR.items()}
    when = (*(When("radar", kind, (("steps", steps),)) for kind, steps in chosen.items()), *_COMMON)
    settings = {"per_band": (("group", (group, group)),), "multiple_px": 16, "unit": "db", "when": when}
    return Inputs(modality, ("sentinel-1-grd", "sentinel-1-rtc"), names(bands), chosen["iw10"], **settings)  # type: ignore[arg-type]


def _sentinel_3(modality: str, metres: int, bands: str, numbers: str, groups: str, *scale: Step) -> Inputs:
    of_patch = tuple(When("patch_px", side, (("multiple_px", side),)) for side in _PATCHES)
    settings = {"resolution_m": metres, "multiple_px": 8, "per_band": (("group", floats(groups)),), "when": of_patch}
    steps, unit = (*scale, Standard.of(numbers), Resize()), "reflectance_e4" if scale else "kelvin"
    return Inputs(modality, (), names(bands), steps, unit, **settings)  # type: ignore[arg-type]


_ALL = _s2(tuple(range(12)), 48)
_TWELVE = tuple((name, getattr(_ALL, name)) for name in ("bands", "steps", "multiple_px", "per_band"))
_TEN = _s2((1, 2, 3, 4, 5, 6, 7, 8, 10, 11), 16, *_COMMON, When("bands60", value=True, change=_TWELVE))


def _variant(name: str, sizes: tuple[int, int, int], group_dim: int, params: float) -> Variant:
    weights = Weights(
        *(f"FM4CS/THOR-1.0-{name}", f"thor_v1_vit_{name}.pt"),
        licence="not seen (see its page)",
        keys=("state_dict",),
        prefixes=("encoder.",),
        ignore=("decoder",),
        drop=("pos_embed", "encoder_slopes", "band_embed"),
    )
    return Variant.vit(name, sizes, weights, ("group_dim", group_dim), params=params, aliases=(f"thor_v1_{name}",))


CARD = Card(
    id="thor",
    title="THOR 1.0: Sentinel-2 and Sentinel-1 bands in groups, each at its own resolution",
    paper="arXiv:2601.16011",
    citation="Forgaard et al., THOR: A Versatile Foundation Model for Earth Observation ..., arXiv:2601.16011",
    code_licence="MIT",
    source="FM4CS/THOR 1.0.2, thor/models/thor_vit.py; FM4CS/thor_terratorch_ext at 7e822dd",
    variants=(
        _variant("tiny", (192, 12, 3), 32, 7.6),
        _variant("small", (384, 12, 6), 64, 25.8),
        _variant("base", (768, 12, 12), 128, 94.1),
        _variant("large", (1024, 24, 16), 256, 314.4),
    ),
    default_variant="base",
    patch_px=8,
    outputs=vectors(
        mean="the mean of all groups' tokens as the last block leaves them; ending='norm': after the final norm",
        max="the maximum of each feature over those tokens, each group resampled to the densest",
        grid="at each place of the densest group the mean of the groups; over='concat': concatenated",
    ),
    extras=("gsd",),
    together=True,
    any_bands=True,
    masks="drop",
    whole=("mean",),
    inputs=(
        _TEN,
        *(_radar("s1", "vv vh", 0, 3), _radar("s1_hh_hv", "hh hv", 2, 4)),
        _sentinel_3("olci", 240, _OA, _OLCI, "5 " * 7 + "6 " * 7 + "7 " * 7, _E4),
        _sentinel_3("slstr", 480, "s1 s2 s3 s4 s5 s6", _SLSTR[0], "8 " * 6, _E4),
        _sentinel_3("slstr_bt", 960, "s7 s8 s9", _SLSTR[1], "9 9 9"),
    ),
    options=(
        Option("bands60", default=False, doc="also use the 60 m bands B1 and B9; images are then multiples of 48 px"),
        Option("patch_px", 8, _PATCHES, "side of a token in its group's pixels, resampled from 16", config=True),
        Option("over", "mean", ("mean", "concat"), "how a grid joins the groups; upstream concatenates", config=True),
        Option("ending", "none", ("none", "norm"), "tokens as the last block leaves them, or normed", config=True),
        Option("gsd", "resized", ("resized", "read"), "which image's ground size of a pixel to use", config=True),
        Option("radar", "iw10", tuple(_RADAR), "which Sentinel-1 product's statistics apply"),
        Option("fit", "resize", ("resize", "snap"), "all of an image, or, as rs-embed, its centre without a resize"),
        Option("size_px", 0, doc="side of the image; 0: the valid one nearest to its own", multiple=2),
        Option("max_px", 384, doc="largest side of an image without size_px"),
        RECTANGLE,
    ),
    parity="the authors' arithmetic: vectors within 1e-6, grids within 2e-6",
    notes=(
        "The vector is the mean of all tokens that the network sees, so a 10 m group weighs four times a 20 m one.",
        "Tokens are without the final norm, as in upstream's wrapper; with it, vectors differ by 76 %.",
        "A grid has the cells of the densest group; the others are resampled to it bilinearly.",
        "Modalities may be combined (modality='s2+s1'), and any bands of a single one: bands=('red', 'nir').",
        "The network knows the ground size of a pixel: for a resized image, that after the resize.",
        "Sentinel-3 comes as arrays at 240, 480 and 960 m: reflectance x 10 000 (olci, slstr) and kelvin (slstr_bt).",
        "Catalogues have Sentinel-3 as swaths, so no provider serves it. All modalities must cover the same ground.",
        "patch_px: the sides that the authors trained with, and 4 and 6; images are whole tokens of every group.",
        "The weights' licence was not checked; the code is MIT. Upstream loads names loosely; here each must match.",
    ),
    deviations=(
        "rs-embed scales Sentinel-1 by each image's own 99th percentile of log power: 70 % of the vector.",
        "rs-embed resizes to 288 px but still passes 10 m (size_px=288, gsd='read').",
        "rs-embed averages the groups of a grid where upstream's examples concatenate them (over='concat').",
    ),
)
