"""A plan that asks a catalogue: what it counts is what the service lists."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

import rs_embed_dask as rs
from rs_embed_dask.errors import ProviderError
from tests.services.fixtures import new_process, plain
from tests.services.loopback import Fault
from tests.services.reads import provider
from tests.services.scenes import s2_scene

__all__ = ["new_process", "plain"]

SPAN = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
CLOUDS = {3: 5.0, 8: 90.0, 13: 10.0, 18: 20.0, 23: 1.0}


def scenes():
    return [
        s2_scene(f"S2A_{day:02}", f"2022-06-{day:02}T10:00:00", dn=1000, cloud=cloud, bands=("B04",))
        for day, cloud in CLOUDS.items()
    ]


def place(x, y):
    return rs.BBox(x, y, x + 400, y + 400, crs="EPSG:32631")


SEEN, UNSEEN = place(600_300, 5_699_300), place(690_000, 5_699_300)


def test_a_probe_counts_what_the_catalogue_lists(plain, monkeypatch):
    ticks = count(0.0, 0.5)  # of a clock that is read before and after each search
    monkeypatch.setattr("rs_embed_dask.engine.estimate.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    service = plain(*scenes())
    asked = {"provider": provider(service), "fetch": rs.FetchSpec(max_cloud_pct=15)}
    guess = rs.plan([SEEN, UNSEEN], "rcf", SPAN, **asked).figures
    assert (service.counts()["search"], guess.search_seconds) == (0, None)
    planned = rs.plan([SEEN, UNSEEN], "rcf", SPAN, probe=True, **asked)
    figures = planned.figures
    assert service.counts()["search"] == 2
    assert figures.scenes == 3  # three clear enough at one place, none at the other
    assert figures.requests == 3 * 11 * 2  # ten bands and the mask, two requests each
    assert figures.download_bytes == pytest.approx(guess.download_bytes * 3 / guess.scenes, rel=1e-6)
    assert (figures.reads, figures.decoded_bytes, figures.sampled) == (2, guess.decoded_bytes, 2)
    assert figures.work.layers / guess.work.layers == pytest.approx(3 / guess.scenes)
    assert planned.to_dict()["figures"]["search_seconds"] == figures.search_seconds == 0.5
    assert "from a probe of 2 places, 0.5 s a search" in str(planned)


def test_at_most_sixteen_places_are_asked_for_one_of_each_part(plain):
    service = plain(*scenes())
    places = [place(600_020 + 8 * number, 5_699_300) for number in range(16)] + [UNSEEN] * 16
    counted = rs.plan(places, "rcf", SPAN, probe=True, provider=provider(service)).figures
    assert counted.sampled == 16
    assert counted.scenes == 16 * 4
    again = rs.plan(places, "rcf", SPAN, probe=True, provider=provider(service)).figures
    assert (again.scenes, again.requests) == (counted.scenes, counted.requests)


def test_a_catalogue_that_answers_with_errors_ends_the_probe(plain):
    service = plain(*scenes())
    service.rule = lambda call: Fault(status=500) if call.kind == "search" else None
    failing = provider(service, retry={"attempts": 1})
    with pytest.raises(ProviderError, match="500"):
        rs.plan(SEEN, "rcf", SPAN, probe=True, provider=failing)
