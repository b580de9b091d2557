"""From what was typed to specs; every bad word is refused with the value, the reason and the fix."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rs_embed_dask.cli import request as read
from rs_embed_dask.cli.options import CliMapOptions, CliOptions, PlaceOptions, StorageOptions, TimeOptions
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.specs import BBox, FetchSpec, ModelSpec, OutputSpec, PointBuffer, TemporalSpec

GOOD = CliOptions(point=["4.35,50.85,500"], model=["rcf"], year=2022, provider="synthetic")


def changed(**fields):
    return dataclasses.replace(GOOD, **fields)


def test_points_and_boxes_come_after_the_file(tmp_path):
    path = tmp_path / "towns.geojson"
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [5.57, 50.63]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [point]}), "utf-8")
    options = PlaceOptions(places=path, point=["4.35,50.85,500"], bbox=["4.3,50.8,4.4,50.9"], buffer=250.0)
    found = read.places_from(options)
    assert found == [
        PointBuffer(5.57, 50.63, buffer_m=250),
        PointBuffer(4.35, 50.85, buffer_m=500),
        BBox(4.3, 50.8, 4.4, 50.9),
    ]


def test_options_of_a_service_are_texts():
    words = ["account_name=1234", "allow_http=true", "endpoint=http://host/a=b"]
    texts = {"account_name": "1234", "allow_http": "true", "endpoint": "http://host/a=b"}
    assert read.storage_from(StorageOptions(words)) == texts
    assert read.storage_from(StorageOptions()) is None


def test_a_year_or_a_range():
    assert read.span_from(TimeOptions(year=2022)) == TemporalSpec.year(2022)
    ranged = read.span_from(TimeOptions(start="2022-06-01", end="2022-09-01"))
    assert ranged == TemporalSpec.range("2022-06-01", "2022-09-01")


def test_models_by_id_variant_and_modality():
    options = changed(model=["galileo:nano:s1", "rcf"], device="cpu", dtype="float32", accept_licence=True)
    first, second = read.models_from(options)
    assert first == ModelSpec(
        "galileo", variant="nano", modality="s1", device="cpu", dtype="float32", accept_licence=True
    )
    assert second.id == "rcf"
    assert second.weights == "auto"


def test_weights_for_all_or_for_one(tmp_path):
    everything = read.models_from(changed(model=["galileo", "rcf"], weights=["random"]))
    assert [spec.weights for spec in everything] == ["random", "random"]
    one = read.models_from(changed(model=["galileo", "rcf"], weights=["galileo=encoder.pt"]))
    assert [spec.weights for spec in one] == ["encoder.pt", "auto"]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    path = tmp_path / "run=3.pt"
    path.write_bytes(b"")
    (spec,) = read.models_from(changed(model=["galileo"], weights=[str(path)]))
    assert spec.weights == str(path)


def test_choices_for_all_models_or_for_one():
    options = changed(model=["galileo:nano", "rcf"], model_option=["seed=3", "galileo:nano.patch_px=4"])
    first, second = read.models_from(options)
    assert dict(first.options) == {"seed": 3, "patch_px": 4}
    assert dict(second.options) == {"seed": 3}


def test_outputs():
    assert read.output_from(changed(pooling="max")) == OutputSpec.pooled("max")
    assert read.output_from(changed(output="grid")) == OutputSpec.grid()
    assert read.output_from(changed(output="grid", positions="auto")) == OutputSpec.grid(positions="auto")
    assert read.output_from(changed(output="grid", positions="run.zarr")).positions == "run.zarr"
    with pytest.raises(UnknownNameError, match="did you mean 'removed'"):
        read.output_from(changed(output="grid", positions="remove"))
    with pytest.raises(SpecError, match="no position in a window"):
        read.output_from(changed(positions="auto"))


def test_settings_are_json_where_they_can_be():
    assert read.setting("seed=7") == ("seed", 7)
    assert read.setting('bands=["red","nir"]') == ("bands", ["red", "nir"])
    assert read.setting("path=images/a=b.tif") == ("path", "images/a=b.tif")


def test_the_whole_request():
    request = read.request_from(changed(resolution_m=20.0, mask="none", sensor="sentinel-2-l2a", prep="tile"))
    assert request.places == [PointBuffer(4.35, 50.85, buffer_m=500)]
    assert request.span == TemporalSpec.year(2022)
    assert [spec.id for spec in request.models] == ["rcf"]
    assert request.keywords["fetch"].resolution_m == 20.0
    assert request.keywords["fetch"].mask == "none"
    assert request.keywords["sensor"].collection == "sentinel-2-l2a"
    assert request.keywords["prep"].mode == "tile"
    assert request.keywords["provider"].name == "synthetic"


def test_without_a_provider_the_choice_is_left_open():
    assert read.request_from(changed(provider="auto")).keywords["provider"] == "auto"


BAD = {
    "no place": ({"point": []}, SpecError, "no place was given"),
    "no such file": ({"places": "missing.geojson"}, SpecError, "no such file"),
    "point with two numbers": ({"point": ["4.35,50.85"]}, SpecError, "3 numbers are needed, not 2"),
    "point with a word": ({"point": ["4.35,north,500"]}, SpecError, "not every part is a number"),
    "point out of range": ({"point": ["190,50,500"]}, SpecError, "Fix:"),
    "point without size": ({"point": ["4.35,50.85,0"]}, SpecError, "Fix:"),
    "point not finite": ({"point": ["nan,50.85,500"]}, SpecError, "Fix:"),
    "box with three numbers": ({"bbox": ["1,2,3"]}, SpecError, "4 numbers are needed, not 3"),
    "box upside down": ({"bbox": ["4,51,5,50"]}, SpecError, "Fix:"),
    "no model": ({"model": []}, SpecError, "no model was named"),
    "empty model": ({"model": [":nano"]}, SpecError, "id:variant:modality"),
    "model with four parts": ({"model": ["galileo:nano:s1:x"]}, SpecError, "id:variant:modality"),
    "no span": ({"year": None}, SpecError, "no span was given"),
    "year and range": ({"start": "2022-01-01"}, SpecError, "together"),
    "only a start": ({"year": None, "start": "2022-01-01"}, SpecError, "only one end"),
    "only an end": ({"year": None, "end": "2022-01-01"}, SpecError, "only one end"),
    "no real day": ({"year": None, "start": "2022-02-30", "end": "2022-03-02"}, SpecError, "Fix:"),
    "end before start": ({"year": None, "start": "2022-03-02", "end": "2022-03-01"}, SpecError, "Fix:"),
    "year too early": ({"year": 1901}, SpecError, "Fix:"),
    "no such output": ({"output": "map"}, SpecError, "there is no such output"),
    "no such pooling": ({"pooling": "median"}, UnknownNameError, "Fix:"),
    "no such prep": ({"prep": "crop"}, UnknownNameError, "Fix:"),
    "no such mask": ({"mask": "sci"}, UnknownNameError, "scl"),
    "no such composite": ({"composite": "mean"}, UnknownNameError, "median"),
    "cloud over a hundred": ({"max_cloud_pct": 130.0}, SpecError, "Fix:"),
    "no resolution": ({"resolution_m": 0.0}, SpecError, "Fix:"),
    "no such device": ({"device": "tpu"}, SpecError, "Fix:"),
    "no such dtype": ({"dtype": "float8"}, UnknownNameError, "Fix:"),
    "weights of another model": ({"weights": ["dofa=x.pt"]}, SpecError, "no --model has this name"),
    "choice of another model": ({"model_option": ["dofa.x=1"]}, SpecError, "no --model has this name"),
    "choice without a value": ({"model_option": ["patch_px"]}, SpecError, "NAME=VALUE"),
    "no such provider": ({"provider": "planetery_computer"}, UnknownNameError, "planetary_computer"),
    "option without a value": ({"provider_option": ["seed"]}, SpecError, "NAME=VALUE"),
    "option for no provider": ({"provider": "auto", "provider_option": ["seed=1"]}, SpecError, "not named"),
    "address for no provider": ({"provider": "auto", "url": "http://127.0.0.1:1"}, SpecError, "url cannot be passed"),
}


@pytest.mark.parametrize(("fields", "kind", "words"), BAD.values(), ids=BAD.keys())
def test_bad_words_are_refused_with_the_fix(fields, kind, words, tmp_path):
    if "places" in fields:
        fields = {"places": tmp_path / fields["places"], "point": []}
    with pytest.raises(kind) as caught:
        read.request_from(changed(**fields))
    assert words in str(caught.value)
    assert ". Fix: " in str(caught.value)


def test_what_counts_of_a_polygon_and_how_spans_are_cut():
    options = CliOptions(point=["4.35,50.85,500"], year=2022, model=["galileo"], within="box", n_frames=4)
    keywords = read.request_from(options).keywords
    assert keywords["output"].within == "box"
    assert (keywords["n_frames"], keywords["prep"].mode) == (4, "auto")


def test_frames_retries_checks_and_what_is_of_one_model():
    words = {"for_model": ["galileo.prep=resize", "rcf.resolution_m=20", "rcf.mask=none"], "retry": ["attempts=3"]}
    options = CliOptions(
        point=["4.35,50.85,500"], year=2022, model=["galileo", "rcf"], frames="available", check_input=True, **words
    )
    request = read.request_from(options)
    galileo, rcf = request.models
    assert (galileo.prep.mode, galileo.fetch) == ("resize", None)
    assert (rcf.prep, rcf.fetch) == (None, FetchSpec(resolution_m=20, mask="none"))
    keywords = request.keywords
    assert (keywords["frames"], keywords["check_input"], keywords["retry"]) == ("available", True, {"attempts": 3})
    region = read.map_from(
        CliMapOptions(
            bbox="4,50,5,51",
            year=2022,
            model=["rcf"],
            n_frames=4,
            for_model=["rcf.mask=none"],
            positions="other.zarr",
        )
    )
    assert region.keywords["positions"] == "other.zarr"
    assert (region.keywords["n_frames"], region.models[0].fetch.mask) == (4, "none")
    with pytest.raises(SpecError, match="no --model has this name"):
        read.request_from(CliOptions(point=["4,50,500"], year=2022, model=["rcf"], for_model=["dofa.prep=tile"]))
