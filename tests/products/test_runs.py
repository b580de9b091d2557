"""Products in whole runs: alone and beside encoders, statuses, retries, resuming; one store opened by plain xarray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.engine.graph import ChunkTask, GraphMaker
from rs_embed_dask.engine.plan import Sizes, make_plan
from rs_embed_dask.engine.recipe import ProductEntry, Recipe
from rs_embed_dask.engine.request import Request
from rs_embed_dask.engine.stages import Unit, product_parts, read_products
from rs_embed_dask.engine.watch import Placement
from rs_embed_dask.errors import ProviderError, SpecError, TransientError
from rs_embed_dask.imagery.grid import grid_for
from rs_embed_dask.models import Card, Product, Variant
from rs_embed_dask.products import ProductField
from rs_embed_dask.providers.registry import Estimate
from rs_embed_dask.providers.retry import RetryPolicy
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs import OutputSpec
from rs_embed_dask.store import Item, Status, Store
from tests.products import mirrors

YEAR = rs.TemporalSpec.year(2024)
SUMMER = rs.TemporalSpec.range("2024-06-01", "2024-09-01")
TILE = rs.BBox(*mirrors.GSE_BOUNDS, crs="EPSG:32631")
LAND = rs.BBox(300970, 5770450, 301120, 5770560, crs="EPSG:32631")
PLACES = [TILE, rs.PointBuffer(301040.0, 5770560.0, 40, crs="EPSG:32631"), rs.PointBuffer(-30.0, -10.0, 50)]
MEAN = mirrors.sample("gse")[1]["mean"]


RESOURCES = {"FETCH": 4, "EMBED": 1}


@pytest.fixture(scope="module")
def workers():
    """Two workers, threads of this process."""
    with (
        LocalCluster(n_workers=2, processes=False, resources=RESOURCES, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def processes():
    """Two worker processes."""
    with (
        LocalCluster(n_workers=2, resources=RESOURCES, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def three(product):
    return [product("gse_annual", "gse"), product("tessera", "old"), product("copernicus", "full")]


def statuses(tree, label):
    return [Status(value).name for value in tree[label]["status"].values]


def test_products_alone(processes, three, tmp_path):
    out = tmp_path / "run.zarr"
    tree = rs.compute_embeddings(PLACES, three, YEAR, out=out, client=processes, progress=False, chunk_items=2)
    assert statuses(tree, "gse_annual") == ["OK", "PARTIAL", "NO_DATA"]
    assert statuses(tree, "tessera") == ["PARTIAL", "OK", "NO_DATA"]
    assert statuses(tree, "copernicus") == ["OK", "OK", "OK"]
    np.testing.assert_allclose(tree["gse_annual"]["embedding"].values[0], MEAN, rtol=0, atol=2e-8)
    assert "no tile of 2024" in str(tree["gse_annual"]["reason"].values[2])
    assert tree["gse_annual"]["valid_fraction"].values[1] == pytest.approx(0.5)
    with xr.open_datatree(out, engine="zarr") as plain:
        np.testing.assert_array_equal(plain["tessera"]["embedding"].values, tree["tessera"]["embedding"].values)
    for row, place in enumerate(PLACES[:2]):
        one = rs.get_embedding(three[1], spatial=place, temporal=YEAR)
        np.testing.assert_array_equal(one.data, tree["tessera"]["embedding"].values[row])


def test_beside_encoders_as_grids(workers, three, tmp_path):
    models = ["bandstats", *three, "rcf", "location"]
    options = {"provider": Synthetic(seed=2), "output": rs.OutputSpec.grid(scale_m=10), "client": workers}
    places = [LAND, rs.PointBuffer(301040.0, 5770500.0, 40, crs="EPSG:32631")]
    tree = rs.compute_embeddings(places, models, SUMMER, out=tmp_path / "run.zarr", progress=False, **options)
    labels = {"bandstats", "gse_annual", "tessera", "copernicus", "rcf", "location"}
    assert set(tree.children) == {"items", *labels}
    for label in labels:
        assert statuses(tree, label) == ["OK", "OK"]
    whole = rs.get_embedding(three[0], spatial=LAND, temporal=YEAR, output=rs.OutputSpec.grid()).data
    assert whole.shape == (64, 11, 15)
    np.testing.assert_array_equal(tree["gse_annual"]["embedding"].values[0, :, :11, :15], whole.values)
    small = tree["gse_annual"]["embedding"].values[1]
    np.testing.assert_array_equal(small[:, :8, :8], whole.values[:, 2:10, 3:11])
    assert np.isnan(small[:, 8:]).all()
    assert tree["copernicus"]["embedding"].shape == (2, 4, 11, 15)
    assert rs.verify(tmp_path / "run.zarr").is_sound
    alone = rs.get_embedding("location", spatial=LAND, temporal=YEAR, output=rs.OutputSpec.grid()).data
    np.testing.assert_array_equal(tree["location"]["embedding"].values[0, :, :11, :15], alone.values)


def test_six_encoders_and_three_products_in_one_store(workers, three, tmp_path):
    names = ("galileo:nano", "presto", "olmoearth:nano", "thor:tiny", "terramind:tiny", "prithvi:tiny-TL")
    encoders = [replace(rs.ModelSpec.of(name), weights="random") for name in names]
    out = tmp_path / "run.zarr"
    rs.compute_embeddings(
        [LAND], [*encoders, *three], SUMMER, out=out, provider=Synthetic(seed=2), client=workers, progress=False
    )
    tree = xr.open_datatree(out, engine="zarr")
    labels = [spec.label for spec in (*encoders, *three)]
    assert set(labels) == set(tree.children) - {"items"}
    for spec in (*encoders, *three):
        group = tree[spec.label].load()
        assert Status(int(group["status"][0])) in {Status.OK, Status.PARTIAL}, group["reason"].values
        assert group["embedding"].shape == (1, models.card(spec.id).dim(spec, rs.OutputSpec.pooled()))
        assert np.isfinite(group["embedding"]).all()


def test_native_cells_of_many_places_share_one_array(workers, product, tmp_path):
    places = [rs.PointBuffer(lon, 45.0, 500) for lon in (10.0, 10.125, 179.9)]
    tree = rs.compute_embeddings(
        places, product("copernicus"), YEAR, out=tmp_path / "run.zarr", output="grid", client=workers, progress=False
    )
    assert tree["copernicus"]["embedding"].shape == (3, 4, 1, 2)
    found = tree["copernicus"]["embedding"].values
    assert np.isnan(found[0, :, :, 1]).all()
    np.testing.assert_array_equal(found[1, :, 0], mirrors.copernicus_values()[:, 180, 760:762])


def test_a_span_that_fits_no_vector_is_invalid(three):
    spans = [YEAR, rs.TemporalSpec.range("2023-06-01", "2024-06-01"), rs.TemporalSpec.year(2016)]
    with pytest.warns(UserWarning, match="gse_annual is published for 2017 to 2025"):
        made = rs.plan([LAND] * 3, three, spans)
    from rs_embed_dask.engine.local import embed_items

    found = [{label: outcome.status.name for label, outcome in row.outcomes.items()} for row in embed_items(made)]
    assert [row["gse_annual"] for row in found] == ["OK", "INVALID", "NO_DATA"]
    assert [row["tessera"] for row in found] == ["OK", "INVALID", "NO_DATA"]
    assert [row["copernicus"] for row in found] == ["OK"] * 3


def test_no_provider_is_asked(workers, three, tmp_path):
    class Never(Synthetic):
        def sensors(self):
            raise AssertionError

        def estimate(self, read):
            raise AssertionError

    tree = rs.compute_embeddings(
        [LAND], three, YEAR, provider=Never(), out=tmp_path / "r.zarr", client=workers, progress=False
    )
    assert statuses(tree, "tessera") == ["OK"]
    assert "synthetic" not in str(rs.plan([LAND], three, YEAR, provider="synthetic"))


def test_resume_takes_up_what_failed(workers, served, tmp_path):
    mirrors.tessera_mirror(tmp_path / "mirror", "0.7", tiles="AB")
    place = rs.BBox(301150, 5770450, 301330, 5770690, crs="EPSG:32631")
    (tile,) = (tmp_path / "mirror").rglob("grid_0.15_52.05.npy")
    whole = tile.read_bytes()
    tile.write_bytes(whole[:-1])
    spec = rs.ModelSpec("tessera", options={"base_url": str(tmp_path / "mirror")})
    out = tmp_path / "run.zarr"
    tree = rs.compute_embeddings([LAND, place], spec, YEAR, out=out, client=workers, progress=False)
    assert statuses(tree, "tessera") == ["OK", "READ_FAILED"]
    assert "its index states" in str(tree["tessera"]["reason"].values[1])
    tile.write_bytes(whole)
    report = rs.resume(out, client=workers, progress=False)
    assert report.totals.reads == 1
    assert statuses(rs.open_store(out), "tessera") == ["OK", "OK"]
    assert rs.resume(out, client=workers, progress=False).totals.reads == 0


def test_a_store_is_topped_up_with_a_product(workers, three, tmp_path):
    out = tmp_path / "run.zarr"
    rs.compute_embeddings([LAND], three[:1], YEAR, out=out, client=workers, progress=False)
    tree = rs.compute_embeddings([LAND, PLACES[1]], three[:2], YEAR, out=out, client=workers, progress=False)
    assert statuses(tree, "gse_annual") == ["OK", "PARTIAL"]
    assert statuses(tree, "tessera") == ["OK", "OK"]


# -------------------------------------------------------------------------------- the graph and retries
def test_a_chunk_has_one_task_for_each_product_of_an_item(three, tmp_path):
    items = [Item(index, place, YEAR, f"p{index}") for index, place in enumerate(PLACES)]
    plan = make_plan(items, Request(("bandstats", *three), Synthetic()), sizes=Sizes(chunk_items=3))
    store = Store.create(
        tmp_path / "s.zarr", items=items, models=plan.layouts, request=plan.request.to_dict(), chunk_items=3
    )
    units = [Unit(row, item, plan.recipe.labels) for row, item in enumerate(items)]
    graph = GraphMaker(plan.recipe, store).graph(ChunkTask(0), units, attempt=1, placement=Placement({"FETCH": 1}, {}))
    layers = graph.dask.layers
    assert {name: len(layers[name]) for name in ("read", "product", "embed", "write")} == {
        "read": 3,
        "product": 9,
        "embed": 3,
        "write": 1,
    }
    assert layers["product"].annotations == {"resources": {"FETCH": 1}}


class Faulty:
    """A reader that fails a few times."""

    name, place, native_m = "faulty", "nowhere", 10.0

    def __init__(self, *errors):
        self.errors = list(errors)

    def grid(self, spatial, resolution_m, *, crs):
        return grid_for(spatial, 10)

    def read(self, grid, temporal):
        if self.errors:
            raise self.errors.pop(0)
        return ProductField(np.ones((2, *grid.shape), np.float32), grid)

    def estimate(self, grid):
        return Estimate(1, 1, 100)


def tried(reader, tries=3):
    entry = ProductEntry("faulty", reader, 2, pooling="mean")
    recipe = Recipe(Synthetic(), (), (), OutputSpec.pooled(), RetryPolicy(tries), products=(entry,))
    waits = []
    (read,) = read_products(recipe, [Item(0, TILE, YEAR, "a")], "faulty", sleep=waits.append)
    return read, waits


def test_a_product_of_ones_own(monkeypatch):
    monkeypatch.setattr(models, "_registered", {})
    own = Card("ones", "Ones", (), (Variant("only", 2),), 1, product=Product("nowhere", "free", 10.0))
    rs.register_model(own, lambda card, spec, provider: Faulty())
    found = rs.get_embedding("ones", spatial=TILE, temporal=YEAR, output="grid")
    assert found.data.shape == (2, 16, 16)
    assert found.meta["provider"] == "nowhere"


def passing():
    return TransientError("file", reason="the storage answered 503", fix="later")


def test_passing_faults_are_tried_again():
    found, waits = tried(Faulty(passing(), ConnectionResetError("reset")))
    assert (found.outcome.status, found.tries, len(waits)) == (Status.OK, 3, 2)
    assert found.outcome.data.tolist() == [1.0, 1.0]


def test_faults_that_do_not_pass_are_written_down():
    found, _ = tried(Faulty(*(passing() for _ in range(3))))
    assert found.outcome.status == Status.READ_FAILED
    assert "after 3 tries" in found.outcome.reason
    for error, expected in (
        (ProviderError("file", reason="damaged", fix="again"), "damaged"),
        (KeyError("path"), "it raised KeyError"),
    ):
        found, _ = tried(Faulty(error))
        assert (found.outcome.status, found.tries) == (Status.READ_FAILED, 1)
        assert expected in found.outcome.reason


class Many(Faulty):
    """A reader of several places at once, which has no vector west of the first tile and knows one span."""

    places_at_once = 4

    def __init__(self, *errors):
        super().__init__(*errors)
        self.asked = []

    def read_many(self, grids, temporal):
        self.asked.append((len(grids), temporal))
        if any(grid.center_lonlat[0] > 20 for grid in grids):
            raise ProviderError("file", reason="damaged", fix="again")
        return [self.read(grid, temporal) for grid in grids]


def many(reader):
    return Recipe(
        Synthetic(),
        (),
        (),
        OutputSpec.pooled(),
        RetryPolicy(2),
        products=(ProductEntry("m", reader, 2, pooling="mean"),),
    )


def test_places_of_one_span_are_read_together():
    reader, other = Many(), rs.TemporalSpec.year(2023)
    units = [Unit(k, Item(k, TILE, other if k % 3 == 0 else YEAR, str(k)), ("m",)) for k in range(10)]
    parts = [[unit.row for unit in part] for _, part in product_parts(many(reader), units)]
    assert parts == [[0, 3, 6, 9], [1, 2, 4, 5], [7, 8]]
    reads = read_products(many(reader), [units[row].item for row in parts[1]], "m")
    assert reader.asked == [(4, YEAR)]
    assert [read.outcome.data.tolist() for read in reads] == [[1.0, 1.0]] * 4


def test_one_place_at_fault_does_not_fail_the_others():
    reader, far = Many(), rs.PointBuffer(25.0, 50.0, 80)
    reads = read_products(many(reader), [Item(k, p, YEAR, str(k)) for k, p in enumerate((TILE, far, TILE))], "m")
    assert [count for count, _ in reader.asked] == [3, 1, 1, 1]
    assert [read.outcome.status for read in reads] == [Status.OK, Status.READ_FAILED, Status.OK]
    assert "damaged" in reads[1].outcome.reason


def test_a_fault_that_lasts_is_not_asked_of_each_place():
    reader = Many(passing(), passing())
    reads = read_products(many(reader), [Item(k, TILE, YEAR, str(k)) for k in range(3)], "m", sleep=lambda _: None)
    assert [count for count, _ in reader.asked] == [3, 3]
    assert {(read.outcome.status, read.tries) for read in reads} == {(Status.READ_FAILED, 2)}


# -------------------------------------------------------------------------------- what differs
def test_a_product_has_no_input_and_no_network(three):
    with pytest.raises(SpecError, match="no input imagery"):
        rs.inspect_input(three[0], spatial=TILE, temporal=YEAR)
    with pytest.raises(SpecError, match="read, not computed"):
        rs.load_model("gse")


def test_a_pooling_that_a_product_has_not(three):
    with pytest.raises(SpecError, match="no such vector"):
        rs.get_embedding(three[0], spatial=TILE, temporal=YEAR, output=rs.OutputSpec.pooled("cls"))


def test_addresses_that_cannot_be_read():
    spec = rs.ModelSpec("gse", options={"base_url": "gs://alphaearth_foundations"})
    with pytest.raises(SpecError, match="gs://"):
        rs.get_embedding(spec, spatial=TILE, temporal=YEAR)


def test_cards_say_where_vectors_are_published():
    listed = {row["id"]: row for row in rs.list_models()}
    assert [listed[name]["dim"] for name in ("gse", "tessera", "copernicus")] == [
        {"v1": 64},
        dict.fromkeys(("v1", "v1.1-cam", "v1.1-dclimate", "v2-beta1", "v2-beta2"), 128),
        {"v1": 768},
    ]
    assert "2017 to 2025" in str(rs.describe_model("gse_annual"))
    assert "one layer of all times" in str(rs.describe_model("copernicus"))
