"""The verbs against the synthetic provider: values, resume, top-up, refusals."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
import zarr
from distributed import Client, LocalCluster

import rs_embed_dask as rs
from rs_embed_dask.engine import plan as plans, topup
from rs_embed_dask.engine.plan import make_plan
from rs_embed_dask.errors import (
    LicenceError,
    PlanError,
    SpecError,
    StoreError,
    StoreMismatchError,
    UnknownNameError,
    WeightsError,
)
from rs_embed_dask.store import Store

SPAN = rs.TemporalSpec.range("2022-05-01", "2022-07-30")
STATISTICS = 9


def place(number, buffer_m=80.0):
    return rs.PointBuffer(4.50 + 0.01 * number, 50.70, buffer_m=buffer_m)


@pytest.fixture(scope="module")
def client():
    resources = {"FETCH": 4, "EMBED": 1}
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=8, processes=False, resources=resources, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def clear():
    """A landscape without clouds: what is expected can be worked out from the pixels alone."""
    return rs.open_provider("synthetic", cloud=0.0)


def test_band_statistics_of_one_place_are_those_of_its_pixels(clear):
    """The vector of get_embedding is NumPy's mean over time, then over pixels, of what inspect_input shows."""
    asked = {"spatial": place(0), "temporal": SPAN, "provider": clear}
    (cube,) = rs.inspect_input("bandstats", **asked).values()
    found = rs.get_embedding("bandstats", **asked)
    pixels = np.asarray(cube.values, dtype="float64") / 10_000  # (T, B, H, W)
    assert np.isfinite(pixels).all()
    statistics = np.stack(
        [
            pixels.mean(0),
            pixels.std(0),
            pixels.min(0),
            pixels.max(0),
            *(np.percentile(pixels, p, axis=0) for p in (10, 25, 50, 75, 90)),
        ],
        axis=1,
    )  # (B, S, H, W)
    assert np.allclose(found.data, statistics.mean((2, 3)).ravel(), rtol=2e-5, atol=1e-6)
    assert found.meta["status"] == "ok"
    assert found.meta["weights"]["source"] == "none"
    assert not found.meta["weights"]["random"]
    assert len(found.meta["frames"]) == 3


def test_many_places_equal_one_at_a_time(client, clear, tmp_path):
    """A run on a cluster gives, row by row, what one call per place gives."""
    spots = [place(number) for number in range(5)]
    tree = rs.compute_embeddings(
        spots, ["bandstats", "rcf"], SPAN, provider=clear, out=tmp_path / "a.zarr", client=client, progress=False
    )
    for label in ("bandstats", "rcf"):
        singles = rs.get_embeddings_batch(label, spatials=spots, temporal=SPAN, provider=clear)
        stored = tree[label]["embedding"].to_numpy()
        assert np.allclose(stored, [one.data for one in singles], rtol=1e-5, atol=1e-6)
        assert (tree[label]["status"] == 1).all()


def test_without_out_the_result_is_in_memory(client, clear):
    tree = rs.compute_embeddings([place(0)], "bandstats", SPAN, provider=clear, client=client, progress=False)
    assert isinstance(tree["bandstats"]["embedding"].data, np.ndarray)
    assert np.isfinite(tree["bandstats"]["embedding"]).all()


def test_a_store_opens_with_plain_xarray(client, clear, tmp_path):
    out = tmp_path / "plain.zarr"
    rs.compute_embeddings(
        [place(0), place(1)], "bandstats", SPAN, provider=clear, out=out, client=client, progress=False
    )
    one = xr.open_zarr(out, group="bandstats")
    tree = xr.open_datatree(out, engine="zarr")
    assert one["embedding"].shape == (2, 10 * STATISTICS)
    assert np.array_equal(one["embedding"], tree["bandstats"]["embedding"])


def test_a_grid_lies_where_its_pixels_lie(client, clear):
    """A 20 x 12 px box in UTM gives tokens of 8 px whose means are those of the pixels under them."""
    box = rs.BBox(*shapely.box(600_000, 5_620_000, 600_160, 5_620_160).bounds, crs="EPSG:32631")
    asked = {"spatial": box, "temporal": SPAN, "provider": clear}
    found = rs.get_embedding("bandstats", output=rs.OutputSpec.grid(), **asked).data
    (cube,) = rs.inspect_input("bandstats", **asked).values()
    means = cube.values.mean(0)[0] / 10_000  # (H, W) of the first band
    expected = means.reshape(2, 8, 2, 8).mean((1, 3))
    assert np.allclose(found[0], expected, rtol=1e-5)
    assert found.x.to_numpy().tolist() == [600_040.0, 600_120.0]
    assert found.y.to_numpy().tolist() == [5_620_120.0, 5_620_040.0]
    tree = rs.compute_embeddings([box], "bandstats", SPAN, provider=clear, output="grid", client=client, progress=False)
    assert np.allclose(tree["bandstats"]["embedding"][0], found, rtol=1e-5, atol=1e-6)


