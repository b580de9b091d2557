"""Duplicates of one granule: the newest processing wins, by granule and sensing time within a second."""

from __future__ import annotations

import itertools

import pytest

from rs_embed_dask.imagery.sensor_types import PropertyNames
from rs_embed_dask.providers import load
from rs_embed_dask.providers.stac.items import newest, parse_item
from tests.services.reads import only, provider, read
from tests.services.scenes import grid, s2_scene

NAMES = PropertyNames()
STRIP = "S2A_OPER_MSI_L2A_DS_2APS_20220605T170000_S{}_N04.00"


def item(name, time="10:56:21.024Z", *, tile="31UFS", collection="sentinel-2-l2a", **properties):
    about = {
        "s2:mgrs_tile": tile,
        "platform": "sentinel-2a",
        **{k.replace("__", ":"): v for k, v in properties.items()},
    }
    about = {key: value for key, value in about.items() if value is not None}
    properties = {"datetime": f"2022-06-05T{time}", **about}
    return parse_item({"id": name, "collection": collection, "properties": properties})


def made(stamp, baseline="04.00", **more):
    return {"s2__generation_time": stamp, "s2__processing_baseline": baseline, **more}


def wrs(path, row):
    return {"landsat__wrs_path": path, "landsat__wrs_row": row}


OLD, NEW = made("2022-06-05T17:00:00Z"), made("2023-03-01T00:00:00Z", "05.10")
COPIES = {
    "another baseline": (item("a", **NEW), item("b", **OLD)),
    "the same baseline, generated later": (item("a", **made("2022-06-06T00:00:00Z")), item("b", **OLD)),
    "the same in all but the id, which counts": (item("S2A_31UFS_20220605_1_L2A"), item("S2A_31UFS_20220605_0_L2A")),
    "a few milliseconds apart": (item("a", "10:56:21.459Z", **NEW), item("b", "10:56:21.024Z", **OLD)),
    "a second apart": (item("a", "10:56:20.030Z", **NEW), item("b", "10:56:21.024Z", **OLD)),
    "a platform under another name": (item("a", platform="S2A", **NEW), item("b", **OLD)),
    "another platform": (item("a", platform="sentinel-2b", **NEW), item("b", **OLD)),
    "another collection": (item("a", collection="sentinel-2-c1-l2a", **NEW), item("b", **OLD)),
    "a tile as a grid code": (item("a", tile=None, grid__code="MGRS-31UFS", **NEW), item("b", **OLD)),
    "a zone of one digit": (item("a", tile=None, grid__code="MGRS-4QFJ", **NEW), item("b", tile="04QFJ", **OLD)),
    "a zone of one digit in the name": (
        item("S2A_4QFJ_20220605_0_L2A", tile=None, **NEW),
        item("S2A_MSIL2A_20220605T105621_R094_T04QFJ_20220606T000000", tile=None, **OLD),
    ),
    "a tile with a T": (item("a", tile="T31UFS", **NEW), item("b", **OLD)),
    "a tile in the name alone": (
        item("S2A_MSIL2A_20220605T105621_N0510_R094_T31UFS_20230301T000000", tile=None, **NEW),
        item("b", **OLD),
    ),
    "a catalogue's date of entry": (
        item("a", **NEW),
        item("b", s2__processing_baseline="04.00", created="2025-01-01T00:00:00Z"),  # copied later, processed earlier
    ),
    "a baseline as a number and in the product's name": (
        item("a", s2__processing_baseline=5.1),
        item("b", s2__product_uri="S2A_MSIL2A_20220605T105621_N0400_R094_T31UFS_20220605T170000.SAFE"),
    ),
    "one datastrip, started a second later": (
        item("a", s2__datastrip_id=STRIP.format("20220605T105619"), **NEW),
        item("b", s2__datastrip_id=STRIP.format("20220605T105618"), **OLD),
    ),
    "one that names no datastrip": (
        item("a", **NEW),
        item("b", s2__datastrip_id=STRIP.format("20220605T105618"), **OLD),
    ),
    "a scene of Landsat, processed again": (
        item("LC08_L2SP_199024_20220605_20220615_02_T1", tile=None, **wrs(199, 24), **made("2022-06-15T00:00:00Z")),
        item("LC08_L2SP_199024_20220605_20220605_02_RT", tile=None, **wrs("199", "024"), **OLD),
    ),
    "a datastrip that cannot be read": (item("a", s2__datastrip_id="S2A_S99999999T999999", **NEW), item("b", **OLD)),
}  # fmt: skip


@pytest.mark.parametrize("copies", COPIES.values(), ids=COPIES)
def test_of_copies_of_one_granule_the_newest_processing_counts(copies):
    assert [newest(each, NAMES) for each in itertools.permutations(copies)] == [(copies[0],)] * 2


HALVES = [
    item("first", s2__datastrip_id=STRIP.format("20220605T105618"), **OLD),
    item("second", s2__datastrip_id=STRIP.format("20220605T105648"), **OLD),
]
APART = {
    "another granule": [item("a"), item("b", tile="31UFT")],
    "two seconds later": [item("a", "10:56:21Z"), item("b", "10:56:23Z")],
    "the next row of a path": [item("a", tile=None, **wrs(199, 24)), item("b", tile=None, **wrs(199, 25))],
    "no granule at all": [item("a", tile=None), item("b", tile=None)],
    "two halves": HALVES,
    "two halves, each processed twice": [
        *HALVES,
        item("a", s2__datastrip_id=STRIP.format("20220605T105618"), **made("2021-01-01T00:00:00Z", "03.01")),
        item("b", s2__datastrip_id=STRIP.format("20220605T105649"), **made("2021-01-01T00:00:00Z", "03.01")),
    ],
}


@pytest.mark.parametrize("scenes", APART.values(), ids=APART)
def test_what_is_no_copy_stays(scenes):
    assert [one.id for one in newest(scenes, NAMES)] == [one.id for one in scenes[:2]]


def test_a_long_series_of_passes_is_not_one_group():
    times = [f"10:56:{20 + 0.6 * n:06.3f}Z" for n in range(5)]
    kept = newest([item(f"n{n}", time, **OLD) for n, time in enumerate(times)], NAMES)
    assert [one.id for one in kept] == ["n1", "n3", "n4"]  # 20.0 and 20.6, 21.2 and 21.8, 22.4


def test_only_the_newest_processing_is_read(plain):
    older = s2_scene(
        "older", "2022-06-05T10:00:00", dn=1500, bands=("B04",), scl=None, generated="2022-06-06T00:00:00Z"
    )
    newer = s2_scene("newer", "2022-06-05T10:00:00.435", dn=2700, bands=("B04",), scl=None, baseline="05.10")
    service = plain(older, newer)
    got = load(provider(service), read(where=grid(size=10), mask="none"))
    assert (only(got.values), got.scenes) == (1700, ("newer",))  # 2700 less the offset of its baseline
