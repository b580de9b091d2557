"""Change: places that stay as they are but for one year, and what they are usually like."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.analysis.change import Seasons
from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import Item, ModelLayout, Status
from tests.analysis.samples import FLOAT, random_map, write_run
from tests.store.map_samples import square

YEARS = range(2017, 2023)
SPANS = [(dt.date(year, 1, 1), dt.date(year + 1, 1, 1)) for year in YEARS]


def direction(*degrees):
    """Unit vectors at angles."""
    angles = np.radians(np.array(degrees, dtype=float))
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def by_hand(degrees, at):
    """The bands of one span of a place, written out for one place."""
    units = direction(*degrees)
    apart = 1 - units @ units.T

    def medoid(among):
        return min(among, key=lambda one: apart[one, among].sum())

    others = [one for one in range(len(degrees)) if one != at and np.isfinite(degrees[one])]
    distance = apart[at, medoid(others)]
    left = [apart[one, medoid([other for other in others if other != one])] for one in others]
    usual = np.median(left)
    width = max(1.4826 * np.median(np.abs(left - usual)), usual / 10, 1e-6)
    return (distance - usual) / width, distance, usual


@pytest.fixture(scope="module")
def degrees():
    """Angles of ten places in six years; the fourth turns by 90 degrees in 2020, the sixth has no vector in 2018."""
    angles = np.random.default_rng(2).normal(scale=4, size=(10, 6)) + 36 * np.arange(10)[:, None]
    angles[3, 3] += 90
    angles[5, 1] = np.nan
    angles[6, [0, 1, 2]] = np.nan
    return angles


def test_a_place_is_compared_with_its_own_other_years(degrees):
    cube = [direction(*degrees[:, year]).T for year in range(6)]
    bands = Seasons.of(SPANS).bands(*cube)
    assert bands.shape == (6, 4, 10)
    for place in range(10):
        for year in range(6):
            z, distance, usual, seasons = bands[year, :, place]
            there = np.isfinite(degrees[place])
            if not there[year] or there.sum() < 4:
                assert np.isnan(z)
                continue
            np.testing.assert_allclose([z, distance, usual], by_hand(degrees[place], year), rtol=2e-4)
            assert np.isnan(seasons)
    assert bands[3, 0, 3] == np.nanmax(bands[:, 0]) > 100


def test_a_run_has_a_row_for_each_item_whatever_their_order(degrees, tmp_path):
    places = [PointBuffer(4 + 0.01 * place, 50, 100) for place in range(10)]
    rows = [(place, year) for year in range(6) for place in range(10)]
    np.random.default_rng(0).shuffle(rows)
    years = [TemporalSpec.year(year) for year in YEARS]
    items = [Item(row, places[place], years[year], id=f"{place}") for row, (place, year) in enumerate(rows)]
    vectors = np.stack([3 * direction(degrees[place, year])[0] for place, year in rows]).astype("float32")
    write_run(tmp_path / "run.zarr", vectors, items, ModelLayout("galileo", dim=2))
    table = rs.change(str(tmp_path / "run.zarr"))
    bands = Seasons.of(SPANS).bands(*(direction(*degrees[:, year]).T for year in range(6)))
    assert table.index.names == ["id", "span"]
    assert list(table.columns) == ["z", "distance", "usual", "seasons", "geometry"]
    for row, (place, year) in enumerate(rows):
        assert table.index[row] == (f"{place}", f"{2017 + year}-01-01/{2018 + year}-01-01")
        np.testing.assert_allclose(table.iloc[row, 1:3].to_numpy(float), bands[year, 1:3, place], atol=1e-6)
    assert table["z"].idxmax() == ("3", "2020-01-01/2021-01-01")


def test_seasons_are_compared_with_the_same_season_and_their_spread_is_told():
    halves = [(dt.date(year, month, 1), dt.date(year, month + 3, 1)) for year in range(2018, 2023) for month in (1, 7)]
    seasons = Seasons.of(halves)
    assert seasons.same[0] == (2, 4, 6, 8)
    winter, summer = direction(0, 1, -1, 2, 0), direction(60, 61, 59, 62, 60)
    cube = [one[year][:, None] for year in range(5) for one in (winter, summer)]
    bands = seasons.bands(*cube)
    np.testing.assert_allclose(bands[:, 3, 0], 1 - np.cos(np.radians(60)), rtol=1e-5)
    np.testing.assert_allclose(bands[4, :3, 0], by_hand([0, 1, -1, 2, 0], 2), rtol=1e-3)


def test_a_map_has_the_bands_of_every_span(tmp_path):
    def make(layout, key):
        angles = np.random.default_rng([key.row, key.col, key.time]).normal(scale=4, size=(layout.block,) * 2)
        angles[0, 0] += 90 * (key.time == 2)
        vectors = np.zeros((layout.dim, layout.block, layout.block), "float32")
        vectors[:2] = np.moveaxis(direction(*angles.ravel()).reshape(*angles.shape, 2), -1, 0)
        return vectors, None

    path, spans = str(tmp_path / "map.zarr"), SPANS[:5]
    random_map(path, layouts=(FLOAT,), spans=spans, blocks=square(82, 10, 1, 2), make=make)
    made = rs.change(path, str(tmp_path / "change.zarr"))
    vectors = rs.open_map(path)["float"]["utm31"].embedding.to_numpy()
    found = made["change"]["utm31"].embedding.to_numpy()
    assert made["change"].attrs["model"]["derived"]["bands"] == ["z", "distance", "usual", "seasons"]
    np.testing.assert_allclose(found, Seasons.of(spans).bands(*vectors), rtol=1e-5)
    assert found[2, 0, 0, 0] == np.nanmax(found[:, 0]) > 100
    assert made["change"]["utm31"]["time"].equals(rs.open_map(path)["float"]["utm31"]["time"])
    assert rs.status(str(tmp_path / "change.zarr")).counts == {"change": {Status.OK: 10}}


def test_too_few_years_are_refused(tmp_path):
    with pytest.raises(SpecError, match="of 3 spans none has its season in 3 other years"):
        Seasons.of(SPANS[:3])
    random_map(tmp_path / "map.zarr", layouts=(FLOAT,), spans=SPANS[:4], blocks=square(82, 10, 1, 2))
    with pytest.raises(SpecError, match="a map is written to a store"):
        rs.change(str(tmp_path / "map.zarr"))
