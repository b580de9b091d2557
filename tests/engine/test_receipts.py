"""What earlier runs have measured, and the times that follow from it."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import rs_embed_dask as rs
from rs_embed_dask.engine import receipts
from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.plan import time_text
from rs_embed_dask.engine.receipts import Crew, Spent, Times, Work, keep, rates
from rs_embed_dask.engine.report import RunFinished, RunStarted
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.products import mirror
from rs_embed_dask.show.against import PlanReport
from rs_embed_dask.store import Store
from tests.engine.fakes import Numbers, Places, plan_of, store_of

CREW = Crew(fetch_slots=4, embedders=2)
WORK = Work("here s2", 10, 3, 2, {"a": 10}, {"a": 5}, {"a": "a on auto"})
READY = replace(CREW, loaded=frozenset("a"))
SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
SPENT = Spent(
    reads=10,
    read_seconds=30.0,
    embed_seconds={"a": 8.0},
    decided={"a": 10},
    embedded={"a": 8},
    wall_seconds=22.0,
    scenes=10,
    load_seconds={"a": 2.0},
)


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """The file of a user who has run nothing yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return receipts._file()


def write(file, **known):
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: {"value": value, "runs": 1} for name, value in known.items()}
    file.write_text(json.dumps({"rates": kept}))


def test_without_receipts_every_time_is_unknown_and_the_plan_says_what_makes_it_known():
    times = Times.of(WORK, CREW)
    assert times == Times(unknown=("here s2", "a on cpu"))
    assert time_text(times, CREW) == (
        "unknown: no run on this machine has measured here s2; a on cpu yet; "
        "any run in which it happens does, one of a few places too"
    )
    made = rs.plan(rs.PointBuffer(4.5, 50.7, 160), "rcf", SPAN, provider="synthetic")
    figures = made.to_dict()["figures"]
    assert [figures[f"{name}_seconds"] for name in ("read", "embed", "setup", "wall")] == [None] * 4
    assert "time unknown" in repr(made)
    assert "unknown: no run on this machine has measured synthetic sentinel-2-l2a; rcf" in str(made).replace("\n", " ")
    assert (figures["reads"], figures["store_bytes"], figures["decoded_bytes"]) == (1, 2048, 32 * 32 * 10 * 5)


def test_a_model_that_no_run_has_loaded_is_named_where_it_has_embedded(file):
    write(file, **{"read here s2": 0.5, "embed a on cpu": 0.1})
    assert Times.of(WORK, CREW).unknown == ("loading a on cpu",)
    assert Times.of(WORK, replace(CREW, loaded=frozenset(WORK.models))).unknown == ()


def test_times_follow_from_the_rates(file):
    known = {"read here s2": 0.5, "scenes here s2": 2.0, "data here s2": 0.8, "embed a on cpu": 0.1, "load a on cpu": 3}
    write(file, **known)
    # 10 reads of 3 layers and 10 items of 5 tokens; 4 reads and 2 items at once, in 2.5 rounds
    whole = Times(30.0, 4.0, 3.0, 3 + 7.5 + 2 / 2.5)
    assert Times.of(WORK, CREW) == whole
    assert Times.of(WORK, READY) == Times(30.0, 4.0, 0.0, 7.5 + 2 / 2.5)
    assert Times.of(replace(WORK, is_counted=True), CREW).read_seconds == 15.0
    assert Times.of(WORK.part({"a": 0.5}), CREW).read_seconds == 15.0
    write(file, **known, **{"run here s2 by a on cpu": 2.0})
    assert Times.of(WORK, READY).wall_seconds == pytest.approx(2 * 8.3)
    assert Times.of(WORK, replace(CREW, device="cuda")) == Times(30.0, None, None, None, ("a on cuda",))


def test_a_run_on_few_slots_does_not_use_them_all(file):
    write(file, **{"read here s2": 0.5, "embed a on cpu": 0.1})
    few = replace(WORK, reads=2, items={"a": 2})
    assert Times.of(few, READY).wall_seconds == 3.0 / 2 + 1.0 / 2


def test_what_a_run_took_is_what_the_same_run_is_planned_to_take():
    keep(WORK, CREW, SPENT)
    assert rates() == pytest.approx(
        {
            "scenes here s2": 0.5,
            "read here s2": 2.0,
            "data here s2": 0.8,
            "embed a on cpu": 0.2,
            "embed a on cpu of 2^2 tokens": 0.2,
            "load a on cpu": 2.0,
            "run here s2 by a on cpu": 20 / (7.5 + 4 / 2.5),
            "run here s2 by a on cpu of 2^2 tokens": 20 / (7.5 + 4 / 2.5),
        }
    )
    times = Times.of(WORK, CREW)
    assert times.to_dict() == pytest.approx(
        {"read_seconds": 30.0, "embed_seconds": 8.0, "setup_seconds": 2.0, "wall_seconds": 22.0}
    )


