from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rs_embed_dask.cli import show
from rs_embed_dask.specs import TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Part, Status, Store, parts_record, status
from rs_embed_dask.store.status import frame_gaps, frame_name, reasons
from tests.store.samples import GRID, POOLED, fill_store, make_items, make_result, make_store

MONTHS = np.arange("2020-06", "2021-06", dtype="datetime64[M]").astype("datetime64[D]")


def month_store(path, valid, sources=()):
    """A store whose items saw the given share in each of twelve months."""
    valid = np.asarray(valid, dtype="float32")
    count, frames = valid.shape
    layout = ModelLayout("galileo", dim=2, frames=frames, attrs={"frame_sources": list(sources)})
    year = TemporalSpec.range("2020-06-01", "2021-06-01")
    items = [Item(0, item.spatial, year) for item in make_items(count)]
    store = Store.create(path, items=items, models=[layout], request={}, chunk_items=count)
    starts = np.tile(MONTHS, frames // 12)
    ends = (starts.astype("datetime64[M]") + 1).astype("datetime64[D]")
    result = ChunkResult(
        rows=np.arange(count),
        status=np.full(count, 2),
        embedding=np.zeros((count, 2)),
        valid_fraction=valid,
        frame_start=np.tile(starts, (count, 1)),
        frame_end=np.tile(ends, (count, 1)),
    )
    store.write_chunk(0, "galileo", result)
    return store


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Twelve items, two models, some of everything."""
    store = make_store(tmp_path_factory.mktemp("status") / "run.zarr", 12)
    fill_store(store)
    put = [
        (0, [0, 1], Status.READ_FAILED, "HTTP 503 from S2A_31UFS_20210105"),
        (1, [2], Status.READ_FAILED, "HTTP 503 from S2B_31UFS_20210215"),
        (1, [3], Status.MODEL_FAILED, "token <7> is not finite"),
        (2, [0], Status.NO_DATA, "no scene between 2021-01-01 and 2022-01-01"),
        (2, [1], Status.PENDING, ""),
    ]
    for chunk, offsets, code, reason in put:
        result = make_result(store, POOLED, chunk, offsets=offsets, status=code, reason=reason)
        store.write_chunk(chunk, "galileo", result)
    return status(store.target)


def test_counts(report):
    assert report.counts["rcf"] == {Status.OK: 12}
    assert report.counts["galileo"] == {
        Status.PENDING: 1,
        Status.OK: 6,
        Status.NO_DATA: 1,
        Status.READ_FAILED: 3,
        Status.MODEL_FAILED: 1,
    }
    assert report.n_items == 12
    assert not report.is_finished
    assert report.n_retryable == 4


def test_a_store_in_parts_says_how_many_and_which_are_complete(tmp_path):
    store = make_store(tmp_path / "run.zarr", 10)
    assert status(store.target).parts == ()
    store.update_receipt(**parts_record(Part(1, 3), store.n_items, store.labels))
    fill_store(store)
    assert "3, all complete" in repr(status(store.target))
    last = make_result(store, POOLED, 2, offsets=[1], status=Status.PENDING)  # chunks of 4: the last place
    store.write_chunk(2, "galileo", last)
    report = status(store.target)
    assert report.parts == (True, True, False)
    assert "3, complete: 1, 2" in repr(report)
    assert "3, complete: 1, 2" in report._repr_html_()
    assert show.status_dict(report, None)["parts"] == {"count": 3, "complete": [1, 2]}
    store.write_chunk(0, "rcf", make_result(store, GRID, 0, offsets=[0], status=Status.PENDING))
    store.write_chunk(1, "rcf", make_result(store, GRID, 1, offsets=[3], status=Status.PENDING))
    assert "3, complete: none" in repr(status(store.target))


def test_failures_are_grouped_by_reason(report):
    found = [(one.status, one.count, one.items) for one in report.failures]
    assert found == [
        (Status.READ_FAILED, 3, (0, 1, 6)),
        (Status.MODEL_FAILED, 1, (7,)),
        (Status.NO_DATA, 1, (8,)),
    ]
    assert report.failures[0].reason == "HTTP 503 from S2A_31UFS_20210105"


def test_the_table_lists_every_item_of_every_model(report):
    table = report.table
    assert len(table) == 24
    assert list(table["status"].cat.categories) == [code.name.lower() for code in Status]
    failed = table.query("status == 'read_failed'")
    assert failed["id"].tolist() == ["place-0", "place-1", "place-6"]
    assert failed["model"].unique().tolist() == ["galileo"]
    row = table[(table.model == "rcf") & (table.item == 3)].iloc[0]
    assert row["valid_fraction"] == 0.75
    assert row["n_obs"] == 4
    assert row["first_date"] == pd.Timestamp("2021-01-08")
    assert row["start"] == pd.Timestamp("2021-01-01")
    pending = table[(table.model == "galileo") & (table.item == 9)].iloc[0]
    assert pending["status"] == "pending"


def test_what_is_not_known_is_not_a_number_or_date(tmp_path):
    table = status(make_store(tmp_path / "s", 2, models=[POOLED]).target).table
    assert table["valid_fraction"].isna().all()
    assert table["first_date"].isna().all()
    assert table["n_obs"].tolist() == [0, 0]


def test_the_text_says_what_to_know(report):
    lines = repr(report).splitlines()
    assert lines[0].startswith("Store ")
    assert lines[1] == "  size   12 items, 2 models"
    assert lines[2].startswith("  made   2")
    assert lines[3].startswith("  state  1 still to compute")
    listed = "6 ok, 1 no data, 3 read failed, 1 model failed, 1 pending"
    assert lines[5] == "Models:"
    assert " ".join(lines[6].split() + lines[7].split()) == f"galileo [##############..........] 58% done {listed}"
    assert lines[8] == f"  rcf      [{'#' * 24}] 100% done  12 ok"
    assert "  galileo  3 read failed   HTTP 503 from S2A_31UFS_20210105 (items 0, 1, 6)" in lines
    assert "  galileo  1 model failed  token <7> is not finite (item 7)" in lines


def test_the_html_is_whole_and_escaped(report):
    page = report._repr_html_()
    assert page.startswith("<style>")
    assert page.count("<div") == page.count("</div>")
    assert page.count("<table>") == page.count("</table>")
    assert "token &lt;7&gt; is not finite" in page
    assert "<7>" not in page
    assert "6 ok" in page
    assert "http://" not in page


def test_a_finished_store_says_so(tmp_path):
    store = make_store(tmp_path / "s", 4, models=[POOLED])
    fill_store(store)
    report = status(tmp_path / "s")
    assert report.is_finished
    assert report.failures == ()
    assert "finished" in repr(report)
    assert "Reasons" not in report._repr_html_()
    store.write_chunk(0, "galileo", make_result(store, POOLED, 0, offsets=[0], status=Status.READ_FAILED))
    assert "1 failure may be retried" in repr(status(tmp_path / "s"))


def test_reasons_are_listed_worst_first_then_most_frequent(tmp_path):
    store = make_store(tmp_path / "s", 9, models=[POOLED], chunk_items=9)
    for offsets, code, reason in [
        ([0], Status.READ_FAILED, "timeout"),
        ([1, 2], Status.READ_FAILED, "gone"),
        ([3, 4, 5], Status.PARTIAL, "frame missing"),
        ([6], Status.INVALID, "too large"),
    ]:
        store.write_chunk(0, "galileo", make_result(store, POOLED, 0, offsets=offsets, status=code, reason=reason))
    assert [one.reason for one in reasons(store, "galileo")] == ["gone", "timeout", "too large", "frame missing"]


def test_frames_that_every_item_missed_are_named(tmp_path):
    valid = np.ones((3, 12))
    valid[:, [6, 7]] = 0
    store = month_store(tmp_path / "s", valid)
    (gaps,) = frame_gaps(store, "galileo")
    assert str(gaps) == "2 of 12 frames empty: 2020-12, 2021-01"
    assert "  galileo  2 of 12 frames empty: 2020-12, 2021-01" in repr(status(tmp_path / "s"))
    assert "2 of 12 frames empty: 2020-12, 2021-01" in status(tmp_path / "s")._repr_html_()


def test_each_source_has_its_own_frames(tmp_path):
    valid = np.ones((2, 24))
    valid[:, [6, 7]] = 0
    valid[0, 12] = 0
    store = month_store(tmp_path / "s", valid, ["optical"] * 12 + ["radar"] * 12)
    assert [str(one) for one in frame_gaps(store, "galileo")] == [
        "optical: 2 of 12 frames empty: 2020-12, 2021-01",
        "radar: 1 of 12 frames empty: 2020-06 (1 of 2 items)",
    ]


def test_frames_that_an_item_does_not_have_are_not_empty(tmp_path):
    valid = np.full((2, 12), np.nan)
    valid[:, :5] = 1
    valid[1, 4] = 0
    store = month_store(tmp_path / "s", valid)
    (gaps,) = frame_gaps(store, "galileo")
    assert (gaps.frames, gaps.items, gaps.empty) == (5, 2, (("2020-10", 1),))


def test_many_empty_frames_are_cut_to_the_worst(tmp_path):
    valid = np.zeros((2, 12))
    valid[1, :6] = 1
    (gaps,) = frame_gaps(month_store(tmp_path / "s", valid), "galileo")
    text = str(gaps)
    assert text.startswith("12 of 12 frames empty: 2020-12 (2 of 2 items)")
    assert text.endswith("and 4 more")


def test_full_frames_are_no_gaps(tmp_path):
    assert frame_gaps(month_store(tmp_path / "s", np.ones((2, 12))), "galileo") == []
    assert frame_gaps(make_store(tmp_path / "t", models=[GRID]), "rcf") == []


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        ("2020-12-01", "2021-01-01", "2020-12"),
        ("2020-01-01", "2021-01-01", "2020"),
        ("2020-01-01", "2020-03-01", "2020-01-01 to 2020-02-29"),
        ("2020-01-05", "2020-01-15", "2020-01-05 to 2020-01-14"),
        ("NaT", "NaT", "frame 3"),
    ],
)
def test_names_of_frames(start, end, name):
    assert frame_name(np.datetime64(start, "D"), np.datetime64(end, "D"), 2) == name
