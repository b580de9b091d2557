"""Providers as values, and whole reads against a service that signs, counts, fails and expires (R9, R21-R27)."""

from __future__ import annotations

import itertools
import logging
import pickle
import threading
import time
import traceback
import warnings
from dataclasses import asdict

import cloudpickle
import numpy as np
import pytest
from dask.base import tokenize

from rs_embed_dask.errors import AccessError, ProviderError, SpecError, TransientError, UnknownNameError
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.providers import Provider, load, open_provider
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.stac.planetary_computer import URL, PlanetaryComputer
from rs_embed_dask.providers.stac.provider import StacProvider
from rs_embed_dask.providers.stac.read import ReadAmplificationWarning
from rs_embed_dask.specs.fetch import FetchSpec
from tests.services.faults import BUSY, FaultPlan, Happening
from tests.services.fixtures import forget_answers, forget_everything
from tests.services.loopback import Fault
from tests.services.scenes import grid, layer, s2_scene

JUNE = Span("2022-06-01", "2022-07-01")
HASTE = RetryPolicy(attempts=4, first_wait_s=0.01, longest_wait_s=0.5)
NOISE = np.random.default_rng(0).integers(1000, 6000, (600, 600))


def noisy(n, bands=("B02", "B04")):
    """A scene whose files are larger than what the first request brings, but for its SCL."""
    layers = [layer(band, np.roll(NOISE, n * 7 + k, 0)) for k, band in enumerate(bands)]
    return s2_scene(f"S2A_{n:02}", f"2022-06-{n:02}T10:00:00", bands=(), layers=layers)


def read(*bands, where=None, **fetch):
    return Read(
        where or grid(size=30, offset=(500.0, 500.0)),
        "sentinel-2-l2a",
        bands or ("blue", "red"),
        (JUNE,),
        FetchSpec(**fetch),
    )


def planetary(service, **options):
    return PlanetaryComputer(service.url, retry=HASTE, **options)


def expected(*numbers):
    stack = np.stack([[np.roll(NOISE, n * 7 + k, 0)[50:80, 50:80] for k in range(2)] for n in numbers])
    return np.median(stack, 0).astype("float32")


# ------------------------------------------------------------------------------------------------- as values


def test_a_provider_is_a_small_value():
    made = PlanetaryComputer(threads=4)
    assert isinstance(made, Provider)
    assert isinstance(StacProvider("https://example.org"), Provider)
    assert len(pickle.dumps(made)) < 1000
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(made) == hash(PlanetaryComputer(threads=4))
    assert tokenize(made) == tokenize(PlanetaryComputer(threads=4)) != tokenize(PlanetaryComputer())
    assert made.url == URL
    assert "sentinel-2-l2a" in made.sensors()


@pytest.mark.parametrize(
    "made",
    [
        PlanetaryComputer(),
        PlanetaryComputer("http://127.0.0.1:1/api", threads=3, absent="error", chunk_px=512),
        StacProvider("https://example.org/v1/", collections={"s2": "mine"}, assets={"red": "visual#1"}, retry=HASTE),
    ],
)
def test_a_description_makes_the_provider_again(made):
    import json

    described = json.loads(json.dumps(made.describe()))
    assert open_provider(described) == made
    assert described["name"] == made.name
    assert "sig" not in repr(described)


def test_names_in_the_registry():
    assert open_provider("planetary_computer") == open_provider("auto") == PlanetaryComputer()
    assert open_provider("stac", url="https://example.org") == StacProvider("https://example.org")


@pytest.mark.parametrize("name", ["planetary_computer", "earth_engine"])
def test_a_retry_policy_may_have_its_earlier_name_and_be_a_dictionary(name):
    for given in (HASTE, asdict(HASTE)):
        assert open_provider(name, patience=given) == open_provider(name, retry=HASTE)
    described = open_provider(name, retry=HASTE).describe()
    described["patience"] = described.pop("retry")
    assert open_provider(described).retry == HASTE


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"url": "example.org"}, SpecError, "not an http"),
        ({"url": "http://a..b/stac"}, SpecError, "not an http"),
        ({"url": f"http://{'a' * 64}.org"}, SpecError, "not an http"),
        ({"url": "http://exa mple.org"}, SpecError, "not an http"),
        ({"url": "http://127.0.0.1:99999/stac"}, SpecError, "not an http"),
        ({"url": "http://[::1/stac"}, SpecError, "not an http"),
        ({"url": ""}, SpecError, "StacProvider.url"),
        ({"url": 3}, SpecError, "StacProvider.url"),
        ({"source": "earth_serch"}, UnknownNameError, "earth_search"),
        ({"absent": "zero"}, UnknownNameError, "absent"),
        ({"threads": 0}, SpecError, "threads"),
        ({"threads": 2.5}, SpecError, "threads"),
        ({"chunk_px": -1}, SpecError, "chunk_px"),
        ({"collections": {"sentinel-9": "x"}}, UnknownNameError, "sentinel-9"),
    ],
)
def test_bad_options_say_what_is_wrong(options, error, words):
    with pytest.raises(error, match=words) as caught:
        StacProvider(**{"url": "https://example.org", **options})
    assert "Fix:" in str(caught.value)


