"""Maps of TESSERA, the encoder: each pixel from all of its own dates, the same as by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.maps import passes
from rs_embed_dask.providers.synthetic.provider import Synthetic

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-06-16")
PLACE = rs.BBox(500_000, 5_650_000, 500_060, 5_650_060, crs="EPSG:32631")
CLOUDY = Synthetic(seed=1)
NARROW = {"dim": 16, "depth": 1, "heads": 2, "hidden": 16}


@pytest.fixture(scope="module")
def tiny():
    """The variants with narrow networks, under a name of their own."""
    own = models.card("tessera_encoder")
    variants = tuple(
        replace(one, config=tuple((dict(one.config) | NARROW).items()), weights=None, aliases=())
        for one in own.variants
        if one.name in {"v2-nano", "v1.0-qat"}
    )
    rs.register_model(replace(own, id="tiny_tessera", variants=variants), models.factory("tessera_encoder"))
    return "tiny_tessera"


def spec(name, variant, **options):
    return rs.ModelSpec(name, variant=variant, device="cpu", options=options, name="pixels")


@pytest.fixture
def mapped(threads_client, tmp_path, monkeypatch, tiny):
    """Computes a map in blocks of 16 x 16 tokens."""
    monkeypatch.setattr(passes, "BLOCK_TOKENS", 4)
    ask = {"provider": CLOUDY, "client": threads_client, "progress": False, "dtype": "float32", "preview": False}

    def made(variant, out, **options):
        tree = rs.compute_map(PLACE, spec(tiny, variant, **options), SPAN, out=tmp_path / out, **ask)
        return tree["pixels"]["utm31"]

    return made


def test_each_pixel_is_the_same_as_by_itself(mapped, tiny):
    field = mapped("v2-nano", "map.zarr")
    alone = rs.get_embedding(spec(tiny, "v2-nano"), PLACE, SPAN, output="grid", provider=CLOUDY).data
    same = field.embedding[0].sel(x=alone.x, y=alone.y).values
    assert np.isfinite(alone.values).all()
    np.testing.assert_allclose(same, alone.values, atol=2e-6)
    assert np.ptp(alone.values, axis=(1, 2)).max() > 0.1


def test_a_map_of_v1_draws_again_what_it_drew_and_the_plan_states_the_seed(mapped, tiny):
    first, again = (mapped("v1.0-qat", f"{n}.zarr", seed=seed).embedding.values for n, seed in enumerate((5, 5)))
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).any()
    for planned in (
        rs.plan_map(PLACE, spec(tiny, "v1.0-qat", seed=5), SPAN, provider=CLOUDY),
        rs.plan([PLACE], [spec(tiny, "v1.0-qat", seed=5)], SPAN, provider=CLOUDY),
    ):
        assert "pixels: seed 5, of the dates that v1.0 draws at random" in " ".join(str(planned).split())
    assert "seed" not in str(rs.plan_map(PLACE, spec(tiny, "v2-nano"), SPAN, provider=CLOUDY))
