"""The resident embedder: one thread, batches in order of arrival, one culprit alone."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from rs_embed_dask.engine import embedder
from rs_embed_dask.engine.embedder import Embedder, EmbedInput, items_within
from rs_embed_dask.errors import WeightsError
from rs_embed_dask.specs import InputPrep, OutputSpec

POOLED, RESIZE = OutputSpec.pooled(), InputPrep.resize()


class Counting:
    """A model that gives each sample back, and holds its first batch until it is let go."""

    def __init__(self):
        self.weights_info = {}
        self.batches = []
        self.threads = set()
        self.entered, self.go = threading.Event(), threading.Event()

    def embed_cubes(self, samples, output, prep, *, crops=None, outlines=None):
        self.threads.add(threading.get_ident())
        self.batches.append([sample["x"] for sample in samples])
        self.entered.set()
        assert self.go.wait(10)
        if any(sample["x"] == "bad" for sample in samples):
            raise RuntimeError("no memory for bad")
        return [(sample["x"], output.mode) for sample in samples]


@pytest.fixture
def model():
    return Counting()


@pytest.fixture
def actor(model):
    made = Embedder(lambda: model, batch_items=4)
    yield made
    model.go.set()
    made.close()


def sample(x, output=POOLED):
    return EmbedInput({"x": x}, output, RESIZE)


def test_batches_form_from_what_is_queued_when_the_device_is_free(model, actor):
    first = actor.submit(sample(0))
    assert model.entered.wait(10)
    rest = [actor.submit(sample(x)) for x in range(1, 8)]
    model.go.set()
    done = [future.result(10) for future in (first, *rest)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert [one.result for one in done] == [(x, "pooled") for x in range(8)]
    assert sum(one.share for one in done) == pytest.approx(3)
    assert len(model.threads) == 1


def test_a_batch_of_a_slow_device_lasts_two_seconds(model, actor, monkeypatch):
    """Items of 0.7 s: after the first, two a batch."""
    clock = SimpleNamespace(perf_counter=lambda: 0.7 * sum(map(len, model.batches)), monotonic=time.monotonic)
    monkeypatch.setattr(embedder, "time", clock)
    first = actor.submit(sample(0))
    assert model.entered.wait(10)
    rest = [actor.submit(sample(x)) for x in range(1, 6)]
    model.go.set()
    assert [future.result(10).seconds for future in (first, *rest)] == pytest.approx([0.7] * 6)
    assert model.batches == [[0], [1, 2], [3, 4], [5]]


@pytest.mark.parametrize(("item_s", "count"), [(0.0, 32), (0.0625, 32), (0.0626, 31), (0.7, 2), (2.0, 1), (90.0, 1)])
def test_items_within_two_seconds(item_s, count):
    assert items_within(2.0, item_s, at_most=32) == count


def test_samples_of_another_output_are_another_batch(model, actor):
    first = actor.submit(sample(0))
    assert model.entered.wait(10)
    rest = [actor.submit(sample(1)), actor.submit(sample(2, OutputSpec.grid())), actor.submit(sample(3))]
    model.go.set()
    assert [future.result(10).result[1] for future in (first, *rest)] == ["pooled", "pooled", "grid", "pooled"]
    assert model.batches == [[0], [1], [2], [3]]


def test_one_culprit_costs_the_others_nothing(model, actor):
    first = actor.submit(sample(0))
    assert model.entered.wait(10)
    rest = [actor.submit(sample(x)) for x in (1, 2, "bad", 4)]
    model.go.set()
    results = [future.result(10).result for future in (first, *rest)]
    assert [results[place][0] for place in (0, 1, 2, 4)] == [0, 1, 2, 4]
    assert isinstance(results[3], RuntimeError)


def test_the_queue_is_bounded(model, actor):
    assert actor.submit(sample(0)) is not None
    assert model.entered.wait(10)
    for x in range(1, 17):
        actor.submit(sample(x))
    late = threading.Thread(target=actor.submit, args=(sample(17),))
    late.start()
    late.join(0.2)
    assert late.is_alive()
    model.go.set()
    late.join(10)
    assert not late.is_alive()


def test_a_model_that_cannot_be_loaded_raises_for_all_and_is_tried_again():
    tries = []

    def load():
        tries.append(1)
        raise WeightsError("weights", value="x.pt", reason="the file is truncated", fix="fetch it again")

    for _ in range(2):
        actor = embedder.resident("broken", load, 4)
        with pytest.raises(WeightsError, match="truncated"):
            actor.submit(sample(0)).result(10)
    assert len(tries) == 2
    embedder.release()


def test_a_process_has_one_embedder_a_model():
    found = [embedder.resident("one", Counting, 4) for _ in range(3)]
    other = embedder.resident("two", Counting, 4)
    assert found[0] is found[1] is found[2]
    assert other is not found[0]
    assert embedder.release() == 2


def test_an_idle_embedder_is_let_go_when_another_is_built(monkeypatch):
    old = embedder.resident("old", Counting, 4)
    old.used_at -= 601
    embedder.resident("new", Counting, 4)
    assert embedder.resident("old", Counting, 4) is not old
    assert embedder.release() == 2
