"""SatVision-TOA: the facts."""

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import PERCENT_KELVIN, RECTANGLE, Inputs, Option
from rs_embed_dask.preprocess.steps import MinMax, Resize, names

# Percent to 0..1 in the reflective bands, kelvin to about 0..1 in the others.
_SCALE = MinMax.of(
    "0 0 0 0 0 223.1221923828125 0 178.9174041748047 204.3739013671875 204.7677001953125 194.8686065673828 "
    "202.1759033203125 201.38229370117188 203.35369873046875; "
    "100 100 100 100 100 352.71820068359375 100 261.2919921875 282.5528869628906 319.03729248046875 295.0209045410156 "
    "324.06768798828125 321.525390625 285.98480224609375"
)
_GIANT = Weights(
    "nasa-cisto-data-science-group/satvision-toa-giant-patch8-window8-128",
    "mp_rank_00_model_states.pt",
    licence="Apache-2.0",
    keys=("module",),
    prefixes=("encoder.",),
    ignore=("mask_token", "decoder."),
    drop=("relative_coords_table", "relative_position_index", "attn_mask"),
)

CARD = Card(
    id="satvision",
    title="SatVision-TOA: Swin V2 Giant on fourteen MODIS channels at 1 km, clouds included",
    aliases=("satvision_toa",),
    paper="arXiv:2411.17000",
    citation="Spradlin et al., SatVision-TOA: A geospatial foundation model for ... all-sky imagery, arXiv:2411.17000",
    code_licence="Apache-2.0",
    source="nasa-nccs-hpda/pytorch-caney at 105d2b4, models/mim.py",
    variants=(Variant("giant", 4096, _GIANT, params=2595.1),),
    patch_px=32,
    outputs=vectors(
        mean="the mean of the last stage's tokens after the final norm",
        max="the maximum of each feature over the grid's tokens",
        grid="the last stage's tokens, 32 km each, after the final norm; ending='none': before it",
    ),
    inputs=(
        Inputs(
            "modis",
            sensors=("modis-l1b",),
            bands=names("B01 B02 B03 B06 B07 B21 B26 B27 B28 B29 B30 B31 B32 B33"),
            unit=PERCENT_KELVIN,
            steps=(_SCALE, Resize(antialias=True)),
            resolution_m=1000,
            size_px=128,
            composite="mosaic",
        ),
    ),
    options=(
        Option("ending", "norm", ("norm", "none"), "a grid's tokens after the final norm, or before it", config=True),
        Option("size_px", 128, doc="side of the image; the authors' is 128", multiple=32),
        RECTANGLE,
    ),
    parity="the authors' code, shrunken and the giant block by block: vectors and grids within 2e-6",
    notes=(
        "Arrays: B01 B02 B03 B06 B07 B26 in percent of reflectance at the top of the atmosphere; B21, B27 to B33 in K.",
        "`rs_embed_dask.imagery.modis_l1b.percent_kelvin` makes both of the integers that MOD021KM stores.",
        "No public catalogue has MOD021KM: Earth Engine's has no such collection, though rs-embed names one.",
        "Images of your own on Earth Engine are read by EarthEngine(collections={'modis-l1b': ...}): see its page.",
        "Name one day as the span: the authors' images are of one day, clouds included. Of more, the newest is on top.",
        "B21, not B20: the same wavelength in another range. Reflectances given as fractions are refused.",
        "10.4 GB in float32. The file also holds DeepSpeed's state: if it is refused, convert it to safetensors.",
        "GOES ABI channels 2 3 1 5 6 7 4 9 10 11 12 14 15 16 lie at the same wavelengths, untested: not read here.",
    ),
    deviations=(
        "rs-embed orders bands 1,2,3,26,6,20,7,27,28,29,31,32,33,34: wrong in eight places, two of them never seen.",
        "rs-embed feeds surface reflectance and one land surface temperature in all eight emissive channels.",
        "rs-embed clips to 0..1 and shrinks images without antialiasing; the authors do neither.",
        "rs-embed's grid is without the final norm, its vector with it (ending='none').",
    ),
)
