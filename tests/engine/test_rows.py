"""Ask, and get that: rows, ids, columns and spans of a call, whatever else the store holds."""

from __future__ import annotations

import datetime as dt

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError, StoreMismatchError, UnknownNameError
from rs_embed_dask.store import Store

SPRING, SUMMER = (rs.TemporalSpec.range(f"2022-0{a}-01", f"2022-0{a + 1}-01") for a in (4, 7))


@pytest.fixture
def compute(threads_client, tmp_path):
    """Embed into one store by band statistics, which take milliseconds."""

    def call(places, temporal=SUMMER, *, models="bandstats", out=tmp_path / "run.zarr", **more):
        given = {"provider": rs.open_provider("synthetic", cloud=0.0), "progress": False, "client": threads_client}
        return rs.compute_embeddings(places, models, temporal, out=out, **given | more)

    return call


def point(number):
    return rs.PointBuffer(4.5 + number / 100, 50.7, 40)


def frame(*numbers, index=None, **columns):
    lon = [4.5 + number / 100 for number in numbers]
    shapes = gpd.points_from_xy(lon, [50.7] * len(lon))
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326", index=index)


def centres(run):
    return np.round((run["items"].lon.to_numpy() - 4.5) * 100).astype(int).tolist()


def test_a_top_up_returns_what_was_asked_for_in_its_order(compute):
    first = compute([point(n) for n in range(4)])
    vectors = first["bandstats"].embedding.to_numpy()
    run = compute([point(7), point(2), point(0)])
    assert centres(run) == [7, 2, 0]
    np.testing.assert_array_equal(run["bandstats"].embedding.to_numpy()[1:], vectors[[2, 0]])
    assert run["items"]["item"].to_numpy().tolist() == ["4", "2", "0"]
    both = compute([point(2)], models=["rcf", "bandstats"])
    assert list(both.children) == ["items", "rcf", "bandstats"]
    assert centres(compute([point(3), point(3)])) == [3, 3]


def test_ids_come_from_the_index_a_column_or_a_list(compute, tmp_path):
    table = frame(1, 2, index=["b", "a"], name=["first", "second"])
    assert compute(table, buffer_m=40)["items"]["item"].to_numpy().tolist() == ["b", "a"]
    assert compute(table, buffer_m=40)["bandstats"].sel(item="a").lon == pytest.approx(4.52)
    named = compute(table, buffer_m=40, ids="name", out=tmp_path / "b.zarr")
    assert named["items"]["item"].to_numpy().tolist() == ["first", "second"]
    assert "name" not in named["items"]
    listed = compute(table, buffer_m=40, ids=[10, 20], out=tmp_path / "c.zarr")
    assert listed["items"]["item"].to_numpy().tolist() == ["10", "20"]
    with pytest.raises(UnknownNameError, match=r"nam.*name"):
        compute(table, buffer_m=40, ids="nam", out=tmp_path / "d.zarr")
    with pytest.raises(SpecError, match="3 ids were given for 2 places"):
        compute(table, buffer_m=40, ids=["x", "y", "z"], out=tmp_path / "d.zarr")


def test_ids_that_are_there_twice_or_moved_are_refused_with_both(compute):
    with pytest.raises(SpecError, match=r"ids = '?a'?.*places\[0\].*4\.51.*places\[1\].*4\.52"):
        compute([point(1), point(2)], ids=["a", "a"])
    compute([point(1), point(2)], ids=["a", "b"])
    with pytest.raises(StoreMismatchError, match=r"ids = '?b'?.*4\.52.*here it is at.*4\.53"):
        compute([point(3)], ids=["b"])
    with pytest.raises(StoreMismatchError, match=r"ids = '?c'?.*has this place as 'a'"):
        compute([point(1)], ids=["c"])
    assert compute([point(2), point(3)], ids=["b", "c"])["items"]["item"].to_numpy().tolist() == ["b", "c"]


