"""Providers by name, by description, by entry point; what a read costs; how faults are named."""

from __future__ import annotations

import datetime as dt
import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
import xarray as xr

from rs_embed_dask.errors import (
    AccessError,
    NoImageryError,
    ProviderError,
    SpecError,
    TransientError,
    UnknownNameError,
)
from rs_embed_dask.imagery.cube import Read
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.grid import Grid
from rs_embed_dask.imagery.sensors import source
from rs_embed_dask.providers import (
    Estimate,
    Provider,
    computing,
    estimate_read,
    list_providers,
    load,
    load_all,
    open_provider,
    register_provider,
    registry,
)
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs.fetch import FetchSpec

GRID = Grid("EPSG:32631", (10, 0, 600_000, 0, -10, 5_700_000), (4, 5))
JUNE = Span("2022-06-01", "2022-07-01")
READ = Read(GRID, "s2", ("red", "nir"), (JUNE,))


class Archive:
    """A provider of somebody else's."""

    name = "my_archive"

    def __init__(self, fault=None, cube=None):
        self.fault, self.made = fault, cube

    def sensors(self):
        return frozenset({"sentinel-2-l2a"})

    def search(self, sensor, grid, span, *, fetch):
        return ()

    def cube(self, read):
        if self.fault is not None:
            raise self.fault
        return self.made

    def estimate(self, read):
        return Estimate()

    def describe(self):
        return {"name": self.name}


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})


def test_our_providers_are_listed():
    assert set(list_providers()) >= {"files", "planetary_computer", "stac", "synthetic"}


@pytest.mark.parametrize("name", ["auto", "planetary_computer", "pc", "planetary-computer"])
def test_auto_is_planetary_computer_which_asks_nobody(name):
    assert open_provider(name).name == "planetary_computer"


@pytest.mark.parametrize("name", ["planetary_computer", "synthetic"])
def test_providers_fit_the_protocol_and_are_small(name):
    provider = open_provider(name)
    assert isinstance(provider, Provider)
    assert len(pickle.dumps(provider)) < 1000
    assert pickle.loads(pickle.dumps(provider)) == provider
    assert open_provider(provider.describe()) == provider
    assert "sentinel-2-l2a" in provider.sensors()


def test_a_provider_of_ones_own(fresh):
    register_provider("my_archive", Archive)
    assert "my_archive" in list_providers()
    assert isinstance(open_provider("my_archive"), Archive)
    assert isinstance(open_provider({"name": "my_archive"}), Archive)
    made = Archive()
    assert open_provider(made) is made


def test_a_provider_by_entry_point(monkeypatch):
    point = EntryPoint("their_archive", f"{__name__}:Archive", "rs_embed_dask.providers")
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]).select(group=group))
    assert "their_archive" in list_providers()
    assert type(open_provider("their_archive")).__name__ == "Archive"


@pytest.mark.parametrize(
    ("which", "options", "error", "words"),
    [
        ("synthetik", {}, UnknownNameError, "synthetic"),
        (Archive, {}, SpecError, "not a provider"),
        (42, {}, SpecError, "not a provider"),
        (Archive(), {"seed": 1}, SpecError, "already made"),
        ({"seed": 1}, {}, SpecError, "no name"),
        ({"name": "files", "rebuild": False}, {}, SpecError, "arrays"),
        ("synthetic", {"sed": 1}, UnknownNameError, "option of provider synthetic = 'sed'.*did you mean 'seed'"),
        ("stac", {}, SpecError, "it needs url. Fix: give url=, on the command line --provider-option url=VALUE"),
        ("files", {"sensor": "sentinel-2-l2a"}, SpecError, "it needs source"),
        ("synthetic", {"cloud": 2}, SpecError, "cloud = 2"),
    ],
)
def test_bad_providers(which, options, error, words):
    with pytest.raises(error, match=words):
        open_provider(which, **options)


@pytest.mark.parametrize(("name", "factory"), [("synthetic", Archive), ("auto", Archive), ("", Archive), ("mine", 3)])
def test_bad_registrations(name, factory, fresh):
    with pytest.raises(SpecError):
        register_provider(name, factory)


class RefusedError(OSError):
    def __init__(self, status):
        super().__init__("the server said no")
        self.status_code = status


@pytest.mark.parametrize(
    ("raised", "named", "words"),
    [
        (ConnectionResetError("reset by peer"), TransientError, "reset by peer"),
        (TimeoutError("timed out"), TransientError, "timed out"),
        (RefusedError(503), TransientError, "said no"),
        (RefusedError(429), TransientError, "said no"),
        (RefusedError(403), AccessError, "said no"),
        (OSError("HTTP response code: 401"), AccessError, "401"),
        (OSError("HTTP error code : 503"), TransientError, "503"),
        (PermissionError("not yours"), AccessError, "not yours"),
        (FileNotFoundError("gone.tif"), ProviderError, "gone.tif"),
        (OSError("HTTP response code: 404"), ProviderError, "404"),
        (ValueError("bad block"), ProviderError, "bad block"),
        (NoImageryError("x", reason="nothing", fix="wait"), NoImageryError, "nothing"),
        (TransientError("x", reason="busy", fix="wait", retry_after_s=23), TransientError, "busy"),
    ],
)
def test_every_fault_of_a_read_is_one_of_four(raised, named, words):
    with pytest.raises(ProviderError, match=words) as caught:
        load(Archive(raised), READ)
    assert type(caught.value) is named


def test_faults_say_where_and_hide_signatures():
    secret = OSError("HTTP response code: 403 for https://host/a.tif?sig=SECRET")
    with pytest.raises(AccessError, match=r"my_archive: sentinel-2-l2a at 4\.4") as caught:
        load(Archive(secret), READ)
    assert "SECRET" not in str(caught.value)


