"""TESSERA through a STAC service: every acquisition of a pixel, and the authors' arithmetic written out in NumPy."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

import rs_embed_dask as rs
from rs_embed_dask.cards.tessera_encoder import CARD
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.preprocess.steps import floats
from rs_embed_dask.specs.ground import WGS84, project
from tests.services.catalog import Scene
from tests.services.reads import provider
from tests.services.scenes import CORNER, layer, s2_scene, when

BANDS = ("B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12")
COARSE = {"B8A", "B05", "B06", "B07", "B11", "B12", "SCL"}
SIDE, EDGE, FILE = 8, 20, 120  # pixels of the place, of what lies before it, of a file
OPTICAL = ("2022-01-05", "2022-01-20", "2022-03-01", "2022-03-11", "2022-06-01", "2022-06-16", "2022-09-09")
TWICE = "2022-06-01"
RADAR = {"ascending": ("2022-02-03", "2022-05-04", "2022-08-01"), "descending": ("2022-02-03", "2022-07-07")}
CLEAR, CLOUD, CIRRUS = 4, 9, 10
MISSING = -32_768.0
MODEL = rs.ModelSpec("tessera_encoder", weights="random", device="cpu")


def centre():
    middle = (EDGE + SIDE / 2) * 10
    return project("EPSG:32631", WGS84, CORNER[0] + middle, CORNER[1] - middle)


PLACE = rs.PointBuffer(*map(float, centre()), buffer_m=SIDE * 5)


def made(name, values, **more):
    """A file whose pixels are the values in the place, (8, 8), and the number 1 around it."""
    step = 2 if name in COARSE else 1
    whole = np.ones((FILE // step, FILE // step))
    inside = slice(EDGE // step, (EDGE + SIDE) // step)
    whole[inside, inside] = values[::step, ::step]
    return layer(name, whole, pixel=10.0 * step, **more)


def coarse(values):
    """The same number in each 2 x 2 pixels, which are one of the file."""
    return np.repeat(np.repeat(values[::2, ::2], 2, 0), 2, 1)


def optical(number, date, tile="31UFS", hour="10:00:00"):
    """Numbers as stored (10, 8, 8), classes (8, 8), and the scene that holds them."""
    draw = np.random.default_rng(number)
    stored = draw.integers(1200, 5000, (len(BANDS), SIDE, SIDE))
    stored[:, 2, 2:4] = 640  # below the offset
    stored = np.stack([coarse(one) if name in COARSE else one for name, one in zip(BANDS, stored, strict=True)])
    classes = coarse(draw.choice([CLEAR, CIRRUS, CLOUD], (SIDE, SIDE)))
    classes[6:, 6:] = CLOUD
    layers = [made(name, one) for name, one in zip(BANDS, stored, strict=True)]
    layers.append(made("SCL", classes, dtype="uint8"))
    baseline = "03.01" if date <= "2022-01-25" else "04.00"
    more = {"bands": (), "scl": None, "layers": layers, "baseline": baseline, "tile": tile}
    return stored, classes, s2_scene(f"S2_{number}", f"{date}T{hour}", **more)


def radar(number, date, orbit):
    """Numbers as the authors store them (2, 8, 8), 0 where there are none, and the scene that holds their power."""
    codes = np.random.default_rng(number).integers(2500, 7500, (2, SIDE, SIDE))
    power = (10 ** ((codes + 0.5 - 10_000) / 4000)).astype("float32")
    power[1, 0, 0], codes[1, 0, 0] = 1e-4, 0  # too weak for their integers
    power[:, 6:, 6:], codes[:, 6:, 6:] = MISSING, 0
    layers = tuple(made(n, one, dtype="float32", nodata=MISSING) for n, one in zip(("vv", "vh"), power, strict=True))
    about = {"platform": "SENTINEL-1A", "sat:orbit_state": orbit}
    return codes, Scene(f"S1_{number}", "sentinel-1-rtc", when(f"{date}T06:00:00"), "EPSG:32631", layers, about)


def day(date):
    return dt.date.fromisoformat(date).timetuple().tm_yday


def padded(count):
    """v2's dates, worked out apart from the package."""
    extra = -count % 8
    if count == 0:
        return None
    halves = [part[len(part) // 2] for part in np.array_split(np.arange(count), extra)] if 0 < extra <= count else []
    return [*range(count), *(halves or (i % count for i in range(extra)))]


def backbone(weights, sensor, values, days):
    """One series (T, C) with its days to a vector, in float64."""
    own = {n.removeprefix(f"{sensor}_backbone."): v for n, v in weights.items() if n.startswith(sensor)}
    linear = lambda x, name: x @ own[f"{name}weight"].T + own[f"{name}bias"]
    x = linear(np.maximum(linear(values, "embedding.0."), 0), "embedding.2.")
    dim = x.shape[1]
    angles = np.asarray(days, float)[:, None] * np.exp(np.arange(0, dim, 2) * -(np.log(10_000) / dim))
    x[:, 0::2] += np.sin(angles)
    x[:, 1::2] += np.cos(angles)
    for number in range(2):
        part = f"transformer_encoder.layers.{number}."
        qkv = linear(x, f"{part}self_attn.in_proj_").reshape(len(x), 3, 4, -1).transpose(1, 2, 0, 3)
        scores = softmax(qkv[0] @ qkv[1].transpose(0, 2, 1) / np.sqrt(qkv.shape[-1]), -1)
        mixed = (scores @ qkv[2]).transpose(1, 0, 2).reshape(x.shape)
        x = normed(x + linear(mixed, f"{part}self_attn.out_proj."))
        x = x * own[f"{part}norm1.weight"] + own[f"{part}norm1.bias"]
        x = normed(x + linear(np.maximum(linear(x, f"{part}linear1."), 0), f"{part}linear2."))
        x = x * own[f"{part}norm2.weight"] + own[f"{part}norm2.bias"]
    return (softmax(linear(x, "attn_pool.query."), 0) * x).sum(0) if len(x) > 1 else x[0]


def softmax(x, axis):
    raised = np.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def vector(weights, s2, s1):
    """Both series, lists of (day, standardised numbers), to the vector of a pixel."""
    if not s2 and not s1:
        return np.full(128, np.nan)
    parts = []
    for sensor, series, bands in (("s2", s2, 10), ("s1", s1, 2)):
        rows = padded(len(series)) if series else None
        days = [0] if rows is None else [series[row][0] for row in rows]
        values = np.zeros((1, bands)) if rows is None else np.array([series[row][1] for row in rows])
        parts.append(backbone(weights, sensor, values, days))
    linear = lambda x, n: x @ weights[f"dim_reducer.{n}.weight"].T + weights[f"dim_reducer.{n}.bias"]
    inner = normed(linear(np.concatenate(parts), 0)) * weights["dim_reducer.1.weight"] + weights["dim_reducer.1.bias"]
    return normed(linear(np.maximum(inner, 0), 4))


@pytest.fixture
def year():
    """Scenes of a year, and by pixel what a model should see of them."""
    shown = [(date, *optical(number, date)) for number, date in enumerate(OPTICAL)]
    second = (TWICE, *optical(50, TWICE, tile="31UFT", hour="10:00:04"))
    passes = [(orbit, date) for orbit, dates in RADAR.items() for date in dates]
    flown = [(orbit, date, *radar(100 + i, date, orbit)) for i, (orbit, date) in enumerate(passes)]
    told = dict(CARD.variants[0].config)
    numbers = {name: list(map(floats, told[name].split(";"))) for name in ("s2", "s1_asc", "s1_desc")}

    def standard(values, name):
        return (np.asarray(values, float) - numbers[name][0]) / (np.asarray(numbers[name][1]) + 1e-9)

    def series(row, column):
        s2, s1 = [], []
        for date, stored, classes, _ in shown:
            seen = [(stored, classes)] + ([second[1:3]] if date == TWICE else [])
            for values, own in seen:
                if own[row, column] != CLOUD:
                    dn = values[:, row, column]
                    whole = dn if date <= "2022-01-25" else np.where(dn >= 1000, dn - 1000, dn)
                    s2.append((day(date), standard(whole, "s2")))
                    break
        for orbit, date, codes, _ in flown:
            if codes[:, row, column].any():
                s1.append((day(date), standard(codes[:, row, column], "s1_asc" if orbit == "ascending" else "s1_desc")))
        return s2, s1

    return [*(one[-1] for one in shown), second[-1], *(one[-1] for one in flown)], series


def test_a_year_through_planetary_computer_equals_the_authors_arithmetic(plain, year):
    scenes, series = year
    weights = load_model(MODEL).encoder.state_dict()
    weights = {name: value.double().numpy() for name, value in weights.items()}
    wanted = np.array([[vector(weights, *series(row, column)) for column in range(SIDE)] for row in range(SIDE)])
    ask = {"provider": provider(plain(*scenes)), "output": rs.OutputSpec.grid()}
    found = rs.get_embedding(MODEL, PLACE, rs.TemporalSpec.year(2022), **ask)
    given = np.moveaxis(np.asarray(found.data), 0, -1)
    seen = np.isfinite(wanted)
    assert np.array_equal(np.isfinite(given), seen)
    assert not seen[6:, 6:].any()
    assert seen[..., 0].sum() == SIDE * SIDE - 4
    assert np.linalg.norm((given - wanted)[seen]) < 3e-6 * np.linalg.norm(wanted[seen])
    assert [str(start) for start, _ in found.meta["frames"]] == list(OPTICAL)
    assert len(found.meta["valid_fraction"]) == len(OPTICAL)
    assert (found.meta["status"], found.meta["note"]) == ("ok", "")


def test_without_radar_or_with_one_orbit_what_is_there_is_used(plain, year):
    scenes, series = year
    weights = {name: value.double().numpy() for name, value in load_model(MODEL).encoder.state_dict().items()}
    ask = {"provider": provider(plain(*scenes[: len(OPTICAL) + 1])), "output": rs.OutputSpec.grid()}
    found = rs.get_embedding(MODEL, PLACE, rs.TemporalSpec.year(2022), **ask)
    wanted = vector(weights, series(1, 1)[0], [])
    assert np.asarray(found.data)[:, 1, 1] == pytest.approx(wanted, abs=1e-5)
