"""The doctor of every provider: host, credentials, one search, one block, each with why not and what to do."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time

from typer.testing import CliRunner

from rs_embed_dask.cli.app import app
from rs_embed_dask.errors import ProviderError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.providers import checks, open_provider
from rs_embed_dask.providers.checks import ServiceQuestion, Trial, ask_all, checkup
from rs_embed_dask.providers.stac.provider import StacProvider
from tests.providers.rasters import ramp, write
from tests.services.scenes import grid, s2_scene

JUNE = Span(dt.date(2022, 6, 1), dt.date(2022, 7, 1))


def here(**options):
    """The middle of the scenes of `tests.services.scenes`."""
    lon, lat = grid().center_lonlat
    return Trial(lon, lat, JUNE, **options)


def doctor(*words):
    """Run the command; return its exit code, the words of each row, and their answers."""
    run = CliRunner().invoke(app, ["doctor", "--json", *map(str, words)])
    rows = json.loads(run.stdout) if run.stdout else []
    return run.exit_code, [row[""] for row in rows], [row["answer"] for row in rows]


def test_a_catalogue_that_works(plain):
    service = plain(s2_scene("a", "2022-06-05"), s2_scene("b", "2022-06-15"))
    provider = StacProvider(service.url, source="planetary_computer")
    host, token, search, block = checkup(provider, live=True, trial=here())
    assert [one.is_well for one in (host, token, search, block)] == [True] * 4
    assert host.question == f"is the host reached (http://127.0.0.1:{service.port})?"
    assert token.answer == "none is needed"
    assert search.answer.startswith("yes: 2 scenes of sentinel-2-l2a at ")
    assert block.answer == "yes: 16 x 16 px of red of 2022-06-05, 100% with data"


def test_a_token_is_fetched_where_links_need_one(azure):
    azure(s2_scene("a", "2022-06-05"))
    (token,) = ask_all(checks._token(open_provider("planetary_computer")))
    assert token.answer == "yes: for sentinel2l2a01.blob.core.windows.net"
    assert token.is_well


def test_a_key_that_is_not_there_is_a_row(tmp_path, plain):
    service = plain(s2_scene("a", "2022-06-05"))
    keyed = StacProvider(f"{service.url}/{{key}}", key_file=str(tmp_path / "nowhere"))
    rows = checkup(keyed, live=True, trial=here())
    assert [row.is_well for row in rows] == [True, False, None, None]
    assert "put the key into this file on every worker" in rows[1].answer


def test_a_place_without_scenes_is_not_a_fault(plain):
    service = plain(s2_scene("a", "2022-06-05"))
    rows = checkup(StacProvider(service.url, source="planetary_computer"), live=True, trial=Trial(20.0, 10.0, JUNE))
    assert [row.is_well for row in rows] == [True, True, True, None]
    assert rows[2].answer.startswith("yes: 0 scenes")
    assert "name a place and time" in rows[3].answer


def test_a_catalogue_that_nobody_reaches_is_said_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/stac"
        code, wells, answers = doctor("--provider", "stac", "--url", url)
    assert code == 1
    assert wells == ["NOT AS EXPECTED", "", "", ""]
    assert answers[0] == "no: it refused the connection; check network, proxy and address"
    assert set(answers[1:]) == {"not asked, for a check before it failed"}


def test_the_synthetic_landscape():
    code, wells, answers = doctor("--provider", "synthetic", "--at", "4.35,50.85", "--year", "2022")
    assert (code, wells) == (0, ["ok"] * 4)
    assert answers[:2] == ["none is needed"] * 2
    assert answers[2].startswith("yes: 73 scenes of sentinel-2-l2a at 4.3500, 50.8500 from 2022-01-01 to 2023-01-01")
    assert doctor("--provider", "synthetic", "--local")[0] == 0
    assert doctor("--provider", "synthetic", "--at", "4.35")[0] == 2


def test_files_are_tried_where_they_lie(tmp_path):
    write(tmp_path / "20220605_B04.tif", ramp((24, 30)))
    code, wells, answers = doctor(
        "--provider", "files", f"--provider-option=source={tmp_path}", "--provider-option=sensor=sentinel-2-l2a"
    )
    assert (code, wells) == (0, ["ok"] * 4)
    assert answers[2].startswith("yes: 1 scene of sentinel-2-l2a")
    assert answers[3] == "yes: 16 x 16 px of red of 2022-06-05, 100% with data"


def test_a_product_of_computed_vectors_is_none():
    code, wells, _ = doctor("--product", "galileo", "--provider", "synthetic")
    assert (code, wells) == (2, [])


def test_questions_are_bounded_in_time_and_in_what_they_raise(monkeypatch):
    monkeypatch.setattr(checks, "_LONGEST_S", 0.05)
    monkeypatch.setattr(checks, "_LEAVE_S", 0.0)
    asked = []

    def refused():
        raise ProviderError("it", reason="it is wrong", fix="mend it")

    def broken():
        raise KeyError("assets")

    def last():
        asked.append("last")
        return True, "yes"

    (slow,) = ask_all([ServiceQuestion("slow", lambda: (time.sleep(0.3), "late"))])
    assert (slow.is_well, slow.answer) == (False, "no: it takes longer than 0.05 s")
    monkeypatch.setattr(checks, "_LONGEST_S", 20.0)
    first, second = ask_all([ServiceQuestion("refused", refused), ServiceQuestion("last", last)])
    assert first.answer == "no: it: it is wrong. Fix: mend it."
    assert second.is_well is None
    assert ask_all([ServiceQuestion("broken", broken)])[0].answer == "no: KeyError: 'assets'"
    assert asked == []
    assert ask_all([ServiceQuestion("last", last)])[0].is_well