def test_the_same_call_again_finds_nothing_to_do(client, clear, tmp_path):
    asked = {"provider": clear, "out": tmp_path / "b.zarr", "client": client, "progress": False}
    first = rs.compute_embeddings([place(0), place(1)], "bandstats", SPAN, **asked).load()
    again = rs.compute_embeddings([place(0), place(1)], "bandstats", SPAN, **asked)
    assert np.array_equal(first["bandstats"]["embedding"], again["bandstats"]["embedding"])
    assert rs.resume(tmp_path / "b.zarr", client=client, progress=False).chunks == 0


def test_a_finished_store_is_known_to_be_finished_from_its_status_alone(client, clear, tmp_path):
    """Nothing is planned and no provider opened: the one that read the pixels need not be there any more."""
    out = tmp_path / "g.zarr"
    rs.compute_embeddings([place(0)], "bandstats", SPAN, provider=clear, out=out, client=client, progress=False)
    store = Store.open(out, mode="r+")
    store.add_models([], request=store.request | {"provider": {"name": "files", "rebuild": False}})
    report = rs.resume(out, progress=False)
    assert (report.chunks, report.is_over, report.store) == (0, True, str(out))
    assert "nothing was left to do" in str(report)
    with pytest.raises(SpecError, match=r"files.*arrays.*provider="):
        rs.resume(out, only="ok", progress=False)


def test_more_places_spans_and_models_are_added(client, clear, tmp_path):
    """What was there keeps its rows and numbers; new rows follow; a new model is computed for all of them."""
    asked = {"provider": clear, "out": tmp_path / "c.zarr", "client": client, "progress": False}
    first = rs.compute_embeddings([place(0), place(1)], "bandstats", SPAN, **asked).load()
    later = rs.TemporalSpec.range("2022-07-30", "2022-10-28")
    asked_for = rs.compute_embeddings([place(0), place(2), place(0)], ["rcf"], [SPAN, SPAN, later], **asked)
    assert list(asked_for.children) == ["items", "rcf"]
    assert asked_for["items"]["item"].to_numpy().tolist() == ["0", "2", "3"]
    tree = rs.open_store(tmp_path / "c.zarr")
    assert tree["bandstats"].sizes["item"] == tree["rcf"].sizes["item"] == 4
    assert (tree["rcf"]["status"] == 1).all()
    assert tree["bandstats"]["status"].to_numpy().tolist() == [1, 1, 0, 0]
    assert np.array_equal(first["bandstats"]["embedding"], tree["bandstats"]["embedding"][:2])
    rs.resume(tmp_path / "c.zarr", client=client, progress=False)
    done = rs.open_store(tmp_path / "c.zarr")
    assert (done["bandstats"]["status"] == 1).all()
    single = rs.get_embedding("bandstats", spatial=place(0), temporal=later, provider=clear)
    assert np.allclose(done["bandstats"]["embedding"][3], single.data, rtol=1e-5, atol=1e-6)
    assert not np.allclose(done["bandstats"]["embedding"][0], single.data, rtol=1e-2)


def test_every_call_that_computes_makes_one_plan(client, clear, tmp_path, monkeypatch):
    """A fresh run, a resumed one and every kind of top-up; what is planned is what the store holds in the end."""
    planned = []

    def counted(items, request, **options):
        made = make_plan(items, request, **options)
        planned.append((made.figures.items, request.labels))
        return made

    for module in (plans, topup):
        monkeypatch.setattr(module, "make_plan", counted)
    asked = {"provider": clear, "out": tmp_path / "h.zarr", "client": client, "progress": False}
    calls = [
        ([place(0), place(1)], ["bandstats"], 2, 1),  # fresh
        ([place(0), place(1)], ["bandstats"], 2, 1),  # nothing new: nothing to plan
        ([place(0), place(2)], ["bandstats"], 3, 2),  # one more place
        ([place(0), place(3)], ["bandstats", "rcf"], 4, 3),  # one more place and model
        ([place(0)], ["rcf"], 4, 3),  # a part of what is there
    ]
    for spots, models, total, number in calls:
        tree = rs.compute_embeddings(spots, models, SPAN, **asked)
        assert len(planned) == number
        assert tree[models[-1]]["status"].to_numpy().tolist() == [1] * len(spots)
        assert rs.open_store(tmp_path / "h.zarr")["items"].sizes["item"] == total
    rs.resume(tmp_path / "h.zarr", only="ok", client=client, progress=False)
    assert planned == [
        (2, ("bandstats",)),
        (3, ("bandstats",)),
        (4, ("bandstats", "rcf")),
        (4, ("bandstats", "rcf")),
    ]


