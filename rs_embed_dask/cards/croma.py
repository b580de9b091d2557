"""CROMA: the facts."""

from typing import Any

from rs_embed_dask.cards.card import Card, Variant, Weights, vectors
from rs_embed_dask.preprocess.inputs import RECTANGLE, Inputs, Option, When
from rs_embed_dask.preprocess.steps import OwnSpan, Resize, names

_TWELVE = "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22"


def _inputs(modality: str, sensors: tuple[str, ...], bands: str, **more: Any) -> Inputs:
    exact = When("eight_bit", value=False, change=(("steps", (Resize(), OwnSpan())),))
    steps = (Resize(), OwnSpan(byte=True))
    return Inputs(modality, sensors, names(bands), steps=steps, size_px=120, when=(exact,), **more)


def _variant(name: str, dim: int, depth: int, params: float) -> Variant:
    weights = Weights("antofuller/CROMA", f"CROMA_{name}.pt", licence="MIT", spare=("s1_", "s2_", "joint_"))
    return Variant.vit(name, (dim, depth, 16), weights, params=params, aliases=(f"croma_{name}",))


CARD = Card(
    id="croma",
    title="CROMA: Sentinel-2, Sentinel-1, or the two together",
    paper="arXiv:2311.00566",
    citation="Fuller et al., CROMA: ... with contrastive radar-optical masked autoencoders, NeurIPS 2023",
    code_licence="MIT",
    source="antofuller/CROMA at 59505a6, use_croma.py",
    variants=(_variant("base", 768, 12, 194.4), _variant("large", 1024, 24, 672.6)),
    patch_px=8,
    outputs=vectors(
        mean="the mean of the tokens through the last layers; of s2+s1 their plain mean",
        max="the maximum of each feature over the grid's tokens",
        grid="the normed tokens of the optical or the radar encoder; s2+s1: of the joint one",
    ),
    modalities=(("s2",), ("s1",), ("s2", "s1")),
    per_modality=True,
    inputs=(
        _inputs("s2", ("sentinel-2-l2a",), _TWELVE, max_cloud_pct=30),
        _inputs("s1", ("sentinel-1-grd", "sentinel-1-rtc"), "vv vh", unit="db"),
    ),
    options=(
        Option("eight_bit", default=True, doc="truncate the scaled bands to 256 levels, as in pretraining"),
        Option("size_px", 120, doc="side of the image: no position is learned, so any works", multiple=8),
        RECTANGLE,
    ),
    parity="the authors' code: vectors and grids within 1e-6",
    notes=(
        "No statistics are fixed: each band of each image or tile is scaled by its own (mean -/+ 2 std to 0..1).",
        "The authors' example takes those of the whole batch; here no image changes another's vector.",
        "These are the authors' optical_GAP, SAR_GAP and joint_GAP. The copies at torchgeo/croma were not checked.",
    ),
    deviations=("rs-embed has no such model.",),
)
