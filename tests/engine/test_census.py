"""The census of scenes in a run: days in the catalogue beside expected passes, and scenes of a second catalogue."""

from __future__ import annotations

import numpy as np

import rs_embed_dask as rs
from rs_embed_dask.cli import show
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.store import Status, Store
from tests.services.fixtures import new_process, plain
from tests.services.scenes import S2_10M, S2_20M, S2_60M, flat, s2_scene

__all__ = ["new_process", "plain"]

PLACES = [rs.PointBuffer(4.4424, 51.4401, 60), rs.PointBuffer(4.9424, 51.4401, 60)]
JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
BANDS = (*S2_10M, *S2_20M, *S2_60M)
THEIRS = dict(
    zip(
        BANDS,
        (
            "blue",
            "green",
            "red",
            "nir",
            "rededge1",
            "rededge2",
            "rededge3",
            "nir08",
            "swir16",
            "swir22",
            "coastal",
            "nir09",
        ),
        strict=True,
    )
)


def scene(day, dn, **more):
    """A scene of the first catalogue, and the same scene of the second."""
    moment = f"2022-06-{day:02}T10:00:00"
    second = [flat(name, dn) for name in THEIRS.values()] + [flat("scl", 4, dtype="uint8")]
    about = {"platform": "sentinel-2a", "grid:code": "MGRS-31UFS"}
    return (
        s2_scene(f"P{day:02}", moment, dn=dn + 1000, bands=BANDS, baseline="04.00", **more),
        s2_scene(f"E{day:02}", moment, bands=(), scl=None, layers=second, tile=None, **about),
    )


def run(provider, path, client, **options):
    return rs.compute_embeddings(
        PLACES, ["bandstats"], JUNE, provider=provider, out=path, client=client, progress=False, **options
    )["bandstats"]


def test_a_run_counts_days_and_takes_what_is_missing_from_the_second_catalogue(plain, threads_client, tmp_path):
    first, second = zip(*(scene(day, dn) for day, dn in ((5, 1000), (10, 2500), (15, 3000))), strict=True)
    complete, partial, others = plain(*first), plain(first[0], first[2]), plain(*second)
    fallback = {"name": "stac", "url": others.url, "source": "earth_search"}
    alone = run(StacProvider(partial.url, source="planetary_computer"), tmp_path / "alone.zarr", threads_client)
    assert alone.n_days.to_numpy().tolist() == [2, 0]
    assert alone.n_expected.to_numpy().tolist() == [6, 6]
    provider = StacProvider(partial.url, source="planetary_computer", fallback=fallback)
    both = run(provider, tmp_path / "both.zarr", threads_client)
    truth = run(StacProvider(complete.url, source="planetary_computer"), tmp_path / "truth.zarr", threads_client)
    np.testing.assert_array_equal(both.embedding.to_numpy(), truth.embedding.to_numpy())
    assert not np.array_equal(alone.embedding.to_numpy()[0], truth.embedding.to_numpy()[0])
    assert both.n_days.to_numpy().tolist() == [3, 0]
    assert str(both.scenes.to_numpy()[0]).split("\n") == ["P05", "earth_search:E10", "P15"]
    receipt = Store.open(tmp_path / "both.zarr").receipt
    assert receipt["provider"]["fallback"]["url"] == others.url
    report = rs.status(tmp_path / "both.zarr")
    assert str(report.census[0]) == (
        "scenes on 3 days, at least 12 passes expected; 2 of 2 items with fewer than expected"
    )
    assert "Scenes in the catalogue" in repr(report)
    assert report.table.n_days.tolist() == [3, 0]
    told = show.status_dict(report, show.chosen_rows(report, ()))
    assert told["census"] == [{"label": "bandstats", "items": 2, "n_days": 3, "n_expected": 12, "short": 2}]
    assert [(row["n_days"], row["n_expected"]) for row in told["items"]] == [(3, 6), (0, 6)]


def test_cloudy_scenes_are_days_too(plain, threads_client, tmp_path):
    service = plain(scene(5, 1000, cloud=90.0)[0], scene(10, 2000, cloud=10.0)[0])
    provider = StacProvider(service.url, source="planetary_computer")
    one = run(provider, tmp_path / "one.zarr", threads_client, fetch=rs.FetchSpec(max_cloud_pct=50))
    assert one.n_days.to_numpy().tolist() == [2, 0]
    assert one.scenes.to_numpy()[0] == "P10"
    none = run(provider, tmp_path / "none.zarr", threads_client, fetch=rs.FetchSpec(max_cloud_pct=5))
    assert none.n_days.to_numpy().tolist() == [2, 0]
    assert [Status(code).name for code in none.status.to_numpy()] == ["NO_DATA", "NO_DATA"]


def test_a_provider_without_a_catalogue_counts_none(threads_client, tmp_path):
    made = run("synthetic", tmp_path / "run.zarr", threads_client)
    assert made.n_days.to_numpy().tolist() == [-1, -1]
    report = rs.status(tmp_path / "run.zarr")
    assert report.census == ()
    assert report.table.n_days.isna().all()
    assert report.table.n_expected.tolist() == [6, 6]
    assert [(row["n_days"], row["n_expected"]) for row in show.chosen_rows(report, ())] == [("", 6)] * 2