def test_a_refused_top_up_writes_nothing(client, clear, tmp_path):
    asked = {"provider": clear, "out": tmp_path / "i.zarr", "client": client, "progress": False, "output": "grid"}
    rs.compute_embeddings([place(0)], "bandstats", SPAN, **asked)
    before = Store.open(tmp_path / "i.zarr")
    for spots, models, error in (
        ([place(1, buffer_m=320)], "bandstats", StoreMismatchError),
        ([place(1)], ["bandstats", "rfc"], UnknownNameError),
    ):
        with pytest.raises(error):
            rs.compute_embeddings(spots, models, SPAN, **asked)
        after = Store.open(tmp_path / "i.zarr")
        assert (after.n_items, after.labels, after.request) == (before.n_items, before.labels, before.request)


def test_another_request_is_refused_with_the_difference(client, clear, tmp_path):
    asked = {"provider": clear, "out": tmp_path / "d.zarr", "client": client, "progress": False}
    rs.compute_embeddings([place(0)], "bandstats", SPAN, **asked)
    with pytest.raises(StoreMismatchError, match=r"fetch.resolution_m was not set and is now 20"):
        rs.compute_embeddings([place(0)], "bandstats", SPAN, fetch=rs.FetchSpec(resolution_m=20), **asked)
    with pytest.raises(StoreMismatchError, match=r"provider\.cloud"):
        rs.compute_embeddings([place(0)], "bandstats", SPAN, **asked | {"provider": "synthetic"})


def test_a_table_of_fields_is_taken_with_its_names(client, clear, tmp_path):
    frame = gpd.GeoDataFrame(
        {"name": ["barley", "beet"]},
        geometry=[shapely.box(4.5, 50.7, 4.502, 50.7015), shapely.box(4.51, 50.7, 4.5115, 50.7015)],
        crs="EPSG:4326",
    )
    tree = rs.compute_embeddings(
        frame,
        "bandstats",
        SPAN,
        provider=clear,
        ids=frame["name"],
        out=tmp_path / "e.zarr",
        client=client,
        progress=False,
    )
    assert tree["items"]["id"].to_numpy().tolist() == ["barley", "beet"]
    assert rs.status(tmp_path / "e.zarr").table["status"].tolist() == ["ok", "ok"]


def test_the_plan_prices_a_run_without_reading(clear):
    made = rs.plan([place(0), place(1)], ["bandstats", "rcf"], SPAN, provider=clear)
    text = str(made)
    assert "2 in 1 chunk" in text
    assert made.figures.reads == 2
    assert made.to_dict()["figures"]["items"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"models": "galilleo"}, UnknownNameError, ("galilleo", "galileo")),
        ({"models": []}, PlanError, ("models", "at least one model")),
        ({"models": ["rcf", "rcf"]}, PlanError, ("rcf", "name=")),
        ({"models": "galileo:huge"}, UnknownNameError, ("huge", "nano")),
        ({"models": "galileo:nano:sar"}, UnknownNameError, ("sar", "s1")),
        ({"models": [7]}, SpecError, ("7",)),
        ({"models": rs.ModelSpec("rcf", options={"sead": 3})}, UnknownNameError, ("sead", "seed")),
        ({"provider": "planetry"}, UnknownNameError, ("planetry", "planetary_computer")),
        ({"provider": 3}, SpecError, ("3", "provider")),
        ({"backend": "synthetic"}, SpecError, ("backend", "provider")),
        ({"temporal": None}, SpecError, ("None",)),
        ({"temporal": [SPAN, SPAN]}, SpecError, ("2", "1")),
        ({"spatials": []}, SpecError, ("places", "at least one")),
        ({"spatials": [(4.5, 50.7)]}, SpecError, ("buffer_m",)),
        ({"spatials": "nowhere.geojson"}, SpecError, ("nowhere.geojson",)),
        ({"output": "vector"}, UnknownNameError, ("vector", "pooled")),
        ({"output": 3}, SpecError, ("3", "OutputSpec")),
        ({"output": rs.OutputSpec.pooled("cls")}, SpecError, ("cls", "mean")),
        ({"prep": "crop"}, UnknownNameError, ("crop", "tile")),
        ({"ids": ["a", "b"]}, SpecError, ("2 ids", "1 place")),
        ({"chunk_items": 0}, PlanError, ("chunk_items", "0")),
        ({"batch_items": True}, PlanError, ("batch_items", "True")),
        ({"outpt": "grid"}, UnknownNameError, ("outpt", "output")),
        ({"sensor": rs.SensorSpec("sentinel-9")}, UnknownNameError, ("sentinel-9", "sentinel-2-l2a")),
        ({"sensor": rs.SensorSpec("sentinel-2-l2a", bands=("B99",))}, UnknownNameError, ("B99",)),
        ({"fetch": rs.FetchSpec(mask="fmask")}, UnknownNameError, ("fmask", "scl")),
    ],
)
def test_bad_requests_are_named_explained_and_mended(clear, changes, error, words):
    asked = {"spatials": [place(0)], "models": "bandstats", "temporal": SPAN, "provider": clear} | changes
    with pytest.raises(error) as caught:
        rs.plan(asked.pop("spatials"), asked.pop("models"), asked.pop("temporal"), **asked)
    message = str(caught.value)
    assert "Fix: " in message
    for word in words:
        assert word in message


