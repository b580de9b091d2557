"""Whatever is given, a spec is made or an error of ours says why not."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rs_embed_dask.errors import RsEmbedError
from rs_embed_dask.imagery.dates import Frames, Span
from rs_embed_dask.imagery.grid import Grid, Window, grid_for
from rs_embed_dask.specs import (
    BBox,
    FetchSpec,
    InputPrep,
    ModelSpec,
    OutputSpec,
    PointBuffer,
    Polygon,
    SensorSpec,
    TemporalSpec,
    spans,
    spatial_from_dict,
)
from rs_embed_dask.specs.places import places

NUMBERS = [True, 0, -1, 1.5, math.nan, math.inf, 10**400, 2022, np.float32(2), np.bool_(False), 1 + 2j]
TEXTS = ["", " ", "x", "2022", "2022-01-01", b"x", "EPSG:4326", "\x00", "a?sig=b"]
DAYS = [dt.date(2022, 1, 1), dt.datetime(2022, 1, 1, tzinfo=dt.UTC), np.datetime64("NaT", "D"), np.datetime64("2022")]
GROUPS = [[], (), {}, {1: 2}, set(), range(3), [1, 2], (1, 2), (1, 2, 3), np.array([1, 2]), np.zeros((2, 2))]
MAPPINGS = [{"type": 5}, {"type": []}, {"type": "Feature", "geometry": {}}, {"type": "Polygon", "coordinates": [[1]]}]
OTHERS = [None, int, object(), print, BBox(0, 0, 1, 1), TemporalSpec.year(2022)]
ANYTHING = st.sampled_from(NUMBERS + TEXTS + DAYS + GROUPS + MAPPINGS + OTHERS)

DOORS = {
    "BBox": (BBox, 5),
    "PointBuffer": (PointBuffer, 4),
    "Polygon": (Polygon, 2),
    "Polygon.from_geometry": (Polygon.from_geometry, 2),
    "Polygon.from_coordinates": (Polygon.from_coordinates, 2),
    "spatial_from_dict": (spatial_from_dict, 1),
    "BBox.from_dict": (BBox.from_dict, 1),
    "BBox.from_json": (BBox.from_json, 1),
    "TemporalSpec": (TemporalSpec, 2),
    "TemporalSpec.range": (TemporalSpec.range, 2),
    "TemporalSpec.of": (TemporalSpec.of, 1),
    "TemporalSpec.from_dict": (TemporalSpec.from_dict, 1),
    "spans": (lambda temporal: spans(temporal, 2), 1),
    "SensorSpec": (SensorSpec, 4),
    "FetchSpec": (FetchSpec, 6),
    "OutputSpec": (OutputSpec, 3),
    "InputPrep": (InputPrep, 4),
    "ModelSpec": (ModelSpec, 9),
    "ModelSpec.of": (ModelSpec.of, 1),
    "places": (lambda source, crs, buffer_m: places(source, crs, buffer_m=buffer_m), 3),
    "Grid": (Grid, 3),
    "Window": (Window, 4),
    "grid_for": (lambda place, resolution, crs: grid_for(place, resolution, crs=crs), 3),
    "Span": (Span, 2),
    "Frames": (Frames, 4),
}


def outcome(make, values):
    try:
        return repr(make(*values))
    except RsEmbedError as error:
        return error


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=60)
@given(data=st.data())
def test_nothing_else_comes_out(door, data):
    make, count = DOORS[door]
    made = outcome(make, data.draw(st.lists(ANYTHING, min_size=count, max_size=count)))
    if isinstance(made, RsEmbedError):
        assert made.reason
        assert made.fix
        assert "?" not in str(made)
        assert len(str(made)) < 700
