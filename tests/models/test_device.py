"""Memory and transfers of a device, on stand-ins: batches that do not fit are halved, and copies wait for nothing."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rs_embed_dask.errors import ModelError
from rs_embed_dask.inference.device import Transfer
from rs_embed_dask.specs import InputPrep, OutputSpec
from tests.models.conftest import cube, ramps

GRID, TILE = OutputSpec.grid(), InputPrep.tile()


def images(count, side=16):
    return [{"s2": cube(ramps(side, side) + i, bands=("red", "nir"))} for i in range(count)]


@pytest.fixture
def small(mirror, monkeypatch):
    """Make a model on a device whose memory holds so many images, and note the batches that it is given."""

    def make(room):
        model, given = mirror(), []
        forward = model.encoder.forward

        def limited(batch):
            given.append(len(batch))
            if len(batch) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")
            return forward(batch)

        monkeypatch.setattr(model.encoder, "forward", limited)
        return model, given

    return make


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(small):
    model, given = small(3)
    results = model.embed_cubes(images(7))
    assert [round(float(one.values[0])) for one in results] == [800 + i for i in range(7)]
    assert given == [7, 3, 3, 1]
    assert model.max_images == 3
    given.clear()
    model.embed_cubes(images(4))
    assert given == [3, 1]


def test_the_tiles_of_one_image_are_halved_too(small, mirror):
    (whole,) = mirror().embed_cubes(images(1, side=64), GRID, TILE)
    model, given = small(5)
    (result,) = model.embed_cubes(images(1, side=64), GRID, TILE)
    assert np.array_equal(result.values, whole.values)
    assert given == [8, 4, 4, 4, 4]


def test_an_image_that_never_fits_fails_alone(small):
    model, given = small(0)
    results = model.embed_cubes(images(2))
    assert given == [2, 1, 1]
    for result in results:
        assert isinstance(result, ModelError)
        assert "memory of cpu: CUDA out of memory. Tried to allocate 2.00 GiB. Fix: use a smaller image" in str(result)
        assert "documentation" not in str(result)


def test_the_next_batch_is_begun_before_one_is_waited_for(mirror, monkeypatch):
    model, order = mirror(), []
    model.max_images = 2
    begin = model._transfer.to_host

    def noted(tensor):
        number, wait = order.count("begun"), begin(tensor)
        order.append("begun")

        def waited():
            order.append(f"waited for {number}")
            return wait()

        return waited

    monkeypatch.setattr(model._transfer, "to_host", noted)
    results = model.embed_cubes(images(5))
    assert order == ["begun", "begun", "waited for 0", "begun", "waited for 1", "waited for 2"]
    assert [round(float(one.values[0])) for one in results] == [800 + i for i in range(5)]


class OnGpu:
    """A tensor that notes what is done to it."""

    def __init__(self, did):
        self.did = did

    def pin_memory(self):
        self.did.append("pinned")
        return self

    def to(self, device, *, non_blocking):
        self.did.append(f"to {device}, waiting: {not non_blocking}")
        return self

    def record_stream(self, stream):
        self.did.append(f"kept for {stream}")

    def float(self):
        return self

    def numpy(self):
        self.did.append("read")
        return np.arange(3, dtype=np.float32)


@pytest.fixture
def did(monkeypatch):
    """What is asked of CUDA, which is not here, in order."""
    steps = []

    @contextmanager
    def stream(of):
        steps.append(f"on {of.name}")
        yield
        steps.append(f"off {of.name}")

    class Computing(str):
        __slots__ = ()

        def wait_stream(self, other):
            steps.append(f"{self} waits for {other.name}")

    computing = Computing("computing")
    event = SimpleNamespace(
        record=lambda on: steps.append("event" if on is computing else "event elsewhere"),
        synchronize=lambda: steps.append("event reached"),
    )
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(name="copies"))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    return steps


def test_copies_to_a_gpu_have_a_stream_of_their_own(did):
    Transfer(torch.device("cuda", 1)).to_device(OnGpu(did))
    expected = ["pinned", "on copies", "to cuda:1, waiting: False", "off copies", "computing waits for copies"]
    assert did == [*expected, "kept for computing"]


def test_copies_from_a_gpu_are_waited_for_when_they_are_read(did):
    wait = Transfer(torch.device("cuda")).to_host(OnGpu(did))
    assert did == ["to cpu, waiting: False", "event"]
    assert wait().tolist() == [0, 1, 2]
    assert did[2:] == ["event reached", "read"]
