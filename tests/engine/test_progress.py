"""Progress listeners write what happened, where it can be read."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from rs_embed_dask.engine import progress
from rs_embed_dask.engine.estimate import Figures
from rs_embed_dask.engine.report import (
    ChunkDone,
    Delayed,
    ItemFailed,
    RunFinished,
    RunReport,
    RunStarted,
    Waiting,
    WorkerLost,
    emit,
)
from rs_embed_dask.errors import SpecError
from rs_embed_dask.store import Status

FIGURES = Figures(96, 3, 96, 0, 0, 0, 0, 0, {"rcf": 3}, 10, 1)
STARTED = RunStarted("run.zarr", 96, 3, {"rcf": 3}, workers=2)


@pytest.fixture(autouse=True)
def no_notebook(monkeypatch):
    """Forget the kernel that a test of a notebook has loaded in this process."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def done(chunk, left):
    return ChunkDone(chunk, 32, {"rcf": {Status.OK: 30, Status.READ_FAILED: 2}}, 1.0, 1000, left)


def tell(listener, *events):
    for event in events:
        emit((listener,), event)


def test_a_log_says_a_line_a_minute_and_what_is_worth_one(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = progress.Log(lines.append)
    tell(log, STARTED, done(0, 2))
    now[0] = 62.0
    tell(log, done(1, 1), ItemFailed(1, "1", "rcf", Status.READ_FAILED, "429"), WorkerLost("tcp://a", 1))
    tell(log, Waiting("no worker is there"), RunFinished(RunReport(FIGURES, seconds=75.0)))
    assert lines[0] == "3 chunks to do on 2 workers -> run.zarr"
    assert lines[1] == "2/3 chunks | 64 items | 60 ok, 4 read_failed | 1.0 items/s | 31 s left"
    assert lines[2] == "worker tcp://a is gone, 1 left; its work is repeated elsewhere"
    assert lines[3] == "no worker is there"
    assert lines[4] == "done in 1.2 min: 60 ok, 4 read_failed"
    assert len(lines) == 5


def test_an_interrupted_run_says_how_to_go_on():
    lines = []
    log = progress.Log(lines.append)
    tell(log, STARTED, done(0, 2), RunFinished(RunReport(FIGURES, store="run.zarr"), interrupted=True))
    assert lines[-1] == "stopped: 1 of 3 chunks stored; resume('run.zarr') continues from there"


def test_a_terminal_gets_a_bar(capsys):
    with ExitStack() as stack:
        (bar,) = progress.listeners_for("bar", stack)
        assert isinstance(bar, progress.Bar)
        tell(bar, STARTED, done(0, 2), WorkerLost("tcp://a", 1), done(1, 1), done(2, 0))
        tell(bar, RunFinished(RunReport(FIGURES, seconds=3.0)))
    said = capsys.readouterr().err
    assert "3/3 chunks" in said
    assert "worker tcp://a is gone, 1 left" in said
    assert "done in 3 s: 90 ok, 6 read_failed" in said


def test_a_notebook_gets_one_line_that_changes():
    class Handle:
        def __init__(self):
            self.shown = []

        def update(self, line):
            self.shown.append(line)

    handle = Handle()

    def display(line, display_id):
        handle.shown.append(line)
        return handle

    listener = progress.Notebook(display)
    tell(listener, STARTED, done(0, 2), done(1, 1), done(2, 0), RunFinished(RunReport(FIGURES, seconds=3.0)))
    assert len(handle.shown) == 2
    assert handle.shown[-1].text == "done in 3 s: 90 ok, 6 read_failed"
    assert handle.shown[-1]._repr_html_().startswith('<progress value="3" max="3">')


LATE = Delayed("waiting for http://a: it answered 503, attempt 2 of 6")


def test_a_bar_says_what_is_waited_for_until_a_chunk_is_done(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with ExitStack() as stack:
        (bar,) = progress.listeners_for("bar", stack)
        tell(bar, STARTED, LATE)
        bar._bar.refresh()
        assert bar._bar.tasks[0].fields["facts"] == LATE.reason
        tell(bar, done(0, 2))
        assert bar._bar.tasks[0].fields["facts"] == "30 ok, 2 read_failed"
        tell(bar, LATE, RunFinished(RunReport(FIGURES, seconds=3.0)))
        assert bar._bar.tasks[0].fields["facts"] == f"30 ok, 2 read_failed | {LATE.reason}"
    assert LATE.reason in capsys.readouterr().err


def test_a_log_says_once_a_minute_what_is_waited_for(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = progress.Log(lines.append)
    tell(log, STARTED, LATE, LATE)
    assert len(lines) == 1
    now[0] = 61.0
    tell(log, LATE)
    assert lines[1] == f"0/3 chunks | 0 items | 0.0 items/s | {LATE.reason}"


def test_the_choice_follows_where_it_runs(monkeypatch):
    stack = ExitStack()
    assert progress.listeners_for(False, stack) == ()
    assert isinstance(progress.listeners_for("log", stack)[0], progress.Log)
    assert isinstance(progress.listeners_for(True, stack)[0], progress.Log)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(progress.listeners_for(True, stack)[0], progress.Bar)
    assert progress.listeners_for(print, stack) == (print,)
    with pytest.raises(SpecError, match=r"progress = 'loud'.*Fix: use True, False, 'bar', 'log'"):
        progress.listeners_for("loud", stack)
