"""What is found is what brute force finds."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

import rs_embed_dask as rs
from rs_embed_dask.errors import SpecError, StoreError, UnknownNameError
from rs_embed_dask.maps.lattice import Rect
from rs_embed_dask.maps.scores import ScoreSums
from rs_embed_dask.maps.scoring import BlockScore, ScoreBook, ZoneSample
from rs_embed_dask.maps.windows import Tiling
from rs_embed_dask.specs.ground import project
from tests.analysis.samples import FLOAT, ZONES, random_map, random_run
from tests.store.map_samples import SIDE, make_map, square
from tests.store.samples import GRID, fill_store, make_store


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("maps") / "map.zarr")
    random_map(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("runs") / "run.zarr")
    random_run(path)
    return path


def tokens(path, label):
    """Every vector of a map with its group and place, as NumPy alone has them."""
    listed = []
    for group in ZONES:
        data = rs.open_map(path)[label][group].to_dataset().isel(time=0).load()
        for row, y in enumerate(data.y.values):
            for col, x in enumerate(data.x.values):
                vector = data.embedding.values[:, row, col].astype("float64")
                if np.isfinite(vector).all():
                    listed.append((group, x, y, vector))
    return listed


def brute(listed, query, k):
    cosines = [vector @ query / np.linalg.norm(vector) / np.linalg.norm(query) for *_, vector in listed]
    order = np.argsort(-np.array(cosines), kind="stable")[:k]
    return [(listed[at][0], listed[at][1], listed[at][2]) for at in order], [cosines[at] for at in order]


@pytest.mark.parametrize("label", ["float", "codes"])
def test_a_map_gives_what_brute_force_gives(mapped, label):
    query = np.arange(6.0) - 2
    places, cosines = brute(tokens(mapped, label), query, 40)
    found = rs.search(mapped, query, model=label, k=40)
    assert list(zip(found["group"], found["x"], found["y"], strict=True)) == places
    np.testing.assert_allclose(found["score"], cosines, rtol=0, atol=1e-12)
    assert set(found["crs"]) == {"EPSG:32631", "EPSG:32632"}
    assert set(found["span"]) == {"2021-01-01/2022-01-01"}
    lon, lat = project("EPSG:32631", "EPSG:4326", *found.loc[found["group"] == "utm31", ["x", "y"]].to_numpy().T)
    np.testing.assert_allclose(found.loc[found["group"] == "utm31", ["lon", "lat"]], np.stack([lon, lat], 1))
    assert found.geometry.x.tolist() == found["lon"].tolist()


def test_codes_are_multiplied_by_their_scale_and_missing_tokens_are_never_found(mapped):
    listed = tokens(mapped, "codes")
    found = rs.search(mapped, np.ones(6), model="codes", k=10_000)
    assert len(found) == len(listed) < 2 * 4 * SIDE**2
    group, x, y, vector = listed[5]
    lon, lat = (float(one[0]) for one in project("EPSG:32631", "EPSG:4326", [x], [y]))
    first = rs.search(mapped, (lon, lat), model="codes", k=1)
    assert first.loc[0, ["group", "x", "y"]].tolist() == [group, x, y]
    assert first.loc[0, "score"] == pytest.approx(1)
    np.testing.assert_allclose(rs.search(mapped, vector, model="codes", k=4)["x"], _of(mapped, (lon, lat)))


def _of(path, like):
    return rs.search(path, shapely.Point(*like), model="codes", k=4)["x"]


def test_a_cluster_gives_the_same(mapped, run, client):
    for source, query, options in ((mapped, np.ones(6), {"model": "codes"}), (run, "place-2", {})):
        there = rs.search(source, query, k=9, client=client, **options)
        assert there.equals(rs.search(source, query, k=9, **options))


def test_items_are_found_by_id_place_vector_and_examples(run):
    tree = rs.open_store(run)
    vectors = tree["galileo"].embedding.to_numpy().astype("float64")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def ids(query):
        return [f"place-{row}" for row in np.argsort(-(units @ query))[:6]]

    found = rs.search(run, "place-2", k=6)
    assert found.index.names == ["id", "span"]
    assert found.index.get_level_values("id").tolist() == ids(units[2])
    assert found["score"].iloc[0] == pytest.approx(1)
    assert found.geometry.iloc[0].contains(shapely.Point(4.02, 50.2))
    place = rs.PointBuffer(4.02, 50.2, 100)
    for like in (
        place,
        vectors[2],
        vectors[2].tolist(),
        shapely.Point(4.02, 50.2),
        {"type": "Point", "coordinates": [4.02, 50.2]},
    ):
        assert rs.search(tree, like, k=6).index.equals(found.index)
    both = rs.search(run, ["place-0", "place-2"], negatives="place-5", k=6)
    assert both.index.get_level_values("id").tolist() == ids(units[0] + units[2] - units[5])
    frame = gpd.GeoDataFrame(geometry=[shapely.Point(4.0, 50.0), shapely.Point(4.02, 50.2)], crs="EPSG:4326")
    assert rs.search(run, frame, negatives="place-5", k=6).index.equals(both.index)
    assert rs.search(run, vectors[[0, 2]], negatives=["place-5"], k=6).index.equals(both.index)
    assert len(rs.search(run, "place-2", k=100)) == 10
    assert rs.search(run, "place-2", k=100, span=0).index.equals(rs.search(run, "place-2", k=100).index)


def test_a_place_on_a_map_is_its_mean_vector(mapped):
    data = rs.open_map(mapped)["float"]["utm31"].to_dataset().isel(time=0)
    x, y, step = float(data.x[0]), float(data.y[0]), 10_000.0
    box = shapely.box(x - step / 2, y - 1.5 * step, x + 1.5 * step, y + step / 2)  # four tokens
    inside = data.embedding.values[:, :2, :2].reshape(6, -1)
    mean = inside[:, np.isfinite(inside).all(axis=0)].mean(axis=1)
    place = rs.Polygon.from_geometry(box, "EPSG:32631")
    found = rs.search(mapped, place, model="float", k=5)
    np.testing.assert_allclose(found["score"], rs.search(mapped, mean, model="float", k=5)["score"])


def test_grids_of_a_run_are_searched_token_by_token(tmp_path):
    fill_store(make_store(tmp_path / "run.zarr", 3, models=(GRID,)))
    found = rs.search(str(tmp_path / "run.zarr"), np.array([0.0, 1.0, 2.0]), k=24)
    assert set(found["group"]) == {"place-0"}
    np.testing.assert_allclose(found["score"], 1.0)


def test_positions_that_were_kept_are_told_with_their_share(tmp_path):
    path = str(tmp_path / "map.zarr")
    store = random_map(path, layouts=(FLOAT,))
    corners = np.random.default_rng(0).normal(size=(6, 2, 2)).astype("float32")  # the place in the window is all
    sums = ScoreSums.of(Tiling(window=2, stride=2, block=SIDE), Rect(0, 0, SIDE, SIDE), np.tile(corners, (1, 2, 2)))
    book = ScoreBook()
    book.add(BlockScore(sums, ZoneSample.none(), None), "utm31/0", (0, 0))
    store.keep_scores("float", book.to_bytes(), over=None)
    store.update_receipt(positions={"float": {"removed": True, "statement": "positions removed, as asked"}})
    rs.search(path, np.ones(6), k=1)  # warns of nothing
    surroundings = "positions kept: every token is computed from its own surroundings"
    store.update_receipt(positions={"float": {"removed": False, "statement": surroundings}})
    rs.search(path, np.ones(6), k=1)  # nor here: there are no windows
    store.update_receipt(positions={"float": {"removed": False, "statement": "positions kept, as asked"}})
    told = r"tokens of float \(positions kept, as asked\), and explain 100\.0% of what varies in this map"
    with pytest.warns(UserWarning, match=told):
        rs.search(path, np.ones(6), k=1)


def test_what_cannot_be_searched_is_said(mapped, run, tmp_path):
    with pytest.raises(StoreError, match=r"it holds 2 models\. Fix: give model= one of float, codes"):
        rs.search(mapped, np.ones(6))
    with pytest.raises(SpecError, match="no vector of 6 numbers"):
        rs.search(mapped, np.ones(5), model="float")
    with pytest.raises(StoreError, match="only items with one vector"):
        rs.search(mapped, "place-1", model="float")
    with pytest.raises(StoreError, match="there is no vector of it"):
        rs.search(mapped, (100.0, 0.0), model="float")
    with pytest.raises(UnknownNameError, match="place-1"):
        rs.search(run, "place-99")
    with pytest.raises(StoreError, match="there is no vector of it"):
        rs.search(run, "place-3")
    with pytest.raises(StoreError, match="no item of the run lies there"):
        rs.search(run, (80.0, 10.0))
    with pytest.raises(SpecError, match="cancel"):
        rs.search(run, [np.eye(5)[0], -np.eye(5)[0]])
    with pytest.raises(SpecError, match="k = 0"):
        rs.search(run, "place-1", k=0)
    with pytest.raises(SpecError, match="span"):
        rs.search(mapped, np.ones(6), model="float", span="summer")
    make_map(tmp_path / "empty.zarr", blocks=square(82, 10), layouts=(FLOAT,))
    with pytest.raises(SpecError, match="no maps of embeddings"):
        rs.search(str(tmp_path / "empty.zarr"), np.ones(6))