def test_estimates_ask_nobody():
    made = PlanetaryComputer("http://127.0.0.1:9/nobody")
    small = made.estimate(read())
    assert 4 <= small.scenes <= 12
    assert small.requests == small.scenes * 3 * 2  # two bands and SCL, two requests each
    assert small.bytes > small.scenes * 3 * 512 * 512
    large = made.estimate(read(where=Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (4000, 4000))))
    assert large.bytes > 30 * small.bytes
    assert made.estimate(read(max_cloud_pct=10)).scenes < small.scenes


def test_search_lists_plain_scenes(azure):
    service = azure(*(noisy(n) for n in (3, 1, 2)))
    found = planetary(service).search("s2", grid(), JUNE, fetch=FetchSpec())
    assert [scene.id for scene in found] == ["S2A_01", "S2A_02", "S2A_03"]
    assert found[0].cloud_pct == 0.0
    assert found[0].properties["s2:processing_baseline"] == "03.01"
    assert found[0].properties["assets"] == ["B02", "B04", "SCL"]
    assert "http" not in repr(found)
    assert service.counts() == {"landing": 1, "search": 1}


# ------------------------------------------------------------------------------------------------ whole reads


def test_r26_requests_of_a_read(azure):
    """Two a file at most, one for what fits into the first, one token; once heads are known, one a file."""
    service = azure(*(noisy(n) for n in range(1, 13)))
    got = load(planetary(service), read())
    np.testing.assert_array_equal(got.values[0], expected(*range(1, 13)))
    assert service.counts() == {"landing": 1, "search": 1, "token": 1, "range": 12 * (2 + 2 + 1)}
    service.forget_calls()
    load(planetary(service), read(where=grid(size=30, offset=(900.0, 500.0))))
    assert service.counts() == {"search": 1, "range": 12 * (1 + 1)}


def test_files_that_cannot_hold_the_place_are_not_asked_for(azure):
    beside = s2_scene("S2A_05", "2022-06-05T10:00:00", corner=(600_830.0, 5_700_000.0))  # 30 m beyond the place
    service = azure(noisy(1), beside)
    west, south, east, north = service.api.items[1]["bbox"]
    service.api.items[1]["bbox"] = [west - 40 / 1200 * (east - west), south, east, north]  # it says a little too much
    load(planetary(service), read())
    assert not [call.path for call in service.calls() if "S2A_05" in call.path]


@pytest.mark.parametrize("threads", [4, 24])
def test_opens_run_at_once(azure, threads):
    """The first requests are answered only when so many of them wait together."""
    together, number = threading.Barrier(threads, timeout=20), itertools.count()

    def rule(call):
        if call.kind == "range" and next(number) < threads:
            together.wait()

    service = azure(*(noisy(n) for n in range(1, 9)), rule=rule)
    load(planetary(service, threads=threads), read())
    assert not together.broken
    assert service.counts()["range"] == 8 * 5


def test_r21_no_signature_anywhere(azure, caplog):
    caplog.set_level(logging.DEBUG)
    service = azure(
        noisy(1), noisy(2), rule=FaultPlan([Happening(BUSY, times=1), Happening(Fault(status=403), times=1)])
    )
    provider = planetary(service)
    lazy = provider.cube(read())
    keys = [str(key) for key in lazy.pixels.__dask_graph__()]
    before = cloudpickle.dumps(lazy)
    cube = load(provider, read())
    after = cloudpickle.dumps(provider.cube(read()))
    texts = [before, after, repr(keys), repr(lazy.attrs), repr(lazy), repr(cube), repr(cube.to_xarray()), caplog.text]
    service.rule = FaultPlan([Happening(BUSY)])
    forget_everything()
    with pytest.raises(TransientError) as caught:
        load(provider, read())
    texts += ["".join(traceback.format_exception(caught.value)), repr(pickle.dumps(caught.value)), caplog.text]
    assert service.counts()["token"] >= 2
    for text in texts:
        plain = text.decode("latin-1") if isinstance(text, bytes) else text
        assert "sig=" not in plain
        assert "sig%3D" not in plain
        assert "sv=2024" not in plain