def test_a_bug_is_not_called_a_fault():
    with pytest.raises(AttributeError):
        load(Archive(AttributeError("a bug")), READ)


def test_the_plainest_cube_loads():
    pixels = np.full((1, 2, 4, 5), 7.0, np.float32)
    made = xr.Dataset(
        {"pixels": (("time", "band", "y", "x"), pixels), "n_obs": (("time", "y", "x"), np.ones((1, 4, 5), np.uint16))},
        attrs={"scenes": ["a"], "first_dates": ["2022-06-03"], "last_dates": ["2022-06-08"]},
    )
    for lazy in (made, made.chunk(x=2), made.chunk()):
        found = load(Archive(cube=lazy), READ)
        np.testing.assert_array_equal(found.values, pixels)
        assert found.scenes == ("a",)
        assert [day.day for day in found.dates[0]] == [3, 8]


class Brighter(Synthetic):
    """A provider that changes what another has made."""

    def cube(self, read):
        made = super().cube(read)
        return made.assign(pixels=made["pixels"] + np.float32(1), n_obs=made["n_obs"] * np.uint16(2))


FRAMES = JUNE, Span("2022-07-01", "2022-07-02"), Span("2022-07-10", "2022-07-20")


@pytest.mark.parametrize("frames", [FRAMES[:1], FRAMES], ids=["one", "several"])
def test_frames_are_computed_in_their_places_as_the_lazy_cube_is(frames):
    read = Read(GRID, "s2", ("red", "nir"), frames)
    cube, lazy = load(Synthetic(), read), Synthetic().cube(read).compute()
    np.testing.assert_array_equal(cube.values, lazy["pixels"].values)
    np.testing.assert_array_equal(cube.n_obs, lazy["n_obs"].values)
    assert cube.scenes == tuple(lazy["scene"].values[lazy["used"].values > 0])
    if len(frames) > 1:
        assert np.isnan(cube.values[1]).all()  # no scene falls into it
        assert not cube.n_obs[1].any()
        assert cube.n_obs[2:].any()


def test_what_a_provider_changes_of_anothers_cube_is_read_as_changed():
    read = Read(GRID, "s2", ("red", "nir"), FRAMES)
    plain, changed = load(Synthetic(), read), load(Brighter(), read)
    np.testing.assert_array_equal(changed.values, plain.values + 1)
    np.testing.assert_array_equal(changed.n_obs, plain.n_obs * 2)


CHANGES = {
    "without a part that may be missing": lambda made: made.drop_vars("lost"),
    "with days of its own": lambda made: made.assign(days=(("time", "end"), np.full((3, 2), 738_000))),
    "computed already": lambda made: made.persist(scheduler="sync"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_cube_that_is_not_as_it_was_built_is_read_as_it_is(change, monkeypatch):
    read = Read(GRID, "s2", ("red", "nir"), FRAMES)
    plain = load(Synthetic(), read)
    made = change(Synthetic().cube(read))
    seen, arrays = [], computing._arrays
    monkeypatch.setattr(computing, "_arrays", lambda cubes, threads: seen.extend(cubes) or arrays(cubes, threads))
    changed = load(Archive(cube=made), read)
    np.testing.assert_array_equal(changed.values, plain.values)
    assert len(seen) == 1
    if "days" in made:
        assert changed.dates == ((dt.date.fromordinal(738_000),) * 2,) * 3


def test_one_lazy_cube_may_be_read_again_and_side_by_side():
    """A provider may keep what it has built."""
    read = Read(GRID, "s2", ("red", "nir"), FRAMES)
    plain, archive = load(Synthetic(), read), Archive(cube=Synthetic().cube(read))
    twice = load_all(archive, [read, read])
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(lambda _: load(archive, read), range(12)))
    for cube in (*twice, *beside):
        np.testing.assert_array_equal(cube.values, plain.values)
        np.testing.assert_array_equal(cube.n_obs, plain.n_obs)
    assert not any(np.may_share_memory(one.values, twice[0].values) for one in (twice[1], *beside))


def test_a_cube_that_travels_is_computed_where_it_arrives():
    read = Read(GRID, "s2", ("red", "nir"), FRAMES)
    arrived = pickle.loads(pickle.dumps(Synthetic().cube(read)))
    assert arrived.encoding["frames"] is None
    np.testing.assert_array_equal(load(Archive(cube=arrived), read).values, load(Synthetic(), read).values)


def test_an_estimate_grows_with_what_is_read():
    where = source("planetary_computer", "sentinel-2-l2a")
    small = estimate_read(READ, where)
    assert small.scenes == round(30 / 5 * 1.3)
    assert small.requests == small.scenes * 3 * 2  # two bands and SCL, two requests each
    twice = estimate_read(Read(GRID, "s2", ("red", "nir"), (JUNE, Span("2022-07-01", "2022-07-31"))), where)
    assert twice.scenes == 2 * small.scenes
    clear = estimate_read(Read(GRID, "s2", ("red", "nir"), (JUNE,), FetchSpec(max_cloud_pct=25)), where)
    assert clear.scenes == small.scenes / 2
    large = estimate_read(Read(Grid(GRID.crs, GRID.transform, (2048, 2048)), "s2", ("red",), (JUNE,)), where)
    assert large.bytes > 5 * small.bytes
    assert estimate_read(READ, where, requests_per_asset=1.0).requests == small.requests / 2
    assert small + small == Estimate(small.scenes * 2, small.requests * 2, small.bytes * 2)
