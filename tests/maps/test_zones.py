"""Maps across the borders of zones: each token once, in the zone that owns it."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine.request import request_of
from rs_embed_dask.maps.region import Region
from rs_embed_dask.maps.request import MapRequest, MapRun
from rs_embed_dask.store.map_store import MapStore

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
BANDS = {"id": "bandstats", "options": {"bands": ("red", "nir", "swir16"), "patch_px": 2}}


@pytest.mark.parametrize(
    ("place", "groups"),
    [
        (rs.BBox(5.985, 50.901, 6.015, 50.911), ("utm31", "utm32")),
        (rs.BBox(179.988, -17.01, -179.988, -17.0), ("utm01", "utm60")),
    ],
)
def test_each_token_has_one_owner_at_a_border_of_zones(threads_client, tmp_path, place, groups):
    path = tmp_path / "zones.zarr"
    ask = {"provider": "synthetic", "client": threads_client, "dtype": "float32", "progress": False}
    tree = rs.compute_map(place, BANDS, SPAN, out=path, **ask)["bandstats"]
    assert tuple(sorted(tree.children)) == groups
    run = MapRun(Region.of(place), MapRequest(request_of(BANDS, {"provider": "synthetic"}), (SPAN,)))
    store, area = MapStore.open(path), 0.0
    for group in store.groups("bandstats"):
        lattice = run.lattice(group, run.models["bandstats"])
        for at in store.asked("bandstats", group.group, 0):
            rect = lattice.rect(*at)
            grid = lattice.grid(rect)
            field = tree[group.group].sel(x=grid.xs, y=grid.ys)
            owned, there = lattice.owned(rect), np.isfinite(field.embedding.values[0]).all(0)
            seen = field.n_obs.values[0] > 0
            np.testing.assert_array_equal(there, owned & seen)
            area += float(field.coverage.values[owned].sum()) * 20.0**2
    assert area == pytest.approx(Region.of(place).area_m2, rel=5e-3)
    scores = rs.map_scores(path).loc["bandstats"]
    assert scores.zone_tokens > 0
    assert scores.zone_mean > 0.99  # the same pixels, to half a token
