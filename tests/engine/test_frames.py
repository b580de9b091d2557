"""`frames="available"`: the days of a known list of acquisitions, in plan, store and `meta`; the rest is as before."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, PlanError, UnknownNameError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.sensors import sensor
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs import FetchSpec, ModelSpec

PLACE = rs.PointBuffer(4.5, 50.7, buffer_m=160)
SUMMER = rs.TemporalSpec.range("2022-06-01", "2022-09-01")
CLEAR = Synthetic(cloud=0.0)


def acquisitions(provider=CLEAR, span=SUMMER):
    """The days on which the provider's catalogue has the place."""
    from rs_embed_dask.imagery.grid import grid_for

    grid = grid_for(PLACE, 10.0)
    scenes = provider.search(sensor("s2").id, grid, Span.of(span), fetch=FetchSpec(max_cloud_pct=80))
    return sorted({scene.datetime.date().isoformat() for scene in scenes})


def starts(embedding):
    return [first for first, _ in embedding.meta["frames"]]


def test_the_frames_are_the_days_of_the_catalogue():
    embedding = rs.get_embedding("bandstats", PLACE, SUMMER, provider=CLEAR, frames="available", n_frames=12)
    listed = acquisitions()
    assert len(listed) == 19  # every fifth of 92 days
    assert len(starts(embedding)) == 12
    assert set(starts(embedding)) < set(listed)
    assert embedding.meta["status"] == "ok"
    assert embedding.meta["valid_fraction"] == [1.0] * 12
    fewer = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
    embedding = rs.get_embedding("bandstats", PLACE, fewer, provider=CLEAR, frames="available")
    assert starts(embedding) == acquisitions(span=fewer)
    assert len(starts(embedding)) == 6


def test_agrifm_has_no_empty_bins():
    small = ModelSpec("agrifm", weights="random", options={"size_px": 32})
    plain, taken = (
        rs.get_embedding(small, PLACE, SUMMER, provider=CLEAR, **more) for more in ({}, {"frames": "available"})
    )
    assert plain.meta["status"] == "partial"
    assert plain.meta["note"].startswith("13 of 32 frames without data")
    assert (taken.meta["status"], taken.meta["note"]) == ("ok", "")
    assert starts(taken) == acquisitions()
    np.testing.assert_array_equal(plain.data, taken.data)  # empty bins are left out, and dates are not used


def test_acquisitions_without_a_clear_pixel_are_not_available():
    cloudy = Synthetic(cloud=0.6)
    embedding = rs.get_embedding("bandstats", PLACE, SUMMER, provider=cloudy, frames="available", fetch=FetchSpec())
    listed = acquisitions(cloudy)
    assert set(starts(embedding)) < set(listed)
    assert min(embedding.meta["valid_fraction"]) > 0
    assert "frames without data" not in embedding.meta["note"]


def test_no_acquisition_is_no_data():
    nothing = rs.TemporalSpec.range("2022-06-03", "2022-06-05")
    with pytest.raises(NoImageryError):
        rs.get_embedding("bandstats", PLACE, nothing, provider=CLEAR, frames="available")


def test_a_store_holds_the_days_and_says_what_they_are(tmp_path, threads_client):
    out = tmp_path / "run.zarr"
    spans = [rs.TemporalSpec.range("2022-06-01", "2022-07-01"), rs.TemporalSpec.range("2022-06-03", "2022-06-05")]
    asked = {"provider": CLEAR, "frames": "available"}
    tree = rs.compute_embeddings(
        PLACE, ["bandstats", "rcf"], spans, out=out, client=threads_client, progress=False, **asked
    )
    node = tree["bandstats"]
    days = acquisitions(span=spans[0])
    assert node.frame_start.values[0, : len(days)].astype("datetime64[D]").astype(str).tolist() == days
    assert np.isnat(node.frame_start.values[0, len(days) :]).all()
    assert node.valid_fraction.values[0, : len(days)].tolist() == [1.0] * len(days)
    assert node.status.values.tolist() == [1, 3]
    assert np.isnan(node.valid_fraction.values[1]).all()
    receipt = rs.status(out).store.receipt
    assert receipt["outputs"]["bandstats"]["frames"] == "the days with acquisitions, at most 12"
    assert receipt["outputs"]["rcf"]["frames"] == "one, of 30 days"
    again = rs.resume(out, only="no_data", client=threads_client, progress=False)
    assert again.counts["bandstats"]


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        ("rcf", {}, "no model of the request takes dates"),
        ("galileo", {}, "no model of the request takes dates"),
        ("anysat:base:s1+s2", {}, r"frames of anysat-base-s1-s2 .*name one modality of s2, s1"),
        ("prithvi", {"n_frames": 5}, "n_frames of prithvi = 5: the model takes at most 4"),
    ],
)
def test_frames_that_a_model_cannot_take(models, more, message):
    with pytest.raises(PlanError, match=message):
        rs.plan(PLACE, models, SUMMER, provider="synthetic", frames="available", **more)


def test_the_plan_says_what_the_frames_are():
    year = rs.TemporalSpec.year(2022)
    models = ["prithvi", "galileo", "rcf", "bandstats"]
    planned = rs.plan(PLACE, models, year, provider="synthetic", frames="available")
    told = dict(planned.outlook.frames)
    assert told == {
        "prithvi": "the days with acquisitions, at most 4",
        "galileo": "12 frames, calendar months of 28 to 31 days",
        "rcf": "one, of 365 days",
        "bandstats": "the days with acquisitions, at most 12",
    }
    assert [layout.frames for layout in planned.layouts] == [4, 12, 1, 12]
    assert "prithvi: the days with acquisitions, at most 4" in str(planned)
    plain = rs.plan(PLACE, "prithvi", SUMMER, provider="synthetic")
    assert plain.outlook.frames == {"prithvi": "3 frames, equal parts of 30 to 31 days"}
    assert planned.to_dict()["outlook"]["frames"] == told
    week = rs.TemporalSpec.range("2022-06-01", "2022-06-08")  # a season may be added later
    assert rs.plan(PLACE, "prithvi", week, provider="synthetic", frames="available").layouts[0].frames == 4
    assert rs.plan(PLACE, "agrifm", week, provider="synthetic", frames="available").layouts[0].frames == 32
    assert rs.plan(PLACE, "agrifm", week, provider="synthetic").layouts[0].frames == 7
    with pytest.raises(UnknownNameError, match="frames = 'all': unknown"):
        rs.plan(PLACE, "prithvi", SUMMER, provider="synthetic", frames="all")


def test_tessera_takes_every_acquisition_and_at_most_as_many_as_asked():
    model, place = {"id": "tessera_encoder", "weights": "random"}, rs.PointBuffer(4.5, 50.7, buffer_m=20)
    ask = {"provider": CLEAR, "output": rs.OutputSpec.grid()}
    whole = rs.get_embedding(model, place, SUMMER, **ask)
    same = rs.get_embedding(model, place, SUMMER, **ask, frames="available")
    assert len(starts(rs.get_embedding(model, place, SUMMER, **ask, n_frames=2))) == 2
    assert starts(whole) == acquisitions()
    assert np.array_equal(same.data, whole.data)
    told = " ".join(str(rs.plan([place], [model], SUMMER, provider=CLEAR)).split())
    assert "sentinel-1-rtc, ascending at 10 m: vv, vh" in told
