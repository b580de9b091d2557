"""DOFA: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import Clip, Divide, Linear, MinMax, Multiply, Resize, Standard, floats, names

_BANDS = "red green blue rededge1 rededge2 rededge3 nir swir16 swir22"
_STANDARD = Standard.of(
    "114.1099739 114.81779093 126.63977424 84.33539309 97.84789168 103.94461911 101.435633 72.32804172 56.66528851; "
    "77.84352553 69.96844919 67.42465279 64.57022983 61.72545487 61.34187099 60.29744676 47.88519516 42.55886798"
)
_S2 = (Clip(0, 1), Multiply(255.0), _STANDARD, Resize())
_SATLAS = MinMax((0.0,) * 9, (3558.0,) * 3 + (8160.0,) * 6)

# Digital numbers of the ground-range product: about 600 times the root of sigma nought.
_AMPLITUDE = (Divide(2.0), Linear(), Multiply(600.0), Clip(0, 255))
_S1 = Standard((88.45542715, 166.36275909), (43.07350145, 64.83126309))


def _variant(name: str, sizes: tuple[int, int, int], params: float) -> Variant:
    weights = Weights(
        *("earthflow/DOFA", f"DOFA_ViT_{name}_e100.pth"),
        seen="formerly at XShadow/DOFA",
        licence="CC-BY-4.0",
        ignore=("mask_token", "projector.", "fc_norm.", "head."),
        optional=("norm.",),
    )
    return Variant.vit(name, sizes, weights, ("size", 224), ("patch", 16), params=params)


def _inputs(modality: str, bands: str, waves: str, *when: When, sensors: str, **more: Any) -> Inputs:
    per_band = (("wavelength_um", floats(waves)),)
    return Inputs(modality, names(sensors), names(bands), size_px=224, per_band=per_band, when=when, **more)


CARD = Card(
    id="dofa",
    title="DOFA: one ViT/16 for any bands, by their wavelengths",
    paper="arXiv:2403.15356",
    citation="Xiong et al., Neural Plasticity-Inspired Foundation Model for Observing the Earth Crossing Modalities",
    code_licence="MIT",
    source="zhu-xlab/DOFA, dofa_v1.py and wave_dynamic_layer.py, as in torchgeo 0.10.1",
    variants=(_variant("base", (768, 12, 12), 111.3), _variant("large", (1024, 24, 16), 337.1)),
    patch_px=16,
    outputs=vectors(
        *("mean", "max", "cls"),
        mean="the mean of the patch tokens as the last block leaves them, through the norm that `pool_norm` names",
        max="the maximum of each feature over those tokens, before any norm",
        cls="the class token through the file's norm",
        grid="the patch tokens before any norm",
    ),
    any_bands=True,
    masks="drop",
    inputs=(
        _inputs(
            *("s2", _BANDS, "0.665 0.56 0.49 0.705 0.74 0.783 0.842 1.61 2.19"),
            When("scale", "rs_embed", (("steps", (Divide(10_000.0), *_S2)),)),
            sensors="sentinel-2-l2a sentinel-2-l1c",
            steps=(_SATLAS, *_S2),
            max_cloud_pct=30,
        ),
        _inputs(
            *("s1", "vh vv", "3.75 3.75"),
            When("s1_statistics", "labelled", (("steps", (*_AMPLITUDE, _S1.take((1, 0), 2), Resize())),)),
            When("s1_wavelength_um", 5.405, (("per_band", (("wavelength_um", (5.405, 5.405)),)),)),
            sensors="sentinel-1-grd sentinel-1-rtc",
            steps=(*_AMPLITUDE, _S1, Resize()),
            unit="db",
        ),
    ),
    options=(
        Option("bands", (), doc="bands to use, of the modality's; none named: all"),
        Option("scale", "satlas8", ("satlas8", "rs_embed"), "8 bits of Sentinel-2 as in training, or DN 10 000 as 255"),
        Option("pool_norm", "plain", ("plain", "file"), "the mean's norm: without a scale, or the file's", config=True),
        Option("s1_wavelength_um", 3.75, (3.75, 5.405), "Sentinel-1's stand-in wavelength; 5.405 is the README's"),
        Option("s1_statistics", "physical", ("physical", "labelled"), "the larger to VV, or as the authors label them"),
        RECTANGLE,
        Option("norm_eps", 1e-6, (1e-6, 1e-5), "epsilon of the LayerNorms", config=True),
    ),
    parity="the authors' arithmetic (torchgeo 0.10.1): vectors and grids within 1e-6",
    notes=(
        "satlas8: red, green and blue reach 255 at DN 3558, the others at 8160; there is no official rule for raw DN.",
        "Each token sees its cell moved one network pixel up and left: the authors' convolution pads by one.",
        "Other bands have a wavelength but no statistics, and are not offered.",
        "s1: dB become the product's digital numbers (600 x the root), which fit the statistics: our interpretation.",
        "The authors label the statistics of s1 VH, VV, but their demo gives VV first, and VV is the stronger.",
        "The converted copies at torchgeo/dofa have no norm: cls and pool_norm='file' then use one without a scale.",
        "Version 2 (patch 14) is another network and not covered.",
    ),
    deviations=(
        "rs-embed puts the file's norm of single tokens into the pooling norm: 15 % of the vector.",
        "rs-embed maps DN 0 to 10 000 on 0 to 255; the statistics are of Satlas images, brighter than that.",
    ),
)