def test_items_of_another_size_have_rates_of_their_own():
    keep(WORK, CREW, SPENT)
    large = replace(WORK, tokens={"a": 500})
    assert Times.of(large, READY).embed_seconds == pytest.approx(800.0)  # of any size, as no other is known
    keep(large, READY, replace(SPENT, load_seconds={}))  # items that cost as much each, whatever their size
    assert Times.of(large, READY).embed_seconds == pytest.approx(8.0)
    assert Times.of(large, READY).wall_seconds == pytest.approx(22.0)
    assert Times.of(WORK, READY).embed_seconds == pytest.approx(8.0)
    assert Times.of(WORK, CREW).wall_seconds == pytest.approx(22.0)


def test_the_newest_run_counts_half(file):
    keep(WORK, CREW, SPENT)
    keep(WORK, READY, replace(SPENT, read_seconds=60.0, load_seconds={}))
    kept = json.loads(file.read_text())["rates"]
    assert kept["read here s2"] == {"value": 3.0, "runs": 2}
    assert kept["load a on cpu"] == {"value": 2.0, "runs": 1}  # nothing was loaded the second time
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".part"] == []


def test_a_run_without_data_keeps_no_rates_of_pixels():
    keep(WORK, CREW, replace(SPENT, scenes=0, embedded={"a": 0}, embed_seconds={}, load_seconds={}))
    assert set(rates()) == {"run here s2 by a on cpu", "run here s2 by a on cpu of 2^2 tokens"}


RATE = '{"rates": {"read here s2": {"value": %s, "runs": 1}}}'
DAMAGED = ["", "[]", '{"rates": {"read": 3}}', RATE % "NaN", RATE % "-1", RATE % "0", RATE % "1e300", "\xff"]


@pytest.mark.parametrize("content", [*DAMAGED, "[" * 5000, " " * 2**12])
def test_a_damaged_file_is_as_none_and_is_replaced(file, monkeypatch, content):
    monkeypatch.setattr(receipts, "_MOST_BYTES", 6000)
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    with pytest.warns(UserWarning, match=r"receipts\.json cannot be read .* estimates begin anew"):
        assert Times.of(WORK, CREW).wall_seconds is None
    with pytest.warns(UserWarning, match="cannot be read"):
        keep(WORK, CREW, SPENT)
    assert Times.of(WORK, CREW).wall_seconds == pytest.approx(22.0)


def test_a_folder_that_cannot_be_written_to_is_a_warning(file):
    file.parent.parent.mkdir()
    file.parent.write_text("a file in the folder's place")
    with pytest.warns(UserWarning, match="cannot be written .* not kept for later estimates"):
        keep(WORK, CREW, SPENT)
    assert Times.of(WORK, CREW).wall_seconds is None


