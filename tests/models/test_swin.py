"""Attention in windows against a slow one, written out token by token."""

import itertools
import math

import numpy as np
import pytest
import torch

from rs_embed_dask.models.swin import PatchMerging, WindowAttention, attend_in_windows


def slowly(attention, x, shift):
    """Every token attends to those of its window, after a roll, whose way to it crosses no edge of the map."""
    window, heads, dim = attention.window, attention.heads, x.shape[-1]
    shape = [math.ceil(side / w) * w for side, w in zip(x.shape[:-1], window, strict=True)]
    shift = [0 if side <= w else step for side, w, step in zip(shape, window, shift, strict=True)]
    places = list(itertools.product(*map(range, shape)))
    padded = np.zeros((*shape, dim), np.float32)
    padded[tuple(slice(side) for side in x.shape[:-1])] = x
    weight, bias = (value.numpy() for value in (attention.qkv.weight, attention.qkv.bias))
    q, k, v = np.split(padded @ weight.T + bias, 3, axis=-1)
    table = attention.relative_position_bias_table.numpy().reshape(*(2 * w - 1 for w in window), heads)

    def home(place):
        rolled = [(p - step) % side for p, step, side in zip(place, shift, shape, strict=True)]
        wrapped = tuple(p < step for p, step in zip(place, shift, strict=True))
        return tuple(p // w for p, w in zip(rolled, window, strict=True)), wrapped, rolled

    out = np.zeros_like(padded)
    for place in places:
        mine, others = home(place), [other for other in places if home(other)[:2] == home(place)[:2]]
        offsets = [tuple(a - b + w - 1 for a, b, w in zip(mine[2], home(o)[2], window, strict=True)) for o in others]
        for head in range(heads):
            part = slice(head * dim // heads, (head + 1) * dim // heads)
            logits = np.array([q[place][part] @ k[other][part] for other in others]) / math.sqrt(dim // heads)
            powers = np.exp(logits + [table[(*offset, head)] for offset in offsets])
            out[place][part] = powers / powers.sum() @ np.array([v[other][part] for other in others])
    out = out @ attention.proj.weight.numpy().T + attention.proj.bias.numpy()
    return out[tuple(slice(side) for side in x.shape[:-1])]


@pytest.mark.parametrize(
    ("shape", "window", "shift"),
    [
        ((6, 9), (3, 3), (0, 0)),
        ((6, 9), (3, 3), (1, 1)),
        ((5, 7), (3, 3), (1, 1)),
        ((2, 7), (3, 3), (1, 1)),
        ((4, 6, 5), (2, 3, 3), (1, 1, 1)),
    ],
)
def test_windows(shape, window, shift):
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, window).requires_grad_(requires_grad=False)
    attention.relative_position_bias_table.normal_()
    x = torch.randn(2, *shape, 8)
    given = attend_in_windows(attention, x, shift).numpy()
    for item, known in zip(given, x.numpy(), strict=True):
        assert item == pytest.approx(slowly(attention, known, shift), abs=1e-5)


def test_four_tokens_become_one():
    merging = PatchMerging(1).requires_grad_(requires_grad=False)
    merging.reduction.weight.copy_(torch.eye(4)[:2])
    x = torch.arange(15.0).view(1, 3, 5, 1)
    merged = merging(x)
    assert merged.shape == (1, 2, 3, 2)
    four = torch.tensor([1.0, 6.0, 2.0, 7.0])  # down first, then across
    known = (four - four.mean()) / four.std(correction=0)
    x[0, :2, :2, 0] = torch.tensor([[1.0, 2.0], [6.0, 7.0]])
    assert merging(x)[0, 0, 0].tolist() == pytest.approx(known[:2].tolist(), abs=1e-4)