def test_r22_a_read_outlives_its_tokens(azure):
    """Two threads, 50 requests, 0.1 s an answer: two and a half seconds under tokens that live two."""
    service = azure(*(noisy(n) for n in range(1, 11)), rule=FaultPlan([Happening(Fault(delay_s=0.1))]), token_ttl_s=2)
    got = load(planetary(service, threads=2), read())
    np.testing.assert_array_equal(got.values[0], expected(*range(1, 11)))
    assert service.counts()["token"] >= 2


def test_r22_a_lazy_cube_may_be_computed_after_its_tokens_are_gone(azure):
    service = azure(noisy(1), token_ttl_s=1)
    lazy = planetary(service).cube(read())
    lazy.pixels.data.compute(scheduler="sync")
    time.sleep(1.2)
    service.token_ttl_s = 3600
    again = lazy.pixels.data.compute(scheduler="sync")
    np.testing.assert_array_equal(again[0], expected(1))
    assert service.counts()["token"] >= 2


@pytest.mark.parametrize(
    "fault",
    [BUSY, Fault(status=429, retry_after_s=0.02), Fault(reset=True), Fault(keep_bytes=900)],
    ids=["503", "429", "reset", "short"],
)
def test_r24_faults_of_every_file_give_the_same_cube(azure, fault):
    service = azure(noisy(1), noisy(2), noisy(3), rule=FaultPlan([Happening(fault, times=2, each=True)]))
    got = load(planetary(service), read())
    np.testing.assert_array_equal(got.values[0], expected(1, 2, 3))
    assert service.counts()["range"] == 3 * 5 + (0 if fault.status else 2 * 9)


def test_r24_an_outage_is_a_transient_error_of_the_read(azure):
    service = azure(noisy(1), rule=FaultPlan([Happening(BUSY)]))
    with pytest.raises(TransientError, match=r"asset \w+ of item S2A_01.*503"):
        load(planetary(service), read())
    service.rule = None
    np.testing.assert_array_equal(load(planetary(service), read()).values[0], expected(1))


def test_r13_r23_a_collection_that_needs_an_account_says_so(azure):
    service = azure(noisy(1), rule=FaultPlan([Happening(Fault(status=403), kinds=("token",))]))
    with pytest.raises(AccessError, match="planetarycomputer configure"):
        load(planetary(service), read())


def test_r25_a_missing_file_is_an_error_that_names_it(azure):
    service = azure(noisy(1), noisy(2))
    next((service.root / "blobs").rglob("S2A_02/B02.tif")).unlink()
    with pytest.raises(ProviderError, match=r"asset B02 of item S2A_02.*404.*not there") as caught:
        load(planetary(service, absent="error"), read())
    assert not isinstance(caught.value, TransientError)


def test_r25_a_missing_file_costs_its_date_and_is_named(azure):
    service = azure(noisy(1), noisy(2), noisy(3))
    next((service.root / "blobs").rglob("S2A_02/B02.tif")).unlink()
    got = load(planetary(service), read())
    np.testing.assert_array_equal(got.values[0], expected(1, 3))
    assert got.scenes == ("S2A_01", "S2A_03")
    assert got.n_obs.max() == 2
    (lost,) = got.lost
    assert lost == ("asset B02 of item S2A_02: the storage answered 404: the catalogue names a file that is not there")
    assert got.select(bands=("red",)).lost == got.lost
    assert got.to_xarray().attrs["lost"] == [lost]


def test_r25_where_no_date_is_left_the_read_fails(azure):
    service = azure(noisy(1), noisy(2))
    for path in (service.root / "blobs").rglob("B02.tif"):
        path.unlink()
    with pytest.raises(ProviderError, match=r"asset B02 of item S2A_01.*404.*not there"):
        load(planetary(service), read())
    assert load(planetary(service), read("red")).lost == ()


def test_r27_a_cut_through_blocks_is_said(azure):
    service = azure(noisy(1))
    wanted = read(where=grid(size=60))
    with pytest.warns(ReadAmplificationWarning, match=r"chunks of 10 x 10.*fetched 36\.0 times"):
        planetary(service, chunk_px=10).cube(wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forget_answers()
        planetary(service).cube(wanted)
