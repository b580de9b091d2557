"""Tiles with real models: a map in blocks equals the model run once over the whole region."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.pieces import read_piece
from rs_embed_dask.providers import load_all
from rs_embed_dask.specs import InputPrep, OutputSpec
from rs_embed_dask.store import Status
from tests.maps import inprocess
from tests.maps.inprocess import InProcess, mosaic

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
BLOCKS = [(3040, 262), (3040, 263), (3041, 262), (3041, 263)]
SMALL = {"bands": ("red", "nir", "swir16"), "patch_px": 2}
OPTIONS = {"rcf": {"features": 8, **SMALL}, "bandstats": SMALL}
MODELS = [{"id": name, "options": options} for name, options in OPTIONS.items()]


@pytest.fixture(scope="module")
def made():
    return InProcess(MODELS, SPAN, provider="synthetic").run(BLOCKS)


def whole(run, label, model):
    """The model run once, over the region and 16 pixels around it."""
    patch = run.models[0].tiling.patch_px
    size, around = run.lattice.block, 2 * patch
    region = Rect(BLOCKS[0][0] * size, BLOCKS[0][1] * size, (BLOCKS[-1][0] + 1) * size, (BLOCKS[-1][1] + 1) * size)
    rect = Rect(region.top - around, region.left - around, region.bottom + around, region.right + around)
    (number, need), *_ = run.recipe.needs(label)
    group = run.recipe.groups[number]
    read = Read(run.lattice.grid(rect), group.sensor, need.bands, group.frames.spans(SPAN), group.fetch)
    (cube,) = load_all(run.recipe.provider, [read])
    (features,) = model.embed_cubes([{need.modality: cube}], OutputSpec.grid(), InputPrep.resize())
    return features.values[:, 2:-2, 2:-2]


@pytest.mark.parametrize("label", OPTIONS)
def test_a_map_in_blocks_equals_the_model_run_once(made, label):
    expected = whole(made, label, load_model(label, **OPTIONS[label]))
    np.testing.assert_allclose(mosaic(made.fields, label, BLOCKS), expected, rtol=1e-6, atol=1e-6)


def test_models_of_one_block_size_share_every_read(made):
    top, left = BLOCKS[0][0] * made.lattice.block - 128, BLOCKS[0][1] * made.lattice.block - 128
    reads = np.zeros((600, 600), int)
    for rect in made.reads.values():
        reads[rect.top - top : rect.bottom - top, rect.left - left : rect.right - left] += 1
    assert reads.max() == 1
    # two blocks a side, the windows' stride of 32 tokens before them and their margin of 2 tokens behind
    assert reads.sum() == (2 * 128 + 2 * 32 + 2 * 2) ** 2


def test_overlapping_regions_agree(made):
    other = InProcess(MODELS, SPAN, provider="synthetic").run([BLOCKS[1], (3040, 264), BLOCKS[3]])
    for label in ("rcf", "bandstats"):
        for block in (BLOCKS[1], BLOCKS[3]):
            here, there = (run.fields[label, block].vectors for run in (made, other))
            np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)  # batches differ, so bits may


def test_quality_layers_count_what_was_observed(made):
    field = made.fields["bandstats", BLOCKS[0]]
    assert field.status in {Status.OK, Status.PARTIAL}
    quality = field.quality
    assert quality.valid_fraction.shape == (64, 64)
    assert ((quality.valid_fraction >= 0) & (quality.valid_fraction <= 1)).all()
    seen = quality.n_obs > 0
    assert seen.any()
    assert (quality.first_date[seen] >= np.datetime64("2022-06-01")).all()
    assert (quality.last_date[seen] < np.datetime64("2022-07-01")).all()


def test_a_table_of_positions_is_taken_from_every_window(made):
    """Where all windows have vectors, this equals taking the blend of the table from the blended map."""
    tiling = made.models[0].tiling
    rng = np.random.default_rng(3)
    table = rng.normal(size=(16, tiling.window, tiling.window)).astype(np.float32)
    removed = InProcess(MODELS, SPAN, provider="synthetic").run(BLOCKS[:1], removed={"rcf": table})
    kept, less = (run.fields["rcf", BLOCKS[0]].vectors for run in (made, removed))
    assert tiling.rim == 1
    inner = table[:, 1:-1, 1:-1]  # windows of the core tile the lattice: each token has one
    rows, cols = (np.arange(edge * 64 - 1, edge * 64 + 63) % tiling.stride for edge in BLOCKS[0])
    np.testing.assert_allclose(kept - less, inner[:, rows[:, None], cols], rtol=0, atol=1e-5)


def test_a_token_that_no_pixel_shows_has_no_vector(monkeypatch):
    """A window that is seen in part gives the network's guess for the rest, which is not written."""
    block, seen_px = (1520, 131), 101
    edge = block[1] * 256 + seen_px

    def half(*words, rect, **more):
        piece = read_piece(*words, rect=rect, **more)
        for read in piece.reads.values():
            if read.value is not None:
                read.value.values[..., max(0, edge - rect.left) :] = np.nan
        return piece

    monkeypatch.setattr(inprocess, "read_piece", half)
    spec = rs.ModelSpec("galileo", variant="nano", weights="random", options={"patch_px": 4, "max_px": 16})
    run = InProcess(spec, SPAN, provider="synthetic", overlap=0.0).run([block])
    (field,) = run.fields.values()
    there = np.isfinite(field.vectors).all(axis=0)
    assert there[:, :26].all()  # of the 26th token, one column of pixels
    assert not there[:, 26:].any()
    assert field.status == Status.PARTIAL
    assert "59 % of the tokens without a vector" in field.reason


def test_a_block_without_scenes_says_so():
    """Which is another thing than scenes whose pixels are all under clouds."""
    day = rs.TemporalSpec.range("2022-06-02", "2022-06-03")
    run = InProcess(MODELS, day, provider=rs.open_provider("synthetic", revisit_days=60)).run(BLOCKS[:1])
    for label in OPTIONS:
        field = run.fields[label, BLOCKS[0]]
        assert (field.status, field.vectors) == (Status.NO_DATA, None)
        assert field.reason == "no scene was found at this place and time"
