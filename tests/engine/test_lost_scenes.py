"""What a run makes of scenes that cannot be read: the date is lost, the place is not, and the reason says so."""

from __future__ import annotations

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import NoImageryError, ProviderError
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.store import Status
from tests.services.faults import FaultPlan, Happening
from tests.services.fixtures import new_process, plain
from tests.services.loopback import Fault
from tests.services.scenes import S2_10M, S2_20M, S2_60M, flat, s2_scene

__all__ = ["new_process", "plain"]

PLACE = rs.PointBuffer(4.4424, 51.4401, 60)
JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
SUMMER = rs.TemporalSpec.range("2022-06-01", "2022-09-01")
BANDS = (*S2_10M, *S2_20M, *S2_60M)


def scene(name, day, dn, **more):
    return s2_scene(name, f"2022-{day}T10:00:00", dn=dn, bands=BANDS, **more)


def dead(name, status=404):
    """One file of an item is not there."""
    return FaultPlan([Happening(Fault(status=status), path=f"{name}/B08.tif")])


def provider(service, **options):
    return StacProvider(service.url, source="planetary_computer", **options)


def mean_of(embedding):
    """The first statistic of the first band, in digital numbers."""
    return round(float(np.asarray(embedding)[0]) * 10_000)


def test_the_frame_is_composited_without_the_lost_date(plain, threads_client):
    service = plain(scene("a", "06-05", 1000), scene("b", "06-15", 2000), scene("c", "06-25", 4000), rule=dead("b"))
    options = {"provider": provider(service), "client": threads_client, "progress": False}
    row = rs.compute_embeddings([PLACE], ["bandstats"], JUNE, **options)["bandstats"].isel(item=0)
    assert int(row.status) == Status.OK
    assert mean_of(row.embedding) == 2500
    assert str(row.reason.values) == (
        "without 1 of the scenes: asset B08 of item b: the storage answered 404: "
        "the catalogue names a file that is not there"
    )
    assert str(row.scenes.values).split("\n") == ["a", "c"]


def vector(service, span=JUNE, **options):
    return rs.get_embedding("bandstats", PLACE, span, provider=provider(service, **options))


def test_a_frame_that_is_lost_makes_the_place_partial(plain):
    service = plain(
        scene("a", "06-05", 1000), scene("b", "07-15", 2000), scene("c", "08-25", 4000), rule=dead("b", 410)
    )
    meta = vector(service, SUMMER).meta
    assert meta["status"] == "partial"
    assert meta["note"].startswith("1 of 3 frames without data; 33 % of the pixels missing; without 1 of the scenes: ")
    assert "asset B08 of item b: the storage answered 410" in meta["note"]
    assert meta["valid_fraction"] == [1, 0, 1]


def test_pixels_that_only_the_lost_date_has_make_the_place_partial(plain):
    left = [flat(band, 1000) for band in BANDS]
    for layer in left:
        layer.values[:, 25:] = 0  # missing, from the middle of the place on
    service = plain(scene("left", "06-05", 1000, layers=left), scene("whole", "06-15", 3000), rule=dead("whole"))
    found = vector(service)
    assert found.meta["status"] == "partial"
    assert found.meta["note"].startswith("50 % of the pixels missing; without 1 of the scenes: asset B08 of item whole")
    assert found.meta["valid_fraction"] == [0.5]
    assert mean_of(found.data) == 1000


def test_strict_providers_fail_the_place(plain):
    service = plain(scene("a", "06-05", 1000), scene("b", "06-15", 2000), rule=dead("b"))
    with pytest.raises(ProviderError, match="asset B08 of item b"):
        vector(service, absent="error")


def test_where_every_date_is_lost_the_read_has_failed(plain):
    service = plain(
        scene("a", "06-05", 1000), scene("b", "06-15", 2000), rule=FaultPlan([Happening(Fault(status=404))])
    )
    with pytest.raises(ProviderError, match=r"asset \w+ of item a.*404"):
        vector(service)


def test_lost_next_to_clouds_is_a_failed_read_and_not_an_empty_place(plain):
    cloudy = s2_scene("cloudy", "2022-06-05T10:00:00", bands=BANDS, scl=9)
    service = plain(cloudy, scene("clear", "06-15", 2000), rule=dead("clear"))
    with pytest.raises(ProviderError, match="asset B08 of item clear") as raised:
        vector(service)
    assert not isinstance(raised.value, NoImageryError)


def test_one_vector_says_what_it_lacks(plain):
    service = plain(scene("a", "06-05", 1000), scene("b", "06-15", 2000), scene("c", "06-25", 4000), rule=dead("c"))
    found = vector(service)
    assert mean_of(found.data) == 1500
    assert found.meta["status"] == "ok"
    assert "asset B08 of item c" in found.meta["note"]
    (cube,) = rs.inspect_input("bandstats", PLACE, JUNE, provider=provider(service)).values()
    assert cube.lost == ("asset B08 of item c: the storage answered 404: the catalogue names a file that is not there",)


def test_a_band_that_no_item_has_is_a_failed_read_that_says_what_there_is(plain, threads_client):
    service = plain(s2_scene("a", "2022-06-05T10:00:00", bands=("B04",)))
    options = {"provider": provider(service), "client": threads_client, "progress": False}
    tree = rs.compute_embeddings([PLACE], ["bandstats"], JUNE, **options)
    row = tree["bandstats"].isel(item=0)
    assert int(row.status) == Status.READ_FAILED
    assert "no item, such as a, has this asset; there are B04, SCL." in str(row.reason.values)


def test_a_contradiction_of_the_catalogue_is_in_the_reason(plain):
    def edit(item):
        for asset in item["assets"].values():
            asset.pop("proj:transform")
            asset["proj:bbox"] = [650_000.0, 5_648_800.0, 651_200.0, 5_650_000.0]

    note = "item a: footprint and bbox contradict each other, so the file's own header decided"
    meta = vector(plain(scene("a", "06-05", 1000), edit=edit)).meta
    assert (meta["status"], meta["note"]) == ("ok", note)
