"""The doctor: libraries and credentials here, and the nine questions for the live service, asked of the emulator."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json

import ee
import pytest
from typer.testing import CliRunner

from benchmarks import earth_engine_live
from benchmarks.earth_engine_live import answers_of
from rs_embed_dask.cli.app import app
from rs_embed_dask.errors import AccessError
from rs_embed_dask.providers.checks import checkup
from rs_embed_dask.providers.earth_engine.provider import EarthEngine
from rs_embed_dask.providers.earth_engine.session import Transport
from tests.services.earth import world
from tests.services.scenes import grid

pytestmark = pytest.mark.usefixtures("new_session")


@pytest.fixture
def year(earth):
    """A scene every fifteen days of 2022."""
    days = [dt.date(2022, 1, 3) + dt.timedelta(days=15 * n) for n in range(24)]
    earth.serve(*(world.s2("brussels", f"{day}T10:30:00") for day in days))
    return earth


def answers(found):
    return {check.question[:2]: check for check in found}


def test_the_nine_questions_are_asked_and_answered(year):
    found = answers_of(year.provider())
    assert [check.question[0] for check in found] == list("123456789")
    told = answers(found)
    assert "double" in told["1."].answer
    assert told["2."].answer.startswith("could not be asked")  # the emulator knows no sampleRectangle, and says so
    assert told["3."].answer == "an empty frame is NaN with count 0: True; so is a place outside all scenes: True"
    assert "[True, True, True]" in told["4."].answer
    assert "none came of 60 requests at once" in told["5."].answer or "refused" in told["5."].answer
    assert told["6."].answer == "content-encoding: none"
    assert told["7."].answer.count(" s, no profile") == 3
    assert told["8."].answer == "[[], [5]]"
    assert told["9."].answer == "median of 24 images differs by at most 0 from the exact one"
    assert [check.is_well for check in found if check.is_well is not None] == [True] * 3
    assert year.counts("pixels") + year.counts("value") < 90
    assert not Transport.listeners


def test_refusals_are_reported_with_their_wording(year, monkeypatch):
    monkeypatch.setattr(earth_engine_live, "QUESTIONS", earth_engine_live.QUESTIONS[4:5])
    year.set(at_once=4, latency_s=0.1)
    told = answers(answers_of(year.provider(at_once=4)))["1."]
    assert "Too Many Requests" in told.answer
    assert "of 24 refused" in told.answer
    assert "Retry-After: none" in told.answer


def test_a_service_that_behaves_otherwise_is_not_well(year, monkeypatch):
    """Pixels that are 3 where nothing is: the row says that this is not as expected."""
    monkeypatch.setattr(earth_engine_live, "QUESTIONS", earth_engine_live.QUESTIONS[2:4])
    real = earth_engine_live.order_task
    monkeypatch.setattr(earth_engine_live, "order_task", lambda order: real(order) * 0 + 3)
    found = answers_of(year.provider())
    assert [check.question[0] for check in found if check.is_well is False] == ["1"]


def test_without_live_nothing_is_asked(earth):
    found = checkup(earth.provider(), live=False)
    assert [check.is_well for check in found] == [True, True]
    assert earth.report()["counts"] == {}


def test_missing_libraries_and_credentials_are_rows(monkeypatch, earth):
    def nothing():
        raise ee.EEException("Please authorize access to your Earth Engine account by running earthengine authenticate")

    monkeypatch.setattr(ee.data, "get_persistent_credentials", nothing)
    found = checkup(EarthEngine(project="p", endpoint=earth.provider().access.url), live=True)
    assert [check.is_well for check in found] == [True, False, True, None, None, None]
    assert "run `earthengine authenticate`" in found[1].answer
    assert found[3].answer == "not asked, for a check before it failed"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "rs-embed-dask[earth_engine]" in checkup(earth.provider(), live=True)[0].answer


def test_a_refusal_in_the_middle_is_an_error(year):
    year.faults({"status": 403, "message": "no", "times": -1})
    with pytest.raises(AccessError):
        answers_of(year.provider())


def test_a_service_that_is_away_is_a_row(earth):
    earth.faults({"of": "discovery", "status": 503, "times": -1})
    found = checkup(earth.provider(retry={"attempts": 1}), live=True)
    assert [check.is_well for check in found] == [True, True, True, False, None, None]
    assert "503" in found[3].answer


def test_the_command(year):
    shape = year.provider().describe()
    options = [f"--provider-option={name}={json.dumps(shape[name])}" for name in shape if name != "name"]
    lon, lat = grid().center_lonlat
    words = ["doctor", "--provider", "earth_engine", "--json", *options]
    run = CliRunner().invoke(app, [*words, "--at", f"{lon},{lat}", "--start", "2022-06-01", "--end", "2022-07-01"])
    assert run.exit_code == 0, run.stderr
    rows = json.loads(run.stdout)
    url = year.provider().access.url
    assert [row["question"] for row in rows[2:]] == [
        f"is the host reached ({url})?",
        "one token",
        "one search",
        "one block",
    ]
    assert [row[""] for row in rows] == ["ok"] * 6
    assert rows[3]["answer"] == f"yes: {url}"
    assert rows[4]["answer"].startswith("yes: 2 scenes of sentinel-2-l2a at 4.")
    assert rows[5]["answer"] == "yes: 16 x 16 px of red of 2022-06-02, 100% with data"
    plain = CliRunner().invoke(app, ["doctor", "--provider", "earth_engine", "--local", *options])
    assert plain.exit_code == 0
    assert "yes: AnonymousCredentials, not shown" in plain.stdout
    assert "one search" not in plain.stdout
