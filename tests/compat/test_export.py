"""rs-embed's export page, rebuilt: both forms of `export_batch`, its files, resuming, failures, and reading them back.

The code of the paper's appendix has the earlier form; here it runs under `compat` and at top level, with only the
import changed and one line that allows random weights.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import rs_embed_dask as rs
import rs_embed_dask.compat as rs_embed
from rs_embed_dask.compat import exporting
from rs_embed_dask.errors import NoImageryError, ProviderError, SpecError, UnknownNameError
from rs_embed_dask.store.export.payload import array_entry
from tests.compat.test_calls import JUNE, OTHER, PLACE, S2, place, quiet

__all__ = ["quiet"]

FAR = rs_embed.PointBuffer(lon=20.0, lat=10.0, buffer_m=320)
CONFIG = rs_embed.ExportConfig(show_progress=False)


def count_reads(monkeypatch):
    """Count the items that are computed."""
    rows, own = [], exporting.results_of

    def counted(plans):
        for one in own(plans):
            rows.append(one[0])
            yield one

    monkeypatch.setattr(exporting, "results_of", counted)
    return rows


def test_the_papers_form_at_top_level_and_in_compat(quiet, tmp_path):
    for number, module in enumerate((rs, rs_embed)):
        out = tmp_path / f"out{number}"
        manifests = module.export_batch(
            spatials=[
                module.PointBuffer(lon=PLACE.lon, lat=PLACE.lat, buffer_m=320),
                module.PointBuffer(lon=OTHER.lon, lat=OTHER.lat, buffer_m=320),
            ],
            temporal=module.TemporalSpec.range("2022-06-01", "2022-07-01"),
            models=["galileo", "rcf"],
            out=str(out),
            layout="per_item",
            backend="gee",
            device="cpu",
            save_inputs=True,
            save_embeddings=True,
            resume=True,
            show_progress=False,
        )
        assert [one["point_index"] for one in manifests] == [0, 1]
        assert sorted(path.name for path in out.iterdir()) == [
            *("p00000.json", "p00000.npz", "p00001.json", "p00001.npz")
        ]
        result = module.load_export(out)
        assert (result.layout, result.n_items, result.ok_models) == ("per_item", 2, ["galileo", "rcf"])
        assert result.embedding("galileo").shape == (2, 128)
        assert result.models["rcf"].inputs.shape == (2, 10, 64, 64)
        assert result.spatials[0] == {
            "lon": PLACE.lon,
            "lat": PLACE.lat,
            "buffer_m": 320.0,
            "crs": "EPSG:4326",
        }
        assert result.temporal == {"mode": "range", "start": "2022-06-01", "end": "2022-07-01"}
        single = rs_embed.get_embedding("rcf", spatial=PLACE, temporal=JUNE)
        np.testing.assert_array_equal(result.embedding("rcf")[0], single.data)


def test_a_combined_export_has_rs_embeds_keys_and_manifest(quiet, tmp_path):
    manifest = rs_embed.export_batch(
        spatials=[PLACE, OTHER],
        temporal=JUNE,
        models=["rcf", rs_embed.ExportModelRequest.configure("bandstats", fetch=rs_embed.FetchSpec(scale_m=20))],
        target=rs_embed.ExportTarget.combined(str(tmp_path / "run")),
        config=CONFIG,
    )
    assert (manifest["status"], manifest["n_items"], len(manifest["models"])) == ("ok", 2, 2)
    assert manifest["npz_path"] == str(tmp_path / "run.npz")
    assert manifest["npz_keys"] == [
        *("embeddings__bandstats", "embeddings__rcf", "inputs_bchw__bandstats", "inputs_bchw__rcf")
    ]
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.npz"]
    with np.load(tmp_path / "run.npz") as arrays:
        assert arrays["inputs_bchw__rcf"].shape == (2, 10, 64, 64)
        assert arrays["inputs_bchw__bandstats"].shape == (2, 10, 32, 32)
        singles = rs_embed.get_embeddings_batch("rcf", spatials=[PLACE, OTHER], temporal=JUNE)
        np.testing.assert_array_equal(arrays["embeddings__rcf"], [one.data for one in singles])
    assert manifest["models"][0]["metas"][1]["model"] == "rcf"
    for suffix in ("npz", "json"):
        assert rs_embed.load_export(tmp_path / f"run.{suffix}").embedding("rcf").shape == (2, 512)


def test_netcdf_holds_the_same(quiet, tmp_path):
    common = {"spatials": [PLACE, OTHER], "temporal": JUNE, "models": ["rcf"]}
    config = rs_embed.ExportConfig(format="netcdf", show_progress=False)
    grid = rs_embed.OutputSpec.grid()
    target = rs_embed.ExportTarget.combined(str(tmp_path / "run.nc"))
    manifest = rs_embed.export_batch(**common, target=target, config=config, output=grid)
    assert manifest["nc_variables"] == ["embeddings__rcf", "inputs_bchw__rcf"]
    with xr.open_dataset(tmp_path / "run.nc") as data:
        assert data["embeddings__rcf"].dims == ("point", "dim", "y", "x")
        assert data["inputs_bchw__rcf"].dims[:2] == ("point", "band")
        values = data["embeddings__rcf"].to_numpy()
    single = rs_embed.get_embedding("rcf", spatial=PLACE, temporal=JUNE, output=grid)
    np.testing.assert_array_equal(values[0], single.data)
    np.testing.assert_array_equal(rs_embed.load_export(tmp_path / "run.nc").embedding("rcf"), values)
    names = rs_embed.ExportTarget.per_item(str(tmp_path / "items"), names=["field-a", "field-b"])
    rs_embed.export_batch(**common, target=names, config=config, output=grid)
    assert {path.name for path in (tmp_path / "items").iterdir()} == {
        *("field-a.nc", "field-a.json", "field-b.nc", "field-b.json")
    }
    np.testing.assert_array_equal(rs_embed.load_export(tmp_path / "items").embedding("rcf"), values)


def test_what_failed_is_said_and_the_rest_is_kept(quiet, tmp_path):
    common = {"spatials": [PLACE, FAR], "temporal": JUNE, "models": ["rcf"]}
    with pytest.raises((NoImageryError, ProviderError)):
        rs_embed.export_batch(**common, target=rs_embed.ExportTarget.combined(str(tmp_path / "x")), config=CONFIG)
    assert not (tmp_path / "x.npz").exists()
    config = rs_embed.ExportConfig(continue_on_error=True, show_progress=False)
    target = rs_embed.ExportTarget.combined(str(tmp_path / "run"))
    manifest = rs_embed.export_batch(**common, target=target, config=config)
    (entry,) = manifest["models"]
    assert (manifest["status"], entry["status"], entry["failed_indices"]) == ("partial", "partial", [1])
    assert entry["embeddings"] == {"npz_keys": ["embedding__rcf__00000"], "indices": [0]}
    result = rs_embed.load_export(tmp_path / "run.npz")
    assert np.isnan(result.embedding("rcf")[1]).all()
    assert np.isfinite(result.embedding("rcf")[0]).all()
    assert "NoImagery" in entry["errors_by_index"]["1"]


def test_an_export_is_resumed(quiet, tmp_path, monkeypatch):
    rows = count_reads(monkeypatch)
    config = rs_embed.ExportConfig(resume=True, show_progress=False)

    def run(spatials, target, models=("rcf",)):
        rows.clear()
        told = rs_embed.export_batch(
            spatials=spatials, temporal=JUNE, models=list(models), target=target, config=config
        )
        return told, len(rows)

    folder = rs_embed.ExportTarget.per_item(str(tmp_path / "items"))
    assert run([PLACE], folder)[1] == 1
    again, computed = run([PLACE, OTHER], folder)
    assert computed == 1
    assert again[0]["resume_skipped"]
    assert "resume_skipped" not in again[1]
    assert run([PLACE, OTHER], folder, models=("bandstats",))[1] == 2
    file = rs_embed.ExportTarget.combined(str(tmp_path / "run"))
    first, computed = run([PLACE, OTHER], file)
    assert computed == 2
    second, computed = run([PLACE, OTHER], file)
    assert computed == 0
    assert second["resume_skipped"]
    assert second["models"] == first["models"]
    assert run([OTHER, PLACE], file)[1] == 2


def test_an_interrupted_combined_export_goes_on_where_it_was(quiet, tmp_path, monkeypatch):
    config = rs_embed.ExportConfig(resume=True, show_progress=False, infer_batch_size=1)
    target = rs_embed.ExportTarget.combined(str(tmp_path / "run"))
    common = {"spatials": [PLACE, OTHER, place(438_000.0)], "temporal": JUNE, "models": ["rcf"]}
    own, calls = exporting.write_payload, []

    def dying(path, *args, **options):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(path, *args, **options)

    monkeypatch.setattr(exporting, "write_payload", dying)
    with pytest.raises(KeyboardInterrupt):
        rs_embed.export_batch(**common, target=target, config=config)
    monkeypatch.setattr(exporting, "write_payload", own)
    rows = count_reads(monkeypatch)
    assert rs_embed.export_batch(**common, target=target, config=config)["status"] == "ok"
    assert len(rows) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.npz"]


def exporter(folder, **more):
    given = {
        "spatials": [PLACE],
        "temporal": JUNE,
        "models": [rs_embed.ModelConfig("rcf", "gee", model_config={"features": 16})],
        "target": rs_embed.ExportTarget.per_item(str(folder)),
        "output": rs_embed.OutputSpec.pooled(),
        "config": CONFIG,
        "backend": "gee",
        "resolved_backend": {"rcf": "gee"},
        "device": "cpu",
    }
    return rs_embed.BatchExporter(**given | more)


def test_the_exporter_does_the_same_in_two_steps(quiet, tmp_path):
    sensor = rs_embed.SensorSpec(S2, ("B4", "B3", "B2"))
    model = rs_embed.ModelConfig("rcf", "gee", sensor=sensor, model_config={"features": 16})
    (manifest,) = exporter(tmp_path, models=[model], provider_factory=quiet.provider).run()
    (entry,) = manifest["models"]
    assert entry["sensor"]["bands"] == ["B4", "B3", "B2"]
    assert entry["input"]["bands"] == ["red", "green", "blue"]
    with np.load(tmp_path / "p00000.npz") as arrays:
        assert entry["embedding"] == array_entry("embedding__rcf", arrays["embedding__rcf"])
        assert arrays["embedding__rcf"].shape == (32,)
        assert arrays["input_chw__rcf"].shape == (3, 64, 64)


@pytest.mark.parametrize("name", ["fetch_fn", "inspect_fn", "progress_factory"])
def test_functions_that_replace_parts_of_rs_embed_are_refused(name, tmp_path):
    with pytest.raises(SpecError, match=rf"{name} = .*a part that rs-embed has inside.*provider_factory="):
        exporter(tmp_path, **{name: print})


def test_an_exporter_reads_from_one_backend(tmp_path):
    models = [rs_embed.ModelConfig("rcf", "gee"), rs_embed.ModelConfig("bandstats", "synthetic")]
    with pytest.raises(SpecError, match="all models of an export are read from one"):
        exporter(tmp_path, models=models)


def test_a_read_is_tried_again_as_the_configuration_says(tmp_path, monkeypatch):
    policies = []

    def planned(_group, _items, how):
        policies.append(how.retry)
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "plans_of", planned)
    config = rs_embed.ExportConfig(max_retries=2, retry_backoff_s=45.0, show_progress=False)
    with pytest.raises(KeyboardInterrupt):
        exporter(tmp_path, config=config).run()
    assert (policies[0].attempts, policies[0].first_wait_s) == (3, 45.0)
    assert policies[0].wait_s(1) >= 22.5


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, SpecError, "nothing states where to write"),
        ({"out": "x", "layout": "one"}, UnknownNameError, "per_item"),
        ({"out": "x", "save_input": True}, UnknownNameError, "save_inputs"),
        ({"out": "x", "format": "hdf"}, UnknownNameError, "npz"),
        ({"out": "x", "models": ["rcf", "rcf"]}, SpecError, "listed twice, or two have one key"),
        ({"out": "x", "names": ["a", "a"], "layout": "per_item"}, SpecError, "a name of its own"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(options, error, words, tmp_path):
    given = {"spatials": [PLACE, OTHER], "temporal": JUNE, "models": ["rcf"], "show_progress": False} | options
    if "out" not in options:
        given.pop("show_progress")
    given |= {"out": str(tmp_path / "x")} if "out" in options else {}
    with pytest.raises(error, match=words):
        rs_embed.export_batch(**given)


def test_a_folder_with_a_stale_file_is_refused(tmp_path):
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", embedding__rcf=np.zeros(2))
        (tmp_path / f"{name}.json").write_text(json.dumps({"point_index": 0, "models": []}), "utf-8")
    with pytest.raises(ValueError, match="both claim item 0"):
        rs_embed.load_export(tmp_path)
    with pytest.raises(FileNotFoundError, match="no export"):
        rs_embed.load_export(tmp_path / "nowhere")
    np.savez(tmp_path / "alone.npz", a=1)
    with pytest.raises(FileNotFoundError, match="no manifest"):
        rs_embed.load_export(tmp_path / "alone.npz")