def test_columns_of_a_frame_are_kept_and_come_back(compute, tmp_path):
    days = pd.to_datetime(["2022-05-01", None])
    labels = {"crop": ["maize", None], "area": [1.5, np.nan], "n": [3, 4], "is_wet": [True, False], "sown": days}
    run = compute(frame(1, 2, **labels, id=["x", "y"]), buffer_m=40)
    items = run["items"]
    assert items.crop.to_numpy().tolist() == ["maize", ""]
    np.testing.assert_array_equal(items.area, [1.5, np.nan])
    assert items.n.dtype == "int64"
    assert items.is_wet.to_numpy().tolist() == [True, False]
    assert items.sown.to_numpy()[0] == np.datetime64("2022-05-01")
    assert np.isnat(items.sown.to_numpy()[1])
    table = rs.to_dataframe(run)
    assert table.columns[:6].tolist() == ["crop", "area", "n", "is_wet", "sown", "id"]
    assert table["id"].tolist() == ["x", "y"]
    plain = xr.open_datatree(tmp_path / "run.zarr", engine="zarr")
    assert plain["items"].n.to_numpy().tolist() == [3, 4]
    assert rs.verify(tmp_path / "run.zarr").is_sound


def test_columns_grow_with_the_store_and_are_corrected(compute, tmp_path):
    compute(frame(1, 2, crop=["maize", "wheat"], n=[1, 2]), buffer_m=40)
    run = compute(frame(2, 3, index=[1, 2], crop=["barley", "oats"], n=[5, 6], new=[0.5, 0.7]), buffer_m=40)
    assert run["items"].crop.to_numpy().tolist() == ["barley", "oats"]
    whole = rs.open_store(tmp_path / "run.zarr")["items"]
    assert whole.crop.to_numpy().tolist() == ["maize", "barley", "oats"]
    assert whole.n.to_numpy().tolist() == [1, 5, 6]
    np.testing.assert_array_equal(whole.new, [np.nan, 0.5, 0.7])
    compute([point(4)])
    assert rs.open_store(tmp_path / "run.zarr")["items"].crop.to_numpy().tolist() == ["maize", "barley", "oats", ""]
    assert rs.verify(tmp_path / "run.zarr").is_sound


def test_labelled_spans_are_for_all_places(compute):
    seasons = {"spring": SPRING, "summer": SUMMER}
    table = frame(1, 2, index=["a", "b"], crop=["maize", "wheat"])
    run = compute(table, seasons, buffer_m=40)
    items = run["items"]
    assert items["item"].to_numpy().tolist() == ["a", "a", "b", "b"]
    assert items.span.to_numpy().tolist() == ["spring", "summer"] * 2
    assert items.crop.to_numpy().tolist() == ["maize", "maize", "wheat", "wheat"]
    assert items.start.dt.month.to_numpy().tolist() == [4, 7, 4, 7]
    rows = rs.to_dataframe(run)
    assert rows.index.tolist() == [("a", "spring"), ("a", "summer"), ("b", "spring"), ("b", "summer")]
    alone = compute([point(2)], {"summer": SUMMER}, ids=["b"])
    np.testing.assert_array_equal(alone["bandstats"].embedding[0], run["bandstats"].embedding[3])
    assert run["bandstats"].span.to_numpy().tolist() == ["spring", "summer"] * 2


def test_a_list_of_spans_is_one_each_or_all_for_each(compute):
    each = compute([point(1), point(2)], [SPRING, SUMMER])
    assert each["items"].start.dt.month.to_numpy().tolist() == [4, 7]
    assert "span" not in each["items"].variables
    crossed = compute([point(1)], [SPRING, SUMMER])
    assert crossed["items"].span.to_numpy().tolist() == ["2022-04-01/2022-05-01", "2022-07-01/2022-08-01"]
    assert "4 (2 places x 2 spans)" not in str(rs.plan([point(1)], "bandstats", SPRING, provider="synthetic"))
    planned = rs.plan([point(1), point(2)], "bandstats", {"a": SPRING, "b": SUMMER}, provider="synthetic")
    assert "4 (2 places x 2 spans)" in str(planned)
    with pytest.raises(SpecError, match="two of the spans are the same"):
        rs.plan([point(1)], "bandstats", [SPRING, SPRING], provider="synthetic")
    with pytest.raises(SpecError, match="exactly one span"):
        rs.get_embedding("bandstats", point(1), {"a": SPRING, "b": SUMMER}, provider="synthetic")
    assert dt.date(2022, 4, 1) == SPRING.start_date


def test_a_store_made_without_ids_keeps_its_numbers(compute, tmp_path):
    compute([point(1)])
    assert compute(frame(1, 2), buffer_m=40)["items"]["item"].to_numpy().tolist() == ["0", "1"]
    assert Store.open(tmp_path / "run.zarr").n_items == 2
