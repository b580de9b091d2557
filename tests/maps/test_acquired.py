"""Maps whose frames are acquisitions: one set for each zone and span, kept, and told by plan and status."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import StoreMismatchError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs import FetchSpec
from rs_embed_dask.store.map_store import MapStore

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
JULY = rs.TemporalSpec.range("2022-07-01", "2022-08-01")
PLACE = rs.BBox(2.03, 50.901, 2.034, 50.904)
CLEAR = Synthetic(cloud=0.0)
ASKED = {"provider": CLEAR, "frames": "available", "dtype": "float32", "progress": False, "preview": False}
SMALL = {"id": "bandstats", "options": {"bands": ("red", "nir"), "patch_px": 2}}


def days(temporal):
    scenes = CLEAR.search("sentinel-2-l2a", grid_for(PLACE, 10.0), Span.of(temporal), fetch=FetchSpec())
    return sorted({scene.datetime.date().isoformat() for scene in scenes})


@pytest.fixture(scope="module")
def made(threads_client, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "june.zarr"
    return path, rs.compute_map(PLACE, SMALL, JUNE, out=path, client=threads_client, **ASKED)


def test_every_token_has_all_acquisitions(made):
    path, tree = made
    field = tree["bandstats"]["utm31"].sel(time="2022-06-01")
    there = np.isfinite(field.embedding.values[0])
    assert there.any()
    assert set(field.n_obs.values[there].tolist()) == {len(days(JUNE))}
    assert set(field.valid_fraction.values[there].tolist()) == {1.0}
    first, last = (layer.values[there].astype("datetime64[D]") for layer in (field.first_date, field.last_date))
    assert (first.min(), last.max()) == (np.datetime64(days(JUNE)[0]), np.datetime64(days(JUNE)[-1]))
    kept = MapStore.open(path).receipt["acquisitions"]["bandstats"]["utm31"]["2022-06-01/2022-07-01"]
    assert [start for start, _ in kept] == days(JUNE)


def test_plan_and_status_say_so(made):
    path, _ = made
    options = {name: value for name, value in ASKED.items() if name not in {"progress", "preview"}}
    planned = rs.plan_map(PLACE, SMALL, JUNE, **options)
    assert planned.outlook.frames == {"bandstats": "the days with acquisitions, at most 12"}
    assert "bandstats: the days with acquisitions, at most 12" in str(planned)
    report = rs.status(path)
    assert report.frames == {"bandstats": [f"6 acquisitions in utm31, {days(JUNE)[0]} to {days(JUNE)[-1]}"]}
    assert report.tokens == {"bandstats": "20 m"}
    assert "20 m of ground" in repr(report)


def test_a_span_is_added_and_a_larger_region_refused(made, threads_client):
    path, _ = made
    rs.compute_map(PLACE, SMALL, [JUNE, JULY], out=path, client=threads_client, **ASKED)
    kept = MapStore.open(path).receipt["acquisitions"]["bandstats"]["utm31"]
    assert {name: [start for start, _ in spans] for name, spans in kept.items()} == {
        "2022-06-01/2022-07-01": days(JUNE),
        "2022-07-01/2022-08-01": days(JULY),
    }
    with pytest.raises(StoreMismatchError, match="acquisitions over the region that it was made for"):
        rs.compute_map(rs.BBox(2.03, 50.901, 2.05, 50.904), SMALL, JUNE, out=path, client=threads_client, **ASKED)


def test_other_frames_are_another_map(made, threads_client):
    path, _ = made
    for frames, n_frames in ((None, None), (None, 3), ("available", 3)):
        asked = ASKED | {"frames": frames, "n_frames": n_frames}
        with pytest.raises(StoreMismatchError, match="frames was"):
            rs.compute_map(PLACE, SMALL, JUNE, out=path, client=threads_client, **asked)


def test_equal_parts_of_a_map(threads_client, tmp_path):
    path, asked = tmp_path / "parts.zarr", ASKED | {"frames": None, "n_frames": 3}
    tree = rs.compute_map(PLACE, SMALL, JUNE, out=path, client=threads_client, check_input=True, **asked)
    assert MapStore.open(path).request["n_frames"] == 3
    assert MapStore.open(path).layout("bandstats").attrs["frames"] == {"policy": "fixed", "n": 3}
    n_obs = tree["bandstats"]["utm31"].n_obs.values
    assert n_obs.max() == len(days(JUNE))  # the scenes of all parts
