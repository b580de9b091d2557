import json

import numpy as np
import pytest
import torch
from PIL import Image

from rs_embed_dask.preprocess import steps
from rs_embed_dask.preprocess.batch import resize, run_steps

X = torch.tensor([[-100.0, 0.0], [2500.0, 12000.0]]).expand(1, 2, 2, 2)

KNOWN = [
    (steps.Clip(0, 10_000), [[0, 0], [2500, 10_000]]),
    (steps.Divide(10_000.0), [[-0.01, 0], [0.25, 1.2]]),
    (steps.Multiply(2.0), [[-200, 0], [5000, 24_000]]),
    (steps.Standard((100.0, 100.0), (50.0, 50.0)), [[-4, -2], [48, 238]]),
    (steps.ValueSpan((1000.0, 1000.0), (250.0, 250.0)), [[-0.6, -0.5], [2, 11.5]]),
    (steps.ValueSpan((1000.0, 1000.0), (250.0, 250.0), float64=True), [[-0.6, -0.5], [2, 11.5]]),
    (steps.MinMax((500.0, 500.0), (1500.0, 1500.0)), [[-0.6, -0.5], [2, 11.5]]),
    (steps.Byte(), [[0, 0], [255, 255]]),
    (steps.Log1p(), np.log1p([[0, 0], [2500, 12_000]])),
    (steps.Stretch(), [[0, 100 / 12_100], [2600 / 12_100, 1]]),
]


@pytest.mark.parametrize(("step", "known"), KNOWN, ids=lambda value: type(value).__name__)
def test_a_step_has_known_answers(step, known):
    given = step.apply(X)
    assert given.dtype == torch.float32
    assert given[0, 1].numpy() == pytest.approx(np.array(known), rel=1e-6)


def test_decibels_become_power():
    power = steps.Linear().apply(torch.tensor([-10.0, 0.0, 3.0]))
    assert power.numpy() == pytest.approx([0.1, 1, 1.9952623], rel=1e-6)


def test_bytes_are_cut_not_rounded():
    assert steps.Byte().apply(torch.tensor([12.999, -3.0, 254.9999])).tolist() == [12, 0, 254]


def test_a_flat_image_stretches_to_zero():
    assert steps.Stretch().apply(torch.full((2, 3, 4, 4), 7.0)).eq(0).all()


def test_stretch_keeps_images_apart():
    pair = torch.stack([X[0], 10 * X[0]])
    assert torch.allclose(*steps.Stretch().apply(pair))


def test_taking_bands_takes_their_statistics():
    step = steps.Standard((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert step.take((2, 0), 3) == steps.Standard((3.0, 1.0), (6.0, 4.0))
    assert steps.Clip(0, 1).take((1,), 2) == steps.Clip(0, 1)


def test_steps_are_json():
    for step, _ in KNOWN:
        told = json.loads(json.dumps(step.to_dict()))
        kind = getattr(steps, told.pop("step"))
        assert kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}) == step


@pytest.mark.parametrize(
    "sides", [(300, 300, 224), (100, 100, 224), (37, 50, 224), (500, 611, 96), (1, 1, 8), (64, 64, 1)]
)
def test_the_8_bit_bicubic_is_pillows(sides):
    height, width, side = sides
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    known = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    given = resize(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (side, side), steps.Resize("bicubic_u8"))
    assert np.array_equal(given[0].permute(1, 2, 0).numpy(), known.astype(np.float32))


def test_a_batch_resizes_as_its_images_do():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 2, 20, 30)).astype(np.float32))
    together = resize(images, (16, 16), steps.Resize("bicubic_u8"))
    assert torch.equal(together[1:2], resize(images[1:2], (16, 16), steps.Resize("bicubic_u8")))


def test_resizing_happens_where_the_card_says():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    late = run_steps(image, (steps.Multiply(2.0), steps.Resize(), steps.Clip(0, 10)), (2, 2))
    assert late[0, 0].tolist() == [[5, 9], [10, 10]]
    first = run_steps(image, (steps.Clip(0, 10),), (2, 2))
    assert first[0, 0].tolist() == [[2.5, 4.5], [10, 10]]


def test_the_centre_is_cut_out_last():
    image = torch.arange(36.0).view(1, 1, 6, 6)
    assert run_steps(image, (), (6, 6), crop=(2, 2))[0, 0].tolist() == [[14, 15], [20, 21]]
