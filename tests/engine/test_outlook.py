"""What a plan knows before a read: where the places are, spans that no provider has, and faults of every item."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pytest
import shapely

import rs_embed_dask as rs
from rs_embed_dask.engine.local import embed_items
from rs_embed_dask.errors import LicenceError, SpecError, StoreError, WeightsError
from rs_embed_dask.inference.device import choose_device
from rs_embed_dask.providers.stac.planetary_computer import PlanetaryComputer
from rs_embed_dask.specs import ModelSpec
from rs_embed_dask.specs.columns import PlaceList, PointColumn, ShapeColumn
from tests.engine.fakes import Numbers

JUNE = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
PLACE = rs.PointBuffer(4.5, 50.7, buffer_m=160)


def outlook(models, temporal=JUNE, place=PLACE, provider="synthetic", **more):
    return rs.plan(place, models, temporal, provider=provider, **more).outlook


def test_the_extent_shows_swapped_coordinates():
    there, swapped = (
        rs.plan(rs.BBox(*box), "rcf", JUNE, provider="synthetic")
        for box in ((4.4, 50.7, 4.5, 50.8), (50.7, 4.4, 50.8, 4.5))
    )
    assert there.outlook.extent == pytest.approx((4.4, 50.7, 4.5, 50.8))
    assert "longitude 4.4 to 4.5, latitude 50.7 to 50.8" in str(there)
    assert "longitude 50.7 to 50.8, latitude 4.4 to 4.5" in str(swapped)
    assert there.to_dict()["outlook"]["extent"] == there.outlook.extent


def test_the_extent_of_every_kind_of_column():
    points = PointColumn.of(
        shapely.get_coordinates(shapely.MultiPoint([(4, 60), (5, 50)])), buffer_m=1110, crs="EPSG:4326"
    )
    assert points.extent() == pytest.approx((3.98, 49.99, 5.02, 60.01))  # at 60 degrees twice as wide as high
    assert PlaceList(list(points)).extent() == pytest.approx(points.extent(), abs=0.01)
    boxes = [rs.BBox(179.9, -10, -179.9, -9), rs.BBox(170, -12, 171, -11)]
    assert PlaceList(boxes).extent() == pytest.approx((170, -12, 180.1, -9))
    square = np.array([shapely.box(500_000, 5_600_000, 510_000, 5_610_000)], dtype=object)
    west, south, east, north = ShapeColumn(square, "EPSG:32631").extent()
    assert (west, south) == pytest.approx((3.0, 50.5511), abs=1e-3)
    assert (east, north) == pytest.approx((3.1414, 50.641), abs=1e-3)


@pytest.mark.parametrize(
    ("models", "temporal", "message"),
    [
        (
            "rcf",
            rs.TemporalSpec.year(2014),
            "2014-01-01 to 2015-01-01: no provider has scenes of sentinel-2-l2a before 2015-06-27",
        ),
        ("gse", rs.TemporalSpec.year(2012), "gse is published for 2017 to 20"),
        ("rcf", (dt.date(2090, 1, 1), dt.date(2090, 2, 1)), "2090-01-01 to 2090-02-01 lies in the future"),
    ],
)
def test_a_span_that_no_provider_has_is_a_warning_and_a_line_of_the_plan(models, temporal, message):
    span = temporal if isinstance(temporal, rs.TemporalSpec) else rs.TemporalSpec.range(*temporal)
    with pytest.warns(UserWarning, match="give another span") as caught:
        planned = rs.plan(PLACE, models, span, provider=PlanetaryComputer())
    assert message in str(caught[0].message)
    assert message in planned.outlook.missing[0]
    assert "missing" in str(planned)


def test_a_landscape_of_ones_own_has_any_span():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outlook("rcf", rs.TemporalSpec.year(2014)).missing == ()


FAULTS = {
    "licence": (ModelSpec("satmae"), LicenceError, "accept_licence=True"),
    "file": (ModelSpec("galileo", weights="/nowhere/encoder.pt"), WeightsError, "there is no such file"),
    "device": (ModelSpec("rcf", device="cuda:63"), SpecError, "cuda device"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_every_item_would_meet_is_said_by_the_plan_and_refused_before_anything_is_written(name, tmp_path):
    spec, kind, message = FAULTS[name]
    (fault,) = outlook(spec).faults
    assert message in fault
    out = tmp_path / "run.zarr"
    with pytest.raises(kind, match=message):
        rs.compute_embeddings(PLACE, spec, JUNE, out=out, provider="synthetic", progress=False)
    with pytest.raises(kind, match=message):
        rs.compute_map(rs.BBox(4.4, 50.7, 4.41, 50.71), spec, JUNE, out=out, provider="synthetic", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file/run.zarr", "NotADirectoryError.*Fix: choose a place"),
        ("nowhere://bucket/run.zarr", "Protocol not known"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_before_the_first_read(out, message, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "reads").mkdir()
    target = out if "://" in out else tmp_path / out
    with pytest.raises(StoreError, match=message):
        rs.compute_embeddings(
            rs.PointBuffer(2, 50, 40),
            "rcf",
            JUNE,
            out=target,
            provider=Numbers(str(tmp_path / "reads")),
            progress=False,
        )
    with pytest.raises(StoreError, match=message):
        rs.compute_map(rs.BBox(4.4, 50.7, 4.41, 50.71), "rcf", JUNE, out=target, provider="synthetic", progress=False)
    assert not list((tmp_path / "reads").iterdir())  # each read would leave a mark


def test_weights_that_can_only_be_given_by_hand():
    (fault,) = outlook(ModelSpec("agrifm")).faults
    assert "the file is not on this machine" in fault
    assert outlook(ModelSpec("agrifm", weights="random")).faults == ()


def test_in_this_process_too_a_fault_comes_before_the_first_read(tmp_path):
    planned = rs.plan(
        rs.PointBuffer(2, 50, 40), ModelSpec("rcf", device="cuda:63"), JUNE, provider=Numbers(str(tmp_path))
    )
    with pytest.raises(SpecError, match="cuda device"):
        next(embed_items(planned))
    assert not list(tmp_path.iterdir())  # each read would leave a mark


def test_a_device_is_chosen_where_there_is_one():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(SpecError, match=r"ModelSpec.device = 'cuda:63': this machine has .*cuda device"):
        choose_device("cuda:63")
