"""The engine with the package's own provider and models: a run equals the same items embedded one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rs_embed_dask.engine.driver import run_plan
from rs_embed_dask.engine.local import embed_items
from rs_embed_dask.engine.plan import Sizes, StoredItems, make_plan
from rs_embed_dask.engine.request import Request
from rs_embed_dask.engine.watch import Options
from rs_embed_dask.providers.synthetic.provider import Synthetic
from rs_embed_dask.specs import BBox, OutputSpec, PointBuffer, TemporalSpec
from rs_embed_dask.store import Item, Status, Store

QUARTER = TemporalSpec.range("2022-04-01", "2022-07-01")
PLACES = [
    *(PointBuffer(lon=4.0 + 0.05 * k, lat=50.5 + 0.03 * k, buffer_m=160) for k in range(6)),
    BBox(4.1, 50.6, 4.105, 50.602),
]
ITEMS = [Item(index, place, QUARTER, f"p{index}") for index, place in enumerate(PLACES)]
MODELS = ("bandstats", "rcf")


def request(output=None, models=MODELS):
    return Request(models, Synthetic(seed=3, cloud=0.2), output=output or OutputSpec.pooled())


@pytest.fixture(scope="module", params=["pooled", "grid"])
def ran(request, threads_client, tmp_path_factory):
    """A run of a few items, and the same items in this process."""
    output = OutputSpec.pooled() if request.param == "pooled" else OutputSpec.grid()
    plan = make_plan(ITEMS, _request(output), sizes=Sizes(chunk_items=3))
    target = tmp_path_factory.mktemp(request.param) / "run.zarr"
    store = Store.create(
        target, items=plan.items, models=plan.layouts, request=plan.request.to_dict(), chunk_items=plan.chunk_items
    )
    report = run_plan(plan, store, threads_client, options=Options(progress=False))
    return plan, store, report, list(embed_items(plan))


_request = request


def test_a_run_equals_the_items_one_by_one(ran):
    plan, store, _, here = ran
    for label in MODELS:
        stored = store.values(label, "embedding")
        for row, result in enumerate(here):
            found = result.outcomes[label]
            assert found.status in {Status.OK, Status.PARTIAL}
            cut = tuple(slice(0, side) for side in found.data.shape)
            if label == "bandstats":
                np.testing.assert_array_equal(stored[(row, *cut)], found.data)
            else:
                np.testing.assert_allclose(stored[(row, *cut)], found.data, rtol=1e-5, atol=1e-6)
            assert store.values(label, "n_obs")[row] == found.n_obs > 0
    assert store.counts()["rcf"].keys() == {Status.OK} or plan


def test_the_store_knows_where_each_grid_lies(ran):
    plan, store, _, here = ran
    if plan.request.output.mode == "pooled":
        assert store.layout("rcf").grid_shape is None
        return
    for row, result in enumerate(here):
        grid = result.outcomes["rcf"].grid
        assert store.values("rcf", "crs")[row] == grid.crs == "EPSG:32631"
        np.testing.assert_array_equal(store.values("rcf", "transform")[row], grid.transform)
        assert tuple(store.values("rcf", "grid_shape")[row]) == grid.shape
    lying = here[-1].outcomes["rcf"].grid
    assert lying.shape[1] > lying.shape[0]  # the box is wider than high: its square was cut back


def test_frames_and_dates_are_stored(ran):
    _, store, _, here = ran
    frames = here[0].outcomes["bandstats"].frames
    assert len(frames) == 3
    starts = store.values("bandstats", "frame_start")[0].astype("datetime64[D]")
    assert [str(day) for day in starts] == [str(span.start) for span in frames]
    assert store.values("rcf", "valid_fraction").shape == (len(ITEMS), 1)
    first, last = (store.values("bandstats", name)[0].astype("datetime64[D]") for name in ("first_date", "last_date"))
    assert np.datetime64("2022-04-01") <= first <= last < np.datetime64("2022-07-01")


def test_the_report_counts_what_the_plan_promised(ran):
    plan, _, report, _ = ran
    assert report.totals.reads == plan.figures.reads == len(ITEMS)
    assert report.chunks == plan.figures.chunks == 3
    rows = {what: (planned, real) for what, planned, real in report.against_plan.rows}
    assert rows["items"] == ("7", "7")
    assert rows["reads"] == ("7", "7")


def test_models_that_want_the_same_read_share_it(threads_client, tmp_path):
    models = ({"id": "rcf", "name": "few", "options": {"features": 8}}, {"id": "rcf", "name": "many"})
    plan = make_plan(ITEMS[:4], request(models=models))
    assert len(plan.recipe.groups) == 1
    assert plan.figures.reads == 4
    assert [layout.dim for layout in plan.layouts] == [16, 512]


def test_a_plan_of_a_stores_own_items_is_the_same_plan(ran):
    plan, store, _, _ = ran
    again = make_plan(StoredItems(store), Request.from_dict(store.request), sizes=Sizes(chunk_items=store.chunk_items))
    # The extent is that of new places: those of a store were looked at when they were added.
    assert again.outlook.extent is None
    # Times are what had been measured until then, and the run lies between the two plans.
    figures = again.figures
    before = replace(plan, figures=replace(plan.figures, times=figures.times, crew=figures.crew))
    assert again.to_dict() == before.to_dict() | {"outlook": again.outlook.to_dict()}
    assert replace(again.outlook, extent=plan.outlook.extent) == plan.outlook
    assert again.recipe == plan.recipe
    assert [item.id for item in again.items] == [item.id for item in ITEMS]
    assert again.items[-1] == Item(6, PLACES[-1], QUARTER, "p6")
