"""Which model can run on what: the verdicts on data, on places and in spans, each no with its reason and fix."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app
from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.sensors import sensor
from tests.providers.rasters import GRID, ramp, write

PLACE = rs.PointBuffer(5.33, 50.63, buffer_m=200)
JUNE = ("2022-06-01", "2022-07-01")
RGB = ("B04", "B03", "B02")


def folder(root, *names, day="20220605"):
    for name in names:
        write(root / f"{day}_{name}.tif", ramp(GRID.shape))
    return root


def by_name(suitability):
    return {(one.model, one.modality, one.provider): one for one in suitability.verdicts}


def test_three_bands_of_files_suit_the_models_of_true_colour(tmp_path):
    told = by_name(rs.can_run(folder(tmp_path, *RGB), JUNE, sensor="s2"))
    assert {model for (model, _, _), one in told.items() if one.ok} == {
        *("dinov3sat", "location", "remoteclip", "satmae", "satmaepp", "scalemae", "terramind", "wildsat")
    }
    assert told["satmae", "rgb", "files"].dates == ("2022-06-05",)
    assert told["satmae", "rgb", "files"].sensors == ("sentinel-2-l2a",)


def test_all_bands_of_files_suit_the_models_of_sentinel_2(tmp_path):
    every = [band.name for band in sensor("s2").bands]
    told = rs.can_run(folder(tmp_path, *every), models=["galileo", "prithvi", "satvision"], sensor="s2")
    assert told.models == ("galileo", "prithvi")
    assert [(one.modality, one.ok) for one in told.verdicts if one.model == "galileo"] == [
        *(("s2", True), ("s1", False), ("s2+s1", False))
    ]


# models, span -> part of the reason, part of the fix
NO = {
    "bands": (["prithvi"], JUNE, "it needs nir08, swir16, swir22 too, and the data have blue, green, red", "add these"),
    "bands of an option": (["bandstats"], JUNE, "it needs", "options={'bands': ('blue', 'green', 'red')}"),
    "span": (["satmae"], 2021, "no scene lies in the span; there are 2022-06-05 to 2022-06-05", "another span"),
    "end": (["satmae"], ("2022-06-04", "2022-06-05"), "no scene lies in the span", "another span"),
    "product": (["tessera"], 2022, "published, not computed from pixels", "a place and a year"),
    "array": (["satvision"], JUNE, "no public catalogue has MOD021KM", "give arrays"),
}


@pytest.mark.parametrize("name", NO)
def test_each_no_has_its_reason_and_fix(tmp_path, name):
    models, span, reason, fix = NO[name]
    (one,) = rs.can_run(folder(tmp_path, *RGB), span, models=models, sensor="s2").verdicts
    assert not one.ok
    assert reason in one.reason
    assert fix in one.fix


def test_files_without_a_date_say_so(tmp_path):
    for name in RGB:
        write(tmp_path / f"{name}.tif", ramp(GRID.shape))
    (one,) = rs.can_run(tmp_path, JUNE, models=["satmae"], sensor="s2").verdicts
    assert (one.ok, one.reason) == (False, "nothing states when it was taken")
    assert one.fix.endswith("or pass dates='2022-06-05' (on the command line --provider-option dates=2022-06-05)")
    assert rs.can_run(tmp_path, JUNE, models=["satmae"], sensor="s2", dates="2022-06-09").verdicts[0].ok


def test_an_array_is_judged_by_its_labels():
    array = xr.DataArray(
        np.ones((2, 3, *GRID.shape), np.uint16),
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.array(["2022-06-05", "2022-07-01"], "M8[ns]"),
            "band": list(RGB),
            "y": GRID.ys,
            "x": GRID.xs,
        },
        attrs={"crs": GRID.crs, "sensor": "sentinel-2-l2a"},
    )
    assert rs.can_run(array, JUNE, models=["satmae"]).verdicts[0].dates == ("2022-06-05",)
    assert rs.can_run(array, models=["satmae"]).verdicts[0].dates == ("2022-06-05", "2022-07-01")
    with pytest.raises(SpecError, match=r"nothing states which sensor.*pass sensor=.*attrs\['sensor'\]") as caught:
        rs.can_run(array.drop_attrs())
    assert "--provider-option" not in caught.value.fix


def test_a_place_is_judged_by_sensors_and_first_scenes():
    told = by_name(rs.can_run(PLACE, 2014, models=["galileo", "terramind", "gse"]))
    assert told["galileo", "s1", "planetary_computer"].ok
    assert told["galileo", "s1", "planetary_computer"].dates is None
    assert "2015-06-27 on (2014-01-01 to 2015-01-01)" in told["galileo", "s2", "earth_engine"].reason
    assert told["terramind", "s1rtc", "earth_engine"].reason == "the provider has none of its sensors"
    amplitudes = told["terramind", "s1grd", "planetary_computer"]
    assert "uncalibrated amplitudes" in amplitudes.reason
    assert "sentinel-1-grd from earth_engine" in amplitudes.fix
    assert told["gse", "", "planetary_computer"].reason.startswith("it is published for 2017 to ")
    assert by_name(rs.can_run(PLACE, 2022, models=["gse"]))["gse", "", "earth_engine"].ok


def test_a_search_finds_the_days_of_the_provider():
    told = rs.can_run(PLACE, JUNE, models=["galileo"], provider="synthetic", search=True)
    days = {one.modality: set(one.dates) for one in told.verdicts}
    found = rs.inspect_input("galileo:nano:s2", PLACE, rs.TemporalSpec.of(JUNE), provider="synthetic")
    read = {str(day) for pair in found["s2"].dates if pair for day in pair}
    assert read <= days["s2"]
    assert days["s2+s1"] == days["s2"] | days["s1"]
    assert all("2022-06-01" <= day < "2022-07-01" for day in days["s2+s1"])


def test_it_prints_and_travels():
    told = rs.can_run(PLACE, 2022, models=["satmae", "satvision"], provider="synthetic")
    assert str(told).splitlines()[0] == "1 model can run"
    assert "not searched" in str(told)
    assert "no public catalogue has MOD021KM" in told._repr_html_()
    assert json.loads(json.dumps(told.to_dict()))[0]["model"] == "satmae"


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="galilei"):
        rs.can_run(PLACE, models=["galilei"])
    with pytest.raises(SpecError, match="a search needs a span"):
        rs.can_run(PLACE, search=True)
    with pytest.raises(SpecError, match="these options are for pixels"):
        rs.can_run(PLACE, sensor="s2")
    with pytest.raises(SpecError, match="the pixels are given"):
        rs.can_run(folder(tmp_path, *RGB), sensor="s2", provider="synthetic")


def test_files_without_a_sensor_say_how_it_is_given_in_python_and_typed(tmp_path):
    source = folder(tmp_path, *RGB)
    with pytest.raises(SpecError, match=r"Files\.sensor = None: nothing states which sensor took") as caught:
        rs.can_run(source)
    python, typed = "sensor='sentinel-2-l2a'", "--provider-option sensor=sentinel-2-l2a"
    assert caught.value.fix == f"pass {python} (on the command line {typed})"
    words = ["models", "--for", str(source), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert typed in " ".join(result.output.split())
    told = CliRunner().invoke(app, [*words, *typed.split()])
    assert json.loads(told.stdout) == json.loads(json.dumps(rs.can_run(source, sensor="sentinel-2-l2a").to_dict()))


def test_bands_without_a_name_say_how_they_are_typed(tmp_path):
    write(tmp_path / "20220605.tif", np.stack([ramp(GRID.shape)] * 2))
    (one,) = rs.can_run(tmp_path / "20220605.tif", models=["satmae"], sensor="s2").verdicts
    python, typed = "bands=['B01']", "--provider-option 'bands=[\"B01\"]'"
    assert one.fix.startswith(f"pass {python} (on the command line {typed}), with one name for each of the 2")


def test_the_command_says_the_same(tmp_path):
    words = ["models", "--for", str(folder(tmp_path / "scenes", *RGB)), "--provider-option", "sensor=s2", "--json"]
    result = CliRunner().invoke(app, [*words, "--start", "2022-06-01", "--end", "2022-07-01"])
    assert result.exit_code == 0
    told = rs.can_run(tmp_path / "scenes", JUNE, sensor="s2").to_dict()
    assert json.loads(result.stdout) == json.loads(json.dumps(told))
    vector = tmp_path / "place.geojson"
    vector.write_text('{"type": "Point", "coordinates": [5.33, 50.63]}', encoding="utf-8")
    options = ["--buffer", "200", "--provider", "synthetic", "--year", "2022", "--search"]
    result = CliRunner().invoke(app, ["models", "--for", str(vector), *options])
    assert result.exit_code == 0
    assert "models can run" in result.stdout
    assert "satmae" in result.stdout
