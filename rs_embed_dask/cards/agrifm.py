"""AgriFM: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Resize, Standard, names

_SCALE = Standard.of(
    "4179.192015478227 4065.9106675194444 3957.274910960156 5207.452475253116 4327.12234687 4873.16102239 "
    "5049.1637925 5111.07806856 3056.86349163 2490.9675032; "
    "4041.5212325268735 3691.003119315892 3629.331318356375 2973.5178530908756 3569.73343885 3085.9151435 "
    "2937.56005119 2806.04462314 1808.30013156 1694.20220774"
)
_COUNTS = (1, 4, 8, 12, 16, 24, 32)
_WEIGHTS = Weights(
    file="AgriFM.pth",
    url="https://glass.hku.hk/casual/AgriFM/AgriFM.pth",
    licence="none stated",
    keys=("state_dict", "model"),
    prefixes=("module.", "encoder."),
    rename=(("S2_patch_emd.proj.weight", "S2_patch_emd.weights"), ("S2_patch_emd.proj.bias", "S2_patch_emd.bias")),
    ignore=("HLSL30_patch_emd.", "Modis_patch_emd."),
    drop=("relative_position_index",),
)

CARD = Card(
    id="agrifm",
    title="AgriFM: Sentinel-2 films through a three-dimensional Swin transformer",
    paper="arXiv:2505.21357",
    citation="Li et al., AgriFM: A multi-source temporal ... model for agriculture mapping, RSE 334 (2026) 115234",
    code_licence="Apache-2.0",
    source="flyakon/AgriFM at 13f476e, AgriFM/models/video_swin_transformer.py",
    variants=(Variant("base", 1024, _WEIGHTS, params=87.7),),
    patch_px=32,
    outputs=vectors(
        mean="the mean of the grid; the authors do not pool",
        max="the maximum of each feature over the grid",
        grid="the last stage after the final norm, the remaining time steps concatenated as features",
    ),
    inputs=(
        Inputs(
            "s2",
            sensors=("sentinel-2-l2a", "sentinel-2-l1c"),
            bands=names("blue green red nir rededge1 rededge2 rededge3 nir08 swir16 swir22"),
            steps=(_SCALE, Resize()),
            size_px=256,
            frames=Frames("fixed", n=32),
            max_cloud_pct=80,
            when=(
                *(When("frames", count, (("frames", Frames("fixed", n=count)),)) for count in _COUNTS),
                When("missing", "zero", (("empty", "mask"),)),
            ),
        ),
    ),
    options=(
        Option("frames", 32, _COUNTS, "frames that a span is cut into; the authors' count is 32"),
        Option("missing", "drop", ("drop", "zero"), "leave empty frames out, or keep them as the mean's zeros"),
        Option("patch_px", 32, (32, 16), "side of a token: 16 for a file whose patches are 4 x 2 x 2", config=True),
        Option("size_px", 256, doc="side of the image: no position is learned, so any works", multiple=32),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "B8 is the fourth band, as the statistics of the file have it; not in the order of wavelengths.",
        "Dates are not used: the order of the frames is all that the network sees. Nothing is clipped.",
        "Up to 32 frames give 1024 dimensions; arrays of 33 to 64 give twice as many.",
        "A single frame is padded with three of zeros (the mean reflectance): repeat it to avoid that.",
        "The file was not available: its names are those that two other code bases read; any mismatch is an error.",
        "If loading reports S2_patch_emd.weights as misshapen, ending in (4, 2, 2), pass patch_px=16.",
    ),
    deviations=(
        "rs-embed silently loads nothing from a file with the published names: its vectors are random.",
        "rs-embed takes patches of 4 x 2 x 2 (patch_px=16); the file's are of 4 x 4 x 4.",
        "rs-embed feeds B8 seventh, so that five bands get another band's statistics and filters.",
        "rs-embed clips to 0..10000, and takes 8 frames (frames=8), which the network fills up with zeros.",
    ),
)