def test_a_user_without_a_home_learns_why_nothing_is_kept(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    assert Times.of(WORK, CREW).wall_seconds is None
    with pytest.warns(UserWarning, match="this user has no home folder. Fix: set HOME .* not kept for later estimates"):
        keep(WORK, CREW, SPENT)


def test_a_file_that_stays_locked_is_a_warning(file, monkeypatch):
    monkeypatch.setattr(mirror, "_LONGEST_LOCK_S", 0.0)
    file.parent.mkdir(parents=True)
    with mirror._locked(file, fcntl.LOCK_EX), pytest.warns(UserWarning, match=r"cannot be written \(BlockingIOError\)"):
        keep(WORK, CREW, SPENT)
    keep(WORK, CREW, SPENT)
    assert rates()["read here s2"] == 2.0


def test_the_rates_of_the_newest_runs_are_kept(file, monkeypatch):
    monkeypatch.setattr(receipts, "_MOST_RATES", 10)
    keep(replace(WORK, source="old"), CREW, SPENT)
    keep(WORK, CREW, SPENT)
    assert len(rates()) == 10
    assert {"scenes here s2", "read here s2", "data here s2", "load a on cpu"} <= rates().keys()
    assert "scenes old" not in rates()


def test_models_of_which_no_place_was_priced_have_no_rate(file):
    write(file, **{"embed a on cpu": 0.1, "load a on cpu": 3, "read here s2": 0.5})
    assert Times.of(replace(WORK, tokens={}), CREW).embed_seconds == 0.0
    keep(replace(WORK, tokens={}), CREW, SPENT)
    assert rates()["embed a on cpu"] == 0.1


KEEP = """
from rs_embed_dask.engine.receipts import Crew, Spent, Work, keep
for number in range(20):
    work = Work("of {0}-" + str(number), 1, 1, 1)
    keep(work, Crew(1, 1), Spent(1, 1.0, {{}}, {{}}, {{}}, 1.0))
"""


def test_two_processes_at_once_lose_nothing():
    root = Path(__file__).resolve().parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", KEEP.format(name)], cwd=root) for name in "xy"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert {f"read of {name}-{number}" for name in "xy" for number in range(20)} <= rates().keys()


def test_keys_hold_hosts_and_no_secrets():
    place = receipts._place({"name": "stac", "url": "https://me:pass@example.org:81/v1?sig=1", "threads": 4, "key": 1})
    assert place == "stac at example.org threads=4"
    made = rs.plan(rs.PointBuffer(4.5, 50.7, 160), ["rcf", "gse"], SPAN, provider="synthetic", device="cuda:1")
    assert made.figures.work.source == "synthetic sentinel-2-l2a gse at data.source.coop"
    assert re.fullmatch(r"rcf gaussian [0-9a-f]{8} on cuda", made.figures.work.models["rcf"])
    assert made.figures.work.items == {"rcf": 1}


def test_a_second_run_is_planned_by_the_first_and_keeps_its_report(threads_client, tmp_path):
    events = []
    plan = plan_of(Places(12), Numbers())
    work = Work("fakes", 12, 2, 1, {"means": 12}, {"means": 1}, {"means": "means on auto"})
    plan = replace(plan, figures=replace(plan.figures, work=work))
    for name in ("first", "second"):
        store = store_of(plan, tmp_path / f"{name}.zarr")
        run_plan(plan, store, threads_client, options=Options(progress=events.append))
    starts = [event.plan.figures for event in events if isinstance(event, RunStarted)]
    ends = [event.report for event in events if isinstance(event, RunFinished)]
    first = ends[0].against_plan
    assert (starts[0].times.wall_seconds, first.factor) == (None, None)
    assert (starts[1].crew.fetch_slots, starts[1].crew.embedders) == (8, 2)
    assert starts[1].crew.loaded == {"means"}
    assert starts[1].times.read_seconds == pytest.approx(ends[0].totals.read_seconds)
    assert starts[1].times.embed_seconds == pytest.approx(ends[0].totals.embed_seconds["means"])
    assert starts[1].times.wall_seconds == pytest.approx(ends[0].seconds - ends[0].spent.setup_seconds)
    assert ends[1].load_seconds == {}
    report = ends[1].against_plan
    assert report.planned["wall_seconds"] == starts[1].times.wall_seconds
    assert report.factor == starts[1].times.wall_seconds / ends[1].seconds


def test_the_plan_of_a_resumed_run_is_of_what_is_left(threads_client, tmp_path):
    plan = plan_of(Places(16), Numbers(faults=((3, "lasting"), (5, "lasting"))))
    store = store_of(plan, tmp_path / "run.zarr")
    run_plan(plan, store, threads_client, options=Options(progress=False))
    report = run_plan(plan, store, threads_client, options=Options(progress=False))
    assert [report.against_plan.planned[name] for name in ("items", "chunks", "reads")] == [2, 1, 2]
    assert [report.against_plan.actual[name] for name in ("items", "chunks", "reads")] == [2, 1, 2]


def test_the_report_of_a_store_is_that_of_its_last_run(threads_client, tmp_path):
    ends = []
    place = [rs.PointBuffer(4.5, 50.7, 80), rs.PointBuffer(4.6, 50.7, 80)]
    made = {"out": tmp_path / "run.zarr", "client": threads_client, "provider": "synthetic"}

    def hear(event):
        if isinstance(event, RunFinished):
            ends.append(event.report)

    tree = rs.compute_embeddings(place, "bandstats", SPAN, progress=hear, **made)
    kept = Store.open(tmp_path / "run.zarr").receipt["report"]
    assert tree.rs.report.to_dict() == ends[0].against_plan.to_dict() == kept
    assert kept["actual"]["items"] == kept["planned"]["items"] == 2
    again = rs.compute_embeddings(place, "bandstats", SPAN, progress=hear, **made)
    assert (ends[1].chunks, again.rs.report) == (0, tree.rs.report)
    assert rs.plan(place, "bandstats", SPAN, provider="synthetic", client=threads_client).figures.crew == CREW_OF_TESTS


CREW_OF_TESTS = Crew(8, 2, "cpu")


def test_a_report_in_words():
    report = PlanReport({"items": 4, "wall_seconds": 6.0}, {"items": 3, "reads": 2, "wall_seconds": 4.0}, "2026-01-01")
    assert report.factor == 1.5
    assert repr(report) == "PlanReport(planned 6 s, actual 4 s; print it for the rest)"
    assert report.rows == (
        ("items", "4", "3"),
        ("reads", "unknown", "2"),
        ("wall time", "6 s", "4 s"),
        ("planned time", "1.50 of the actual", ""),
    )
    assert PlanReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert PlanReport.from_dict({"planned": {"items": "<b>", "odd": 3}, "actual": 7}) == PlanReport({}, {})
