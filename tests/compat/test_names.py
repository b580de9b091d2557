"""All public names of rs-embed 0.3.1 with its parameters and defaults, as noted from its wheel."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import rs_embed_dask.compat as rs_embed
from rs_embed_dask.compat.names import card_of, modality_of, options_of, variant_of
from rs_embed_dask.compat.requests import ask, output_of
from rs_embed_dask.errors import SpecError, UnknownNameError

NO = inspect.Parameter.empty
POOLED = rs_embed.OutputSpec.pooled()
CALL = {"sensor": None, "fetch": None, "modality": None, "output": POOLED, "backend": "auto", "device": "auto"}
DATA = {"modality": None, "output": POOLED, "device": "auto", "input_prep": None, "model_kwargs": NO}
PATCH = {
    "spatial": NO,
    "temporal": None,
    "sensor": NO,
    "backend": "gee",
    "name": "gee_patch",
    "value_range": None,
    "return_array": False,
}
TILES = {
    "tile_size": None,
    "tile_stride": None,
    "max_tiles": 64,
    "max_tiles_hard": 1024,
    "pad_edges": True,
    "tile_snap_frac": 0.1,
}
MODEL = {"name": NO, "backend": "auto", "device": "auto", "sensor": None, "fetch": None, "modality": None}
EXPORT = {"spatials": NO, "temporal": NO, "models": NO, "target": NO, "config": rs_embed.ExportConfig()}
FUNCTIONS = {
    "describe_model": {"model": NO},
    "disable_pretty_warnings": {},
    "enable_pretty_warnings": {},
    "export_batch": EXPORT
    | {"backend": "auto", "device": "auto", "output": POOLED, "sensor": None, "fetch": None, "modality": None}
    | {"input_prep": None},
    "get_embedding": {"model": NO, "spatial": NO, "temporal": None} | CALL | {"input_prep": None, "model_kwargs": NO},
    "get_embedding_from_data": {"model": NO, "data": NO} | DATA,
    "get_embeddings_batch": {"model": NO, "spatials": NO, "temporal": None}
    | CALL
    | {"input_prep": None, "model_kwargs": NO},
    "get_embeddings_batch_from_data": {"model": NO, "datas": NO, "modality": None, "output": POOLED, "device": "auto"}
    | {"batch_size": None, "input_prep": None, "model_kwargs": NO},
    "inspect_gee_patch": PATCH,
    "inspect_model_input": {"model": NO, "spatial": NO, "temporal": None, "sensor": None, "fetch": None}
    | {"modality": None, "backend": "gee", "value_range": None, "return_arrays": False, "model_kwargs": NO},
    "inspect_provider_patch": PATCH,
    "list_models": {"include_aliases": False},
    "list_models_for_data": {"data": NO},
    "load_export": {"path": NO},
    "reset_runtime": {},
    "Model": MODEL | {"output": POOLED, "input_prep": None, "model_kwargs": NO},
    "Model.get_embedding": {"spatial": NO, "temporal": None},
    "Model.get_embeddings_batch": {"spatials": NO, "temporal": None},
    "Model.list_models": {"include_aliases": False},
    "BatchExporter": {"spatials": NO, "temporal": NO, "models": NO, "target": NO, "output": NO, "config": NO}
    | {"backend": NO, "resolved_backend": NO, "device": NO}
    | {"provider_factory": None, "fetch_fn": None, "inspect_fn": None, "progress_factory": None},
    "ExportModelRequest.configure": {"name": NO, "sensor": None, "fetch": None, "modality": None, "model_kwargs": NO},
    "ExportTarget.combined": {"out_file": NO},
    "ExportTarget.per_item": {"out_dir": NO, "names": None},
    "InputPrepSpec.auto": TILES,
    "InputPrepSpec.tile": TILES,
    "InputPrepSpec.resize": {},
    "OutputSpec.grid": {"grid_orientation": "north_up", "kwargs": NO},
    "OutputSpec.pooled": {"pooling": "mean", "kwargs": NO},
    "UserData.from_raster": {"path": NO, "collection": NO, "bands": None, "temporal": None},
}
FIELDS = {
    "BBox": {"minlon": NO, "minlat": NO, "maxlon": NO, "maxlat": NO, "crs": "EPSG:4326"},
    "PointBuffer": {"lon": NO, "lat": NO, "buffer_m": NO, "crs": "EPSG:4326"},
    "ExportConfig": {"format": "npz", "save_inputs": True, "save_embeddings": True, "save_manifest": True}
    | {"fail_on_bad_input": False, "chunk_size": 16, "infer_batch_size": None, "num_workers": 8}
    | {"continue_on_error": False, "max_retries": 0, "retry_backoff_s": 0.0, "async_write": True}
    | {"writer_workers": 2, "resume": False, "show_progress": True, "input_prep": None},
    "ExportModelRequest": {"name": NO, "sensor": None, "fetch": None, "modality": None, "model_config": None},
    "ExportResult": {"layout": NO, "spatials": NO, "temporal": NO, "n_items": NO, "status": NO}
    | {"models": NO, "manifest": NO},
    "ExportTarget": {"layout": NO, "out_file": None, "out_dir": None, "names": None},
    "FetchSpec": {"scale_m": None, "cloudy_pct": None, "fill_value": None, "composite": None},
    "InputPrepSpec": {"mode": "tile"} | TILES,
    "ModelConfig": {"name": NO, "backend": NO, "sensor": None, "model_config": None, "model_type": ""},
    "ModelResult": {"name": NO, "status": NO, "embeddings": NO, "inputs": NO, "meta": NO, "error": None},
    "OutputSpec": {"mode": NO, "pooling": "mean", "grid_orientation": "north_up"},
    "SensorSpec": {"collection": NO, "bands": NO, "scale_m": 10, "cloudy_pct": 30, "fill_value": 0.0}
    | {"composite": "median", "modality": None, "orbit": None, "use_float_linear": True, "s1_require_iw": True}
    | {"s1_relax_iw_on_empty": True, "check_input": False, "check_raise": True, "check_save_dir": None},
    "UserData": {"data": NO, "collection": NO, "spatial": None, "bands": None, "temporal": None, "scale_m": None}
    | {"crs": None, "transform": None},
}
REST = {"ExportLayout", "TemporalSpec", "__version__"}
MODELS = [
    "agrifm",
    "anysat",
    "clay",
    "copernicus",
    "dofa",
    "fomo",
    "galileo",
    "gse",
    "olmoearth",
    "prithvi",
    "remoteclip",
    "satmae",
    "satmaepp",
    "satvision",
    "scalemae",
    "terrafm",
    "terramind",
    "tessera",
    "thor",
    "wildsat",
]
ALIASES = {
    "gse_annual": "gse",
    "remoteclip_s2rgb": "remoteclip",
    "copernicus_embed": "copernicus",
    "satmae_rgb": "satmae",
    "satmaepp_rgb": "satmaepp",
    "satmae++": "satmaepp",
    "scalemae_rgb": "scalemae",
    "prithvi_eo_v2_s2_6b": "prithvi",
    "terrafm_b": "terrafm",
    "thor_1_0_base": "thor",
    "satvision_toa": "satvision",
}
WIDER = {"export_batch": {"target"}}
"""Parameters that may be left out here: the earlier form has others in their place."""


def test_all_33_names_are_there():
    names = {name for name in FUNCTIONS if "." not in name} | FIELDS.keys() | REST
    assert len(names) == 33
    assert names <= set(rs_embed.__all__)
    assert all(getattr(rs_embed, name) is not None for name in rs_embed.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_have_their_names_order_and_defaults(name):
    owner, _, method = name.partition(".")
    called = getattr(rs_embed, owner)
    parameters = inspect.signature(getattr(called, method) if method else called).parameters
    ours = {word: one.default for word, one in parameters.items() if word != "self"}
    expected = FUNCTIONS[name] | dict.fromkeys(WIDER.get(name, ()))
    assert [word for word in ours if word in expected] == list(expected)
    assert {word: ours[word] for word in expected} == expected
    added = [one for word, one in parameters.items() if word not in expected and word != "self"]
    assert all(one.kind is one.VAR_KEYWORD for one in added)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_have_their_names_order_and_defaults(name):
    listed = dataclasses.fields(getattr(rs_embed, name))
    missing = dataclasses.MISSING
    ours = {one.name: NO if one.default is missing else one.default for one in listed}
    if name == "ExportResult":
        ours |= {"models": NO, "manifest": NO}  # ours have defaults, which a caller does not see
    assert list(ours.items()) == list(FIELDS[name].items())


def test_places_and_spans_validate_themselves():
    for spec in (
        rs_embed.BBox(4.0, 50.0, 4.1, 50.1),
        rs_embed.PointBuffer(lon=4.0, lat=50.0, buffer_m=100),
        rs_embed.TemporalSpec.year(2022),
        rs_embed.TemporalSpec.range("2022-06-01", "2022-09-01"),
    ):
        assert spec.validate() is None
    span = rs_embed.TemporalSpec(mode="range", start="2022-06-01", end="2022-09-01")
    assert (span.mode, span.start, span.end) == ("range", "2022-06-01", "2022-09-01")
    assert rs_embed.TemporalSpec("range", None, "2022-06-01", "2022-09-01") == span
    assert rs_embed.TemporalSpec.year(2022).year == 2022
    assert rs_embed.ExportLayout("per_item") is rs_embed.ExportLayout.PER_ITEM
    assert rs_embed.ExportConfig(chunk_size=4).effective_infer_batch_size == 4
    assert rs_embed.ModelConfig("gse", "auto", model_type="precomputed").is_precomputed
    with pytest.raises(rs_embed.RSEmbedError, match="fetch=FetchSpec"):
        rs_embed.OutputSpec.grid(scale_m=10)
    assert rs_embed.OutputSpec.pool("max") == rs_embed.OutputSpec.pooled("max")


def test_models_are_listed_as_texts():
    names = rs_embed.list_models()
    assert set(MODELS) <= set(names)
    assert names == sorted(names)
    assert all(type(name) is str for name in names)
    assert set(ALIASES) <= set(rs_embed.list_models(include_aliases=True))
    assert rs_embed.Model.list_models() == names
    assert {alias: card_of(alias).id for alias in ALIASES} == ALIASES


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_described(name):
    page = rs_embed.describe_model(name)
    assert set(page["output"]) == {"pooled", "grid"}
    assert page["type"] == ("precomputed" if name in {"gse", "tessera", "copernicus"} else "on_the_fly")
    assert page["model_config"]["variant"]["default"] in page["model_config"]["variant"]["choices"]


@pytest.mark.parametrize(
    ("model", "given", "variant"),
    [
        ("clay", {"model_size": "large"}, "v1.5"),
        ("satmaepp", {"variant": "large"}, None),
        ("terramind", {"model_key": "terramind_v1_small"}, "small"),
        ("olmoearth", {"variant": "nano"}, "nano_v1"),
        ("olmoearth", {"variant": "tiny"}, "tiny_v1"),
        ("olmoearth", {"variant": "base"}, "base_v1"),
        ("olmoearth", {"variant": "nano_v1_2"}, "nano_v1_2"),
        ("olmoearth", {}, "base_v1_2"),
        ("prithvi", {"variant": "prithvi_eo_v2_600_tl"}, "600M-TL"),
        ("thor_1_0_base", {}, None),
        ("dofa", {"variant": "large"}, "large"),
        ("anysat", {"variant": "base"}, None),
    ],
)
def test_variants_are_those_of_rs_embed(model, given, variant):
    assert variant_of(card_of(model), given) == variant


def test_modalities_and_options_are_translated():
    assert modality_of(card_of("terramind"), "s2_l2a") == "s2l2a"
    assert modality_of(card_of("terramind"), "S2L2A") == "s2l2a"
    assert modality_of(card_of("satmaepp"), "s2_10b") == "s2_10b"
    assert options_of(card_of("olmoearth"), {"patch_size": 8, "image_size": 64, "variant": "nano"}) == {
        "patch_px": 8,
        "size_px": 64,
    }
    asked = ask("satmaepp", {"variant": "large"}, modality="s2_10b")
    assert asked.card.variant_for(asked.spec).name == "s2_10b_vitl8"
    assert ask("anysat", {"pooled_source": "tile"}).pooling == "cls"


@pytest.mark.parametrize(
    ("given", "fewest", "most"),
    [
        ({}, 1, None),
        ({"temporal_mode": "single"}, 1, 1),
        ({"temporal_mode": "multi"}, 2, None),
        ({"n_frames": 3}, 3, 3),
        ({"max_frames": 2}, 1, 2),
    ],
)
def test_frames_are_asked_for_by_rs_embeds_words(given, fewest, most):
    asked = ask("prithvi", given)
    assert (asked.fewest_frames, asked.most_frames) == (fewest, most)


@pytest.mark.parametrize(
    ("name", "value"), [("pad_edges", False), ("tile_snap_frac", 0.3), ("max_tiles", 0), ("tile_size", 0)]
)
def test_tiles_that_are_not_cut_here_are_refused(name, value):
    with pytest.raises(SpecError, match=f"InputPrepSpec.{name} = {value}"):
        rs_embed.InputPrepSpec(**{name: value})
    assert rs_embed.InputPrepSpec(tile_size=112, tile_snap_frac=0).mode == "tile"


def test_a_grid_in_native_order_is_refused_of_a_product():
    native = rs_embed.OutputSpec.grid(grid_orientation="native")
    assert output_of(native, ask("galileo")).mode == "grid"
    with pytest.raises(SpecError, match="grids of products are north up here"):
        output_of(native, ask("gse"))


def test_what_cannot_be_is_refused_at_once():
    with pytest.raises(SpecError, match="at most 4"):
        ask("prithvi", {"n_frames": 9})
    with pytest.raises(SpecError, match="one image"):
        ask("clay", {"temporal_mode": "multi"})
    sensor = rs_embed.SensorSpec("COPERNICUS/S2_SR_HARMONIZED", ("B4", "B3", "B2"))
    with pytest.raises(SpecError, match="sensor= was given too"):
        ask("remoteclip", sensor=sensor, fetch=rs_embed.FetchSpec(scale_m=20))
    with pytest.raises(UnknownNameError, match="no_such"):
        rs_embed.Model("galileo", no_such_option=1)
    with pytest.raises(UnknownNameError, match="prithvy"):
        rs_embed.describe_model("prithvy")
