"""OlmoEarth: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option
from rs_embed_dask.preprocess.steps import ValueSpan, floats, names

# Bands, then means and standard deviations.
_S2 = (
    "blue green red nir rededge1 rededge2 rededge3 nir08 swir16 swir22 coastal nir09; "
    "1188.9412573 1407.7739105 1513.0573882 2755.4813050 1890.9893043 2483.7812315 2722.7282488 2885.5702630 "
    "2562.8526078 1914.1383249 1115.8494388 3269.8125542; "
    "1859.1923972 1727.7387414 1740.7757299 1612.2565700 1754.7320389 1622.1172721 1621.8226170 1611.3587521 "
    "1441.5471831 1328.8914383 1955.6991794 2651.0884251"
)
_WAVES = "492.4 559.8 664.6 832.8 704.1 740.5 782.8 864.7 1613.7 2202.4 442.7 945.1"
_S1 = "vv vh; -11.648990747 -17.745436133; 10.840350300 10.216274681"
_LANDSAT = (
    "B8 B1 B2 B3 B4 B5 B6 B7 B9 B10 B11; "
    "10132.090998 11000.959519 10493.416293 10146.318479 10236.446029 14427.021493 12164.081454 9712.0329511 "
    "4585.4695670 21347.893569 19686.232059; 7788.7282476 7857.9205792 7872.3921354 7676.2774595 8038.2181217 "
    "9302.4316059 7442.3905332 6037.7121852 2549.7453557 10957.281501 9911.4212241"
)
_SIZES = {"nano": (128, 4, 8), "tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
_SIZES["large"] = (1024, 24, 16)
# Size, version, millions of parameters; with a star the version that the size alone stands for.
_VARIANTS = (
    "nano v1 1.0, tiny v1 5.65, base v1 86.29, large v1 303.96 *, nano v1_1 1.09, tiny v1_1 7.7, base v1_1 94.5, "
    "nano v1_2 1.09 *, tiny v1_2 7.7 *, small v1_2 26.02 *, base v1_2 94.51 *, base v1_3 108.79"
)
_DECODED = names("worldcover srtm openstreetmap_raster wri_canopy_height_map cdl worldcereal")


def _variant(size: str, version: str, params: str, *star: str) -> Variant:
    name = f"OlmoEarth-{version}-{size.capitalize()}"
    weights = Weights(
        *(f"allenai/{name}", "weights.pth"),
        licence="OlmoEarth Artifact License",
        restricted=True,
        prefixes=("encoder.",),
        ignore=("project_and_aggregate.", "composite_encodings.pos_embed"),
        drop=_DECODED,
    )
    hidden = 0 if version == "v1" else 12 if size == "nano" else 64
    config = (("hidden", hidden), ("rotary", version > "v1_1"), ("pooler", version == "v1_3"))
    more: dict[str, Any] = {"params": float(params), "aliases": (name, size) if star else (name,)}
    more["masks"] = "" if hidden else "nearest"
    more["dims"] = (("vectors=student", 128),) if version == "v1_3" else ()
    return Variant.vit(f"{size}_{version}", _SIZES[size], weights, *config, **more)


def _inputs(name: str, unit: str, numbers: str, *sensors: str, waves: str = "") -> Inputs:
    bands, _, statistics = numbers.partition(";")
    more: dict[str, Any] = {"max_cloud_pct": 80} if unit == "reflectance_e4" else {}
    more |= {"per_band": (("wavelength_nm", floats(waves)),)} if waves else {}
    more |= {"max_px": 128, "frames": Frames("months", cap=12), "dated": "start", "empty": "mask"}
    return Inputs(name, sensors, names(bands), (ValueSpan.of(statistics, float64=True),), unit, **more)


CARD = Card(
    id="olmoearth",
    title="OlmoEarth: optical and radar series, versions 1 to 1.3",
    paper="arXiv:2511.13655",
    citation="Ai2, OlmoEarth: Stable Latent Image Modeling for Multimodal Earth Observation, 2025",
    code_licence="OlmoEarth Artifact License",
    source="olmoearth-pretrain-minimal 0.1.5, olmoearth_pretrain_v1/nn/flexi_vit.py",
    variants=tuple(_variant(*words.split()) for words in _VARIANTS.split(",")),
    default_variant="nano_v1_2",
    patch_px=4,
    outputs=vectors(
        mean="the mean of all visible tokens after the final norm; location, student: of the places' vectors",
        max="the maximum of each feature over the grid",
        grid="at each place the mean of a modality's tokens, then of the modalities; or the chosen `vectors`",
    ),
    extras=("dates", "gsd"),
    modalities=(("s2",),),
    together=True,
    masks="zero",
    inputs=(
        _inputs("s2", "reflectance_e4", _S2, "sentinel-2-l2a", waves=_WAVES),
        _inputs("s1", "db", _S1, "sentinel-1-rtc", "sentinel-1-grd"),
        _inputs("landsat", "dn", _LANDSAT),
    ),
    options=(
        Option("patch_px", 4, (1, 2, 3, 4, 5, 6, 7, 8), "side of a token in pixels", config=True),
        Option("max_px", 128, doc="largest side of an image; the authors advise 1 to 128"),
        Option("size_px", 0, doc="resize every image to this side; 0 does so only above max_px"),
        Option("vectors", "tokens", ("tokens", "location", "student"), "of version 1.3; student: 128", config=True),
        RECTANGLE,
    ),
    parity="the authors' code: vectors within 5e-7, grids within 1e-6",
    notes=(
        "nano_v1 to base_v1_3: a bare size means its newest version up to 1.2 (1 for large).",
        "An image takes the multiple of patch_px nearest to its side, up to max_px; positions follow its ground size.",
        "A frame has the date of its first day, as in the authors' code.",
        "Frames without imagery are hidden from attention; in version 1 and 1.1 they keep their place in time.",
        "A band that is not given: version 1 takes the one nearest in wavelength, of Sentinel-2 only; later ones zero.",
        "No provider serves Landsat at this level: pass `landsat` as an array of digital numbers to Model.embed.",
        "vectors='location' (one learned query per patch) and 'student' (its small copy) were not compared.",
        "The licence forbids military use, surveillance and the planning of extraction.",
    ),
    deviations=(
        "rs-embed resizes every image to 256 px (size_px=256), beyond the advised 128, but still passes 10 m.",
        "rs-embed dates a single frame by the middle of its span.",
    ),
)
