"""TESSERA, the encoder: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import Inputs, Option
from rs_embed_dask.preprocess.steps import names

# Means, then standard deviations, of each version: Sentinel-2, and VV VH of ascending and descending orbits in the
# units that the authors store.
_V1 = (
    (
        "1711.0938 1308.8511 1546.4543 3010.1293 3106.5083 2068.3044 2685.0845 2931.5889 2514.6928 1899.4922; "
        "1926.1026 1862.9751 1803.1792 1741.7837 1677.4543 1888.7862 1736.3090 1715.8104 1514.5199 1398.4779"
    ),
    *("5484.0407 3003.7812; 1871.2334 1726.0670",) * 2,
)
_MPC = (
    (
        "2683.4553 2223.3630 2432.0950 3633.1970 3602.1755 3006.4324 3400.2710 3515.6392 2456.9163 1983.8783; "
        "2739.5217 2846.2993 2690.8250 2290.0439 2088.8970 2673.1106 2381.4521 2229.5225 1601.0942 1495.3545"
    ),
    "5588.3291 3025.6270; 1713.4646 1693.0471",
    "5552.9683 2955.0520; 1685.5857 1677.6414",
)
_AWS = (
    (
        "2793.6589 2356.7776 2551.0496 3741.9229 3713.7844 3120.1997 3516.3342 3637.0342 2501.0283 2038.1504; "
        "2810.0093 2933.8835 2755.6360 2344.5027 2145.7986 2743.9019 2438.8601 2286.5977 1680.7367 1585.5529"
    ),
    "5697.0859 2838.6687; 1671.3737 1789.4116",
    "5759.1367 2873.2854; 1583.2858 1747.8390",
)
_V2 = (
    (
        "1633.0042 1341.1090 1539.5536 3054.8269 3117.4658 2004.1648 2694.7275 2945.1504 2266.6079 1657.3094; "
        "1999.4603 2014.7549 1929.2201 1754.2493 1649.9807 1936.8988 1748.6041 1708.6991 1207.5250 1108.6046"
    ),
    "5909.3921 3405.0322; 1507.1750 1531.2615",
    "5816.1382 3277.7576; 1554.6475 1546.4733",
)
_TEACHER = (_V2[0], *("5862.7652 3341.3949; 1531.8051 1540.2014",) * 2)
_FILE: dict[str, Any] = {
    "licence": "CC0-1.0",
    "keys": ("model", "encoder_state_dict", "model_state", "model_state_dict"),
    "rename": (("_orig_mod.", ""),),
    "ignore": ("projector.", "segmented_matryoshka_projector."),
    "safe_classes": ("argparse.Namespace",),
}


def _variant(
    name: str, sizes: tuple[int, int, int, int], weights: tuple[str, str, str], stats: tuple[str, ...], **more: Any
) -> Variant:
    """Return one variant: its sizes are width, depth, heads and hidden width; its weights repository, file, commit."""
    repo, file, seen = weights
    names_of = ("dim", "depth", "heads", "hidden", "s2", "s1_asc", "s1_desc")
    config: dict[str, Any] = dict(zip(names_of, (*sizes, *stats), strict=True))
    about = {key: more.pop(key) for key in ("params", "aliases", "prefix_dims") if key in more}
    checkpoint = Weights(repo, file, seen=seen, size=more.pop("size", 0), **_FILE)
    return Variant(name, more.get("length", 128), checkpoint, (*config.items(), *more.items()), **about)


def _student(letter: str, name: str, sizes: tuple[int, int, int, int], seen: str, **more: Any) -> Variant:
    weights = (f"geotessera/TESSERA-V-2.0-2B-{letter}", f"ckpt/student_{name}.pt", seen)
    prefixes = (16, 32, 64)
    return _variant(f"v2-{name}", sizes, weights, _V2, prefix_dims=prefixes, aliases=(f"v2-2b-{letter}",), **more)


_ONE: dict[str, Any] = {"choice": "drawn", "context": "gru", "head": "linear"}
_ALL: dict[str, Any] = {"choice": "spread", "context": "gru", "head": "mlp", "out": 192, "params": 57.7}
_TEACHER_SIZES: dict[str, Any] = {"params": 2064.3, "size": 8_257_134_395, "length": 1024, "out": 1024}
_TEACHER_SIZES |= {"pre_norm": True, "qk_norm": True, "fusion": 2}
_V11 = "geotessera/TESSERA-V-1.1"


def _inputs(name: str, bands: str, unit: str, *sensors: str, **more: Any) -> Inputs:
    """Return one modality: every acquisition, each with its day, at 10 m; NaN is no observation."""
    more |= {"native": True, "apart": True, "frames": Frames("available"), "composite": "mosaic"}
    return Inputs(name, sensors, names(bands), unit=unit, fill="keep", empty="mask", **more)


CARD = Card(
    id="tessera_encoder",
    title="TESSERA, the encoder: a year of Sentinel-2 and Sentinel-1 at one pixel",
    paper="arXiv:2506.20380, arXiv:2607.03949",
    citation="Feng et al., TESSERA, CVPR 2026; TESSERA v2: Scaling Pixel-wise Earth Foundation Models, 2026",
    code_licence="MIT",
    source="ucam-eo/tessera at ef4f0ac: tessera_infer, tessera_infer_QAT, tessera_infer_v2, tessera_preprocessing",
    variants=(
        _student("N", "nano", (144, 2, 4, 384), "9645033f", params=1.07, size=4_288_221),
        _student("S", "small", (256, 4, 4, 1024), "21760b27", params=7.11, size=28_488_531),
        _student("M", "medium", (440, 4, 4, 1792), "41db8ee5", params=21.0, size=84_163_403),
        _student("L", "large", (640, 4, 4, 2560), "b45f2446", params=43.8, size=175_363_923),
        _variant(
            *("v2-teacher", (4096, 4, 4, 16_384)),
            ("geotessera/TESSERA-V-2.0-2B-Teacher", "ckpt/tessera_v2_2B_teacher.pt", "26217069"),
            _TEACHER,
            **_TEACHER_SIZES,
        ),
        _variant(
            *("v1.1-mpc", (768, 4, 4, 2048), (_V11, "tessera_v1_1_mpc_encoder.pt", "e037fc62"), _MPC),
            **{"aliases": ("v1.1",), "size": 230_891_229, **_ALL},
        ),
        _variant(
            *("v1.1-aws", (768, 4, 4, 2048), (_V11, "tessera_v1_1_aws_encoder.pt", ""), _AWS),
            **_ALL,
        ),
        _variant(
            *("v1.0-qat", (512, 4, 4, 4096)),
            ("geotessera/TESSERA-V-1.0", "tessera-v1.0-QAT-best.pt", ""),
            _V1,
            **{"aliases": ("v1", "v1.0"), "params": 45.8, **_ONE},
        ),
        _variant(
            *("v1.0-early", (512, 8, 8, 4096), ("isaaccorley/tessera", "model-b00edea0.pth", ""), _V1),
            **{"params": 87.8, **_ONE, "context": "torch_gru"},
        ),
    ),
    patch_px=1,
    outputs=vectors(
        "mean",
        mean="the mean of the pixels that have a vector; the authors do not pool",
        grid="a pixel's vector; NaN where neither sensor saw it",
    ),
    extras=("dates", "share"),
    modalities=(("s2", "s1-asc", "s1-desc"),),
    together=True,
    inputs=(
        _inputs(
            *("s2", "red blue green nir nir08 rededge1 rededge2 rededge3 swir16 swir22", "reflectance_e4"),
            "sentinel-2-l2a",
            mask="scl:0,1,2,3,8,9",
        ),
        _inputs("scl", "scl", "class"),
        _inputs("s1-asc", "vv vh", "db", "sentinel-1-rtc", orbit="ascending"),
        _inputs("s1-desc", "vv vh", "db", "sentinel-1-rtc", orbit="descending"),
    ),
    options=(
        Option(
            "dimensions", 0, (0, 16, 32, 64), "keep the first numbers of a v2 student's vector; 0: all", config=True
        ),
        Option("rounding", "none", ("none", "int8"), "give code times scale of the authors' 8-bit files", config=True),
        Option(
            "seed", 0, doc="of the dates that v1.0 draws at random", config=True, variants=("v1.0-qat", "v1.0-early")
        ),
    ),
    parity="the authors' code: grids within 1e-6, codes of int8 equal",
    notes=(
        "Each pixel is encoded alone, from all its valid dates in the span; a calendar year is what was trained on.",
        "Each modality has dates of its own: dates={'s2': [...], 's1-asc': [...], 's1-desc': [...]}.",
        "What is not there is left out, as in modality='s2+s1-desc'.",
        "Arrays of s2 have no offset of 1000 and are NaN where they do not count, as under clouds.",
        "Or scene classes come beside them as `scl`, of which 4, 5, 6, 7, 10 and 11 count.",
        "s1 is gamma0 with terrain correction, in dB, each orbit direction apart: never sentinel-1-grd.",
        "Where the offset leaves less than nothing, the stored number is taken, for the authors subtract from no less.",
        "v1.1 and v2 pad a pixel's dates to the next of 8, 16, ..., 256 by repeating some, and the network sees those.",
        "A provider's pixels are those of every day in the span, each orbit direction apart, from scenes of any cloud.",
        "They are nearest neighbours (the authors interpolate 20 m bands); of two passes in a day the later counts.",
        "With a provider v1.0 gives NaN where no date is clear; from arrays with `scl` it draws from clouds too.",
        "v1.0 draws 40 dates of each sensor at random: here from `seed` and the item's place, so equal for both alike.",
        "Without any observation the vector is NaN; the authors' code leaves zeros, or memory as it was.",
        "v1.1 has a checkpoint for each source: mpc for Planetary Computer, aws for Earth Search with OPERA RTC-S1.",
        "Versions cannot be compared with each other. v1.1's last 64 of 192 numbers are not published, and not given.",
        "The product `tessera` has such vectors precomputed, to 8 bits: v1 is v1.0-qat, v1.1 either file of v1.1.",
        "No real checkpoint was at hand: names, shapes and v2's sizes were compared, not its trained vectors.",
    ),
    deviations=("rs-embed has no encoder of TESSERA: it reads the product.",),
)