def test_one_place_is_one_place(clear):
    with pytest.raises(SpecError, match=r"2 places.*get_embeddings_batch"):
        rs.get_embedding("bandstats", spatial=[place(0), place(1)], temporal=SPAN, provider=clear)


def test_no_weights_no_run(clear, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pt"):
        rs.get_embedding(
            rs.ModelSpec("galileo", weights=str(tmp_path / "nowhere.pt")),
            spatial=place(0),
            temporal=SPAN,
            provider=clear,
        )


def test_restricted_weights_need_a_word(clear, tmp_path):
    with pytest.raises(LicenceError, match="accept_licence=True"):
        rs.get_embedding(
            rs.ModelSpec("satmae", weights=str(tmp_path / "any.pt")), spatial=place(0), temporal=SPAN, provider=clear
        )


def values_of(out):
    return {name: group.to_dataset().load() for name, group in rs.open_store(out).children.items()}


def test_damage_is_mended_by_the_next_run(client, tmp_path):
    out = tmp_path / "run.zarr"
    again = {"out": out, "client": client, "progress": False, "provider": "synthetic", "chunk_items": 2}
    rs.compute_embeddings([place(number) for number in range(4)], "bandstats", SPAN, **again)
    undisturbed = values_of(out)
    assert rs.verify(out).checked == {"bandstats": 4}

    (out / "bandstats/embedding/c/0/0").unlink()
    with pytest.warns(UserWarning, match="2 rows to compute again"):
        assert rs.resume(out, client=client, progress=False).chunks == 1
    (out / "bandstats/n_obs/c/1").unlink()
    with pytest.warns(UserWarning, match="1 file missing"):
        rs.compute_embeddings([place(number) for number in range(4)], "bandstats", SPAN, **again)
    assert rs.verify(out).is_sound

    zarr.open_array(out / "bandstats/embedding", mode="r+")[3] = 0
    assert rs.resume(out, client=client, progress=False).chunks == 0
    assert rs.verify(out).n_rows == 1
    with pytest.warns(UserWarning, match="bandstats rows 3"):
        assert rs.resume(out, client=client, progress=False, verify=True).chunks == 1
    for name, found in values_of(out).items():
        xr.testing.assert_identical(found, undisturbed[name])


@pytest.mark.parametrize("verb", [rs.open_store, rs.status, rs.resume])
def test_what_is_no_store_is_said_to_be_none(verb, tmp_path):
    with pytest.raises(StoreError, match=r"nothing.*: there is no store at this place. Fix: check the path"):
        verb(tmp_path / "nothing")


def test_only_takes_known_states(clear, client, tmp_path):
    out = tmp_path / "f.zarr"
    rs.compute_embeddings([place(0)], "bandstats", SPAN, provider=clear, out=out, client=client, progress=False)
    with pytest.raises(UnknownNameError, match="read_failled"):
        rs.resume(out, only="read_failled", client=client)
    assert rs.resume(out, only=["ok"], client=client, progress=False).chunks == 1


def test_models_are_listed_and_described_without_torch():
    rows = {row["id"]: row for row in rs.list_models()}
    assert {"bandstats", "galileo", "rcf", "satmae"} <= set(rows)
    assert rows["galileo"]["dim"] == {"nano": 128, "tiny": 192, "base": 768}
    page = rs.describe_model("galileo")
    assert "arXiv:2502.09356" in str(page)
    assert page.to_dict()["id"] == "galileo"
    assert "galileo" in page._repr_html_()
