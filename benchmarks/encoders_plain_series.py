"""TESSERA as its authors run it: PyTorch's own encoder layers, a loop over dates where there is a recurrence."""

from __future__ import annotations

import math

import torch
from torch import nn

AT_ONCE = 1024  # pixels
DAY_STEP = 9


class PlainCell(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.inputs = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))
        self.states = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(3))

    def forward(self, x, state):
        r, z = (torch.sigmoid(self.inputs[i](x) + self.states[i](state)) for i in range(2))
        new = torch.tanh(self.inputs[2](x) + self.states[2](r * state))
        return (1 - z) * state + z * new


class PlainBackbone(nn.Module):
    def __init__(self, bands, config):
        super().__init__()
        dim = config.dim
        self.dim, self.norm = dim, nn.LayerNorm(dim)
        self.embed = nn.Sequential(nn.Linear(bands, dim), nn.ReLU(), nn.Linear(dim, dim))
        layer = nn.TransformerEncoderLayer(dim, config.heads, config.hidden, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, config.depth)
        self.cell = PlainCell(dim) if config.context == "gru" else None
        self.query = nn.Linear(dim, 1)

    def forward(self, x, days):
        steps = torch.exp(torch.arange(0, self.dim, 2, device=x.device) * -(math.log(10000.0) / self.dim))
        code = torch.zeros(*days.shape, self.dim, device=x.device)
        code[..., 0::2], code[..., 1::2] = torch.sin(days[..., None] * steps), torch.cos(days[..., None] * steps)
        x = self.blocks(self.embed(x) + code)
        weights = torch.softmax(self.query(x if self.cell is None else self.context(x)), dim=1)
        return (weights * x).sum(1)

    def context(self, x):
        state, states = torch.zeros_like(x[:, 0]), []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            states.append(state)
        return self.norm(torch.stack(states, dim=1))


class PlainTessera(nn.Module):
    """Each pixel of (B, T, 10, H, W) is a series, and one of radar of twice as many dates."""

    def __init__(self, config):
        super().__init__()
        self.s2, self.s1 = PlainBackbone(10, config), PlainBackbone(2, config)
        dim = 2 * config.dim
        mlp = [nn.Linear(dim, 2 * dim), nn.LayerNorm(2 * dim), nn.ReLU(), nn.Linear(2 * dim, config.out)]
        self.head = nn.Linear(dim, config.out) if config.head == "linear" else nn.Sequential(*mlp)

    def forward(self, frames):
        pixels = frames.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B H W, T, C)
        return torch.cat([self.part(part) for part in pixels.split(AT_ONCE)])

    def part(self, x):
        radar = torch.cat([x[..., :2], x[..., 2:4]], dim=1)
        pairs = ((self.s2, x), (self.s1, radar))
        return self.head(torch.cat([backbone(one, self.days(one)) for backbone, one in pairs], dim=1))

    def days(self, x):
        return (torch.arange(x.shape[1], device=x.device) * DAY_STEP % 366).expand(x.shape[:2])
