"""Positions of grids of places: a model whose token is a signal plus a pattern of its place in the window."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask import models
from rs_embed_dask.engine.report import ChunkDone, RunStarted
from rs_embed_dask.errors import PlanError, SpecError, StoreError, StoreMismatchError
from rs_embed_dask.preprocess.batch import Tokens
from rs_embed_dask.specs.positions import PositionTable
from rs_embed_dask.store import Store
from tests.engine.fakes import SPAN, Numbers, place, reads_of
from tests.models.conftest import Mirror, mirror_card

WINDOW, COUNT = 4, 66
PATTERN = np.random.default_rng(5).normal(0, 0.1, (2, WINDOW, WINDOW)).astype(np.float32)
MEAN = PATTERN.mean((1, 2))
CENTRED = PATTERN - MEAN[:, None, None]
GRID = rs.OutputSpec.grid


class Patterned(Mirror):
    """Gives each patch of 4 x 4 pixels their mean in thousands, and adds what belongs to its place in the window."""

    pattern = PATTERN

    def forward(self, batch):
        tokens = super().forward(batch)
        side = tokens.patches.shape[1]
        pattern = np.resize(self.pattern, (2, side, side)).transpose(1, 2, 0)
        return Tokens(tokens.patches / 1000 + tokens.patches.new_tensor(pattern))


class Plain(Patterned):
    pattern = np.zeros_like(PATTERN)


def signal(numbers):
    """What the pixels of items are, in thousands: red, then green; (items, 2, 1, 1)."""
    return (np.asarray(numbers, np.float32)[:, None] + [2000, 1000])[..., None, None] / 1000


@pytest.fixture(scope="module", autouse=True)
def patterned():
    before = dict(models._registered)
    for make in (Patterned, Plain):
        card = replace(mirror_card(bands=("red", "green")), aliases=())
        rs.register_model(replace(card, id=make.__name__.lower()), make)
    sized = replace(mirror_card(bands=("red", "green"), size_px=None, max_px=16), id="sized", aliases=(), options=())
    rs.register_model(sized, Patterned)
    rs.register_model(replace(mirror_card(bands=("red", "green"), native=True), id="cells", aliases=()), Mirror)
    yield
    models._registered.clear()
    models._registered.update(before)


@pytest.fixture(scope="module")
def compute(threads_client):
    def call(numbers, positions, out, *, models="patterned", **more):
        options = {"output": GRID(positions=positions), "provider": Numbers(), "client": threads_client}
        places = [place(number) if isinstance(number, int) else number for number in numbers]
        return rs.compute_embeddings(places, models, SPAN, out=out, **options | {"progress": False, **more})

    return call


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def removed(compute, tmp_path_factory, marks):
    """A store of 66 items whose positions were measured: removed from one model, kept of another, which has none."""
    path = tmp_path_factory.mktemp("positions") / "removed.zarr"
    compute(range(COUNT), "auto", path, models=["patterned", "plain"], provider=Numbers(str(marks)), chunk_items=16)
    return path


def vectors(path, label="patterned"):
    return Store.open(path).values(label, "embedding")


def test_the_pattern_is_gone_and_the_mean_of_the_signal_stays(removed, marks):
    store, found = Store.open(removed), vectors(removed)
    shape = store.layout("patterned").grid_shape
    assert found.shape == (COUNT, 2, *shape)
    assert min(shape) >= 2
    there = np.isfinite(found)
    expected = np.broadcast_to(signal(range(COUNT)) + MEAN[:, None, None], found.shape)
    np.testing.assert_allclose(found[there], expected[there], atol=1e-6)
    assert there.mean() > 0.6
    assert [len(reads_of(marks, number)) for number in range(COUNT)] == [1] * COUNT  # the first pass's are kept


def test_the_table_is_in_the_store_and_what_was_done_is_said(removed):
    store = Store.open(removed)
    table = store.table("patterned")
    np.testing.assert_allclose(table.mean, CENTRED, atol=2e-7)
    assert (table.model, table.patch_px, table.windows, table.source) == ("patterned", 4, COUNT, "measured")
    grand = np.square(signal(range(COUNT)) - signal(range(COUNT)).mean(0)).sum(1).mean()
    pattern = np.square(CENTRED).sum(0).mean()
    chance = (WINDOW**2 - 1) / (COUNT * WINDOW**2 - 1)
    assert table.share == pytest.approx(pattern / (pattern + grand) - chance, rel=1e-3)
    facts = store.receipt["positions"]["patterned"]
    assert facts["removed"]
    assert facts["statement"].startswith(
        f"positions removed: they explain {100 * table.share:.3g} % of the variance (66"
    )
    assert facts["statement"].endswith(
        "items of this store; not comparable with other stores unless you pass its table)"
    )
    assert facts["statement"][:40] in repr(rs.status(removed)).replace("\n", " ")
    tree = rs.open_store(removed)
    assert tree["patterned"].position_mean.dims == ("dim", "row", "column")
    np.testing.assert_array_equal(tree["patterned"].position_mean, table.mean)
    assert store.request["output"]["positions"] == "auto"


def test_parts_remove_what_one_of_them_has_measured(removed, compute, tmp_path):
    """The first to decide measures over all items; the other, of whose own there are too few, measures in vain."""
    out, options = tmp_path / "parts.zarr", {"models": ["patterned", "plain"], "chunk_items": 16}

    def second_runs_first(event):
        if isinstance(event, RunStarted):
            compute(range(COUNT), "auto", out, part=(2, 2), **options)

    compute(range(COUNT), "auto", out, part=(1, 2), progress=second_runs_first, **options)
    store, whole = Store.open(out), Store.open(removed)
    assert store.table("patterned").windows == COUNT
    assert store.receipt["positions"] == whole.receipt["positions"]
    for label in store.labels:
        np.testing.assert_array_equal(vectors(out, label), vectors(removed, label))


def test_what_positions_do_not_explain_is_kept(removed):
    statement = "positions kept: they explain 0 % of the variance, not more than 1 %"
    assert Store.open(removed).receipt["positions"]["plain"]["statement"] == statement
    found = vectors(removed, "plain")
    expected = np.broadcast_to(signal(range(COUNT)), found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-6)


def test_given_back_it_is_what_the_network_gave(removed, compute, tmp_path):
    kept = compute(range(3), "kept", tmp_path / "kept.zarr")["patterned"]
    assert "position_mean" not in kept
    table = Store.open(removed).table("patterned")
    field, own = rs.open_store(removed).rs.grid(2, "patterned").to_numpy(), kept.embedding[2].to_numpy()
    own = own[:, : field.shape[1], : field.shape[2]]
    back = [table.mean[:, r : r + field.shape[1], c : c + field.shape[2]] for r in range(2) for c in range(2)]
    assert any(np.allclose(field + one, own, atol=1e-6) for one in back)  # a place lies in the middle of its window


def test_few_items_are_kept_and_plan_and_receipt_say_so(compute, tmp_path):
    ask = {"provider": Numbers(), "output": GRID(positions="auto")}
    plan = rs.plan([place(number) for number in range(9)], "patterned", SPAN, **ask)
    few = "9 of 9 items have windows of one shape, 4 x 4 tokens; 64 are needed to tell positions from the ground"
    assert plan.to_dict()["positions"] == {"patterned": f"positions kept: {few}"}
    assert "kept: 9 of 9 items" in str(plan)
    path = tmp_path / "few.zarr"
    compute(range(9), "auto", path)
    assert Store.open(path).receipt["positions"]["patterned"] == {
        "removed": False,
        "statement": f"positions kept: {few}",
    }
    compute(range(COUNT), "auto", path)  # some are written as they are: so are all
    assert Store.open(path).table("patterned") is None
    assert np.nanmax(np.abs(vectors(path) - signal(range(COUNT)) - MEAN[:, None, None])) > 0.05
    with pytest.raises(PlanError, match=r"'removed': 9 of 9 items have .* 64 are needed.* pass a table"):
        rs.plan(
            [place(number) for number in range(9)], "patterned", SPAN, **ask | {"output": GRID(positions="removed")}
        )


def test_what_has_no_windows_is_left_alone_or_refused():
    ask = {"provider": "synthetic"}
    plan = rs.plan([place(1)], "bandstats", SPAN, output=GRID(positions="auto"), **ask)
    assert plan.positions["bandstats"].statement.startswith("positions kept: every vector is computed from its own")
    with pytest.raises(PlanError, match=r"bandstats = 'removed': its tokens have none.*positions='auto'"):
        rs.plan([place(1)], "bandstats", SPAN, output=GRID(positions="removed"), **ask)
    with pytest.raises(SpecError, match="no position in a window"):
        rs.OutputSpec("pooled", positions="auto")


# --------------------------------------------------------------------------------------------------------------- tables
@pytest.mark.parametrize("given", ["array", "table", "path"])
def test_a_table_that_is_given_is_used_as_it_is(given, removed, compute, tmp_path):
    table = Store.open(removed).table("patterned")
    positions = {"array": table.mean, "table": table, "path": removed}[given]
    compute(range(3), positions, tmp_path / "given.zarr")
    found, store = vectors(tmp_path / "given.zarr"), Store.open(tmp_path / "given.zarr")
    expected = np.broadcast_to(signal(range(3)) + MEAN[:, None, None], found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-6)
    np.testing.assert_array_equal(store.table("patterned").mean, table.mean)
    assert store.table("patterned").digest == table.digest
    whose = "the table of " if given == "path" else "the table passed"
    assert f"positions removed, as asked ({whose}" in store.receipt["positions"]["patterned"]["statement"]
    assert store.request["output"]["positions"] == "removed"
    compute(range(5), positions, tmp_path / "given.zarr")
    with pytest.raises(StoreMismatchError, match="another table"):
        compute(range(5), -table.mean, tmp_path / "given.zarr")  # finished, and not looked at twice
    with pytest.raises(StoreMismatchError, match="another table"):
        compute(range(6), -table.mean, tmp_path / "given.zarr")


def test_in_this_process_a_table_is_used_and_none_is_measured(removed):
    ask = {"provider": Numbers(), "temporal": SPAN}
    batch = rs.get_embeddings_batch("patterned", [place(2)], output=GRID(positions=removed), **ask)
    np.testing.assert_allclose(
        batch[0].data.values, np.broadcast_to(signal([2])[0] + MEAN[:, None, None], batch[0].shape), atol=1e-6
    )
    assert "the table of" in batch[0].meta["positions"]
    places = [place(number) for number in range(COUNT)]
    with pytest.raises(PlanError, match="use compute_embeddings"):
        rs.get_embeddings_batch("patterned", places, output=GRID(positions="auto"), **ask)


def test_tables_of_others_are_refused(tmp_path, removed, compute):
    ask = {"provider": Numbers()}
    with pytest.raises(SpecError, match=r"PositionTable.window = 3: here it is 4"):
        rs.plan([place(1)], "patterned", SPAN, output=GRID(positions=np.zeros((2, 3, 3))), **ask)
    with pytest.raises(SpecError, match=r"PositionTable.dim = 5: here it is 2"):
        rs.plan([place(1)], "patterned", SPAN, output=GRID(positions=np.zeros((5, 4, 4))), **ask)
    with pytest.raises(SpecError, match="2 of the request have windows"):
        rs.plan([place(1)], ["patterned", "plain"], SPAN, output=GRID(positions=CENTRED), **ask)
    with pytest.raises(SpecError, match=r"table of patterned, plain.* computes no such model"):
        rs.plan([place(1)], "sized", SPAN, output=GRID(positions=removed), **ask)
    compute(range(1), "kept", tmp_path / "kept.zarr")
    with pytest.raises(StoreError, match="no table of positions"):
        rs.plan([place(1)], "patterned", SPAN, output=GRID(positions=tmp_path / "kept.zarr"), **ask)


# ------------------------------------------------------------------------------------------------ resumed, and added to
class Stop(KeyboardInterrupt):
    """Ctrl-C at a certain event."""


def at(kind):
    def press(event):
        if isinstance(event, kind):
            raise Stop

    return press


def test_a_resumed_run_uses_the_table_of_its_store(removed, compute, threads_client, tmp_path):
    path = tmp_path / "stopped.zarr"
    with pytest.raises(Stop):
        compute(range(COUNT), "auto", path, chunk_items=16, progress=at(ChunkDone))
    digest, counts = Store.open(path).table("patterned").digest, Store.open(path).counts()["patterned"]
    assert len(counts) == 2  # the table is there, and some rows
    rs.resume(path, provider=Numbers(), client=threads_client, progress=False)
    assert Store.open(path).table("patterned").digest == digest
    np.testing.assert_allclose(vectors(path), vectors(removed), atol=1e-6)


def test_rows_that_are_computed_again_lose_what_the_table_says(removed, threads_client, tmp_path):
    path = shutil.copytree(removed, tmp_path / "lost.zarr")
    (path / "patterned/embedding/c/1/0/0/0").unlink()
    with pytest.warns(UserWarning, match="1 file missing"):
        report = rs.resume(path, provider=Numbers(), client=threads_client, progress=False)
    assert report.positions["patterned"] == Store.open(path).receipt["positions"]["patterned"]["statement"]
    assert "positions removed: they explain" in " ".join(str(report).split())
    np.testing.assert_allclose(vectors(path), vectors(removed), atol=1e-6)


def test_a_given_table_is_in_the_store_before_anything_is_computed(compute, threads_client, tmp_path):
    path = tmp_path / "begun.zarr"
    with pytest.raises(Stop):
        compute(range(3), CENTRED, path, models=["patterned", "cells"], progress=at(RunStarted))
    rs.resume(path, provider=Numbers(), client=threads_client, progress=False)
    assert "own surroundings" in Store.open(path).receipt["positions"]["cells"]["statement"]
    found = vectors(path)
    expected = np.broadcast_to(signal(range(3)) + MEAN[:, None, None], found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-6)


def test_a_top_up_uses_the_table_of_its_store(removed, compute, tmp_path):
    path = shutil.copytree(removed, tmp_path / "grown.zarr")
    table = Store.open(path).table("patterned")
    # Other numbers, by which a table of their own would be another one.
    compute([*range(COUNT), 200, 700], "auto", path)
    store, found = Store.open(path), vectors(path)
    assert store.table("patterned").digest == table.digest
    assert store.values("plain", "status").tolist() == [1] * COUNT + [0, 0]

    expected = np.broadcast_to(signal([*range(COUNT), 200, 700]) + MEAN[:, None, None], found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-6)
    assert rs.verify(path).is_sound
    for other in ("kept", "removed"):
        with pytest.raises(StoreMismatchError, match=rf"output.positions was 'auto' and is now '{other}'"):
            compute(range(3), other, path)
    (path / "patterned/position_mean/c/0/0/0").write_bytes(b"")
    damages = rs.verify(path).damages
    assert [(one.where, one.remedy.name) for one in damages] == [("patterned/position_mean", "RESTORE")]


# ------------------------------------------------------------------------------------------------------- other windows
def test_grids_of_several_windows_lose_the_pattern_of_each(compute, tmp_path):
    wide = [replace(place(number), buffer_m=200) for number in range(COUNT)]
    compute(wide, "removed", tmp_path / "wide.zarr", prep=rs.InputPrep.auto(stride_px=12))
    store, found = Store.open(tmp_path / "wide.zarr"), vectors(tmp_path / "wide.zarr")
    assert min(found.shape[2:]) >= 10
    expected = np.broadcast_to(signal(range(COUNT)) + MEAN[:, None, None], found.shape)
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=1e-6)
    assert store.table("patterned").windows == COUNT  # items, not windows


def test_items_with_windows_of_another_shape_are_kept_and_say_so(compute, tmp_path):
    small = [replace(place(number), buffer_m=20) for number in range(COUNT, COUNT + 2)]
    tree = compute([*range(COUNT), *small], "auto", tmp_path / "mixed.zarr", models="sized")
    statement = Store.open(tmp_path / "mixed.zarr").receipt["positions"]["sized"]["statement"]
    assert statement.endswith("; kept in 2 items with windows of another shape")
    reasons = tree["sized"].reason.to_numpy().tolist()
    side = Store.open(tmp_path / "mixed.zarr").table("sized").window
    assert reasons[:COUNT] == [""] * COUNT
    assert all(one.endswith(f"tokens, and those of the table {side} x {side}") for one in reasons[COUNT:])


def test_removal_is_refused_where_too_few_items_have_imagery(compute, tmp_path):
    faults = tuple((number, "none") for number in range(4))
    with pytest.raises(rs.RsEmbedError, match="only 62 items have a vector of complete imagery"):
        compute(range(COUNT), "removed", tmp_path / "gaps.zarr", provider=Numbers(faults=faults))
    store = Store.open(tmp_path / "gaps.zarr")
    assert "positions" not in store.receipt
    assert store.counts()["patterned"] == {0: COUNT}


def test_a_table_of_numbers_alone_fits_the_model_that_it_is_used_for():
    table = PositionTable.of(CENTRED)
    assert table.fitting(model="a", variant="b", patch_px=4, dim=2, window=4).model == "a"
    assert repr(GRID(positions=CENTRED)).startswith("OutputSpec(mode='grid', positions=PositionTable(model=''")
