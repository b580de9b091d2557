"""Scripts as users of rs-embed have them, run unchanged: first steps, recipes, exports, and the paper's code.

The words are ours, rebuilt from what those pages show. Before each runs, the name of the imported module is changed,
and nothing else; the fixture allows random weights and points "gee" at the emulator.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import rs_embed_dask as rs
import rs_embed_dask.compat as rs_embed
from rs_embed_dask.engine import request
from rs_embed_dask.specs.ground import project
from tests.compat.test_calls import quiet
from tests.providers.earth_truth import DAYS
from tests.services.earth import world

__all__ = ["quiet"]
pytestmark = pytest.mark.filterwarnings("ignore:a resize changes what a token covers")


def centre(east, north):
    (lon,), (lat,) = project("EPSG:32631", "EPSG:4326", [east], [north])
    return float(lon), float(lat)


(LON, LAT), (LON2, LAT2) = centre(603_000.0, 5_696_000.0), centre(607_000.0, 5_696_000.0)

FIRST_STEPS = """
from rs_embed import (
    ExportConfig, ExportTarget, OutputSpec, PointBuffer, TemporalSpec,
    export_batch, get_embedding, get_embeddings_batch, list_models, load_export,
)

assert "gse" in list_models()
year = TemporalSpec.year(2022)
one = get_embedding(
    "gse",
    spatial=PointBuffer(lon=LON, lat=LAT, buffer_m=320),
    temporal=year,
    output=OutputSpec.pooled(pooling="mean"),
    backend="auto",
)
vector, meta = one.data, one.meta
places = [PointBuffer(LON, LAT, 320), PointBuffer(LON2, LAT2, 320)]
several = get_embeddings_batch("gse", spatials=places, temporal=year, output=OutputSpec.pooled(), backend="auto")
export_batch(
    spatials=places,
    temporal=year,
    models=["gse"],
    target=ExportTarget.per_item(OUT, names=["p1", "p2"]),
    backend="auto",
    config=ExportConfig(save_inputs=False, save_embeddings=True, resume=True, show_progress=False),
)
result = load_export(OUT)
"""

RECIPES = """
from rs_embed import (
    FetchSpec, InputPrepSpec, Model, OutputSpec, PointBuffer, SensorSpec, TemporalSpec,
    describe_model, get_embedding, get_embeddings_batch, inspect_model_input, inspect_provider_patch,
)

june = TemporalSpec.range("2022-06-01", "2022-07-01")
place = PointBuffer(lon=LON, lat=LAT, buffer_m=320)
one = get_embedding(
    "galileo", spatial=place, temporal=june, output=OutputSpec.pooled(), backend="auto", device="auto"
)
several = get_embeddings_batch(
    "rcf", spatials=[place, PointBuffer(LON2, LAT2, 320)], temporal=june, output=OutputSpec.pooled(), backend="auto"
)
report = inspect_provider_patch(
    spatial=place,
    temporal=june,
    sensor=SensorSpec(collection="COPERNICUS/S2_SR_HARMONIZED", bands=("B4", "B3", "B2"), scale_m=10),
    backend="gee",
)
seen = inspect_model_input("rcf", spatial=place, temporal=june, backend="gee")
tiled = get_embedding(
    "rcf",
    spatial=PointBuffer(LON, LAT, 640),
    temporal=june,
    output=OutputSpec.grid(),
    backend="auto",
    input_prep=InputPrepSpec.tile(max_tiles=64),
)
mosaic = get_embedding("rcf", spatial=place, temporal=june, fetch=FetchSpec(scale_m=20, composite="mosaic"))
model = Model("rcf", output=OutputSpec.grid(), features=16)
grid = model.get_embedding(place, temporal=june)
facts = describe_model("rcf")
"""

EXPORTS = """
from rs_embed import (
    ExportConfig, ExportModelRequest, ExportTarget, FetchSpec, PointBuffer, TemporalSpec, export_batch, load_export,
)

june = TemporalSpec.range("2022-06-01", "2022-07-01")
places = [PointBuffer(LON, LAT, 320), PointBuffer(LON2, LAT2, 320)]
config = ExportConfig(format="npz", save_inputs=True, save_manifest=True, resume=True, chunk_size=32, num_workers=8,
                      show_progress=False)
plain = export_batch(spatials=places, temporal=june, models=["rcf"],
                     target=ExportTarget.combined(OUT + "/run"), config=config)
again = export_batch(spatials=places, temporal=june, models=["rcf"],
                     target=ExportTarget.combined(OUT + "/run"), config=config)
own = export_batch(
    spatials=places,
    temporal=june,
    models=[
        ExportModelRequest("bandstats", fetch=FetchSpec(scale_m=20)),
        ExportModelRequest("rcf", modality="s2"),
        ExportModelRequest.configure("galileo", variant="nano"),
    ],
    target=ExportTarget.per_item(OUT + "/items"),
    config=ExportConfig(format="netcdf", show_progress=False),
    backend="gee",
    input_prep="tile",
)
shared = export_batch(spatials=places, temporal=june, models=["bandstats", "rcf"], fetch=FetchSpec(scale_m=20),
                      target=ExportTarget.combined(OUT + "/shared.npz"), config=ExportConfig(show_progress=False))
combined, items = load_export(OUT + "/run.npz"), load_export(OUT + "/items")
"""

PAPER = """
from rs_embed import PointBuffer, TemporalSpec, OutputSpec, get_embedding, get_embeddings_batch, export_batch

places = [PointBuffer(lon=LON, lat=LAT, buffer_m=320), PointBuffer(lon=LON2, lat=LAT2, buffer_m=320)]
june = TemporalSpec.range("2022-06-01", "2022-07-01")
one = get_embedding(
    "rcf", spatial=places[0], temporal=june, output=OutputSpec.pooled(), backend="gee", device="cpu"
)
several = get_embeddings_batch(
    "rcf", spatials=places, temporal=june, output=OutputSpec.pooled(), backend="gee", device="cpu"
)
manifests = export_batch(
    spatials=places,
    temporal=june,
    models=["rcf", "bandstats"],
    out=OUT,
    layout="per_item",
    backend="gee",
    device="cpu",
    save_inputs=True,
    save_embeddings=True,
    resume=True,
    show_progress=False,
)
"""


@pytest.fixture
def run(quiet, tmp_path, monkeypatch):
    """``run(script, module)`` runs a script with the name of its module changed, and returns its variables."""
    scenes = [world.s2("brussels", day, collection=one)[0] for day in DAYS for one in (world.S2, world.S2_TOA)]
    quiet.serve(*scenes, *world.vectors("brussels", 2022))
    monkeypatch.setattr(
        request, "open_provider", lambda name: quiet.provider() if name in {"gee", "auto"} else rs.open_provider(name)
    )

    def ran(script, module="rs_embed_dask.compat"):
        names = {"LON": LON, "LAT": LAT, "LON2": LON2, "LAT2": LAT2, "OUT": str(tmp_path / "out")}
        exec(script.replace("from rs_embed import", f"from {module} import"), names)
        return names, tmp_path / "out"

    return ran


def test_the_first_steps(run):
    names, out = run(FIRST_STEPS)
    assert names["vector"].shape == (64,)
    assert names["meta"]["model"] == "gse"
    np.testing.assert_array_equal(names["several"][0].data, names["vector"])
    assert sorted(path.name for path in out.iterdir()) == ["p1.json", "p1.npz", "p2.json", "p2.npz"]
    np.testing.assert_array_equal(names["result"].embedding("gse"), [one.data for one in names["several"]])


def test_the_recipes(run):
    names, _ = run(RECIPES)
    assert names["one"].data.shape == (128,)
    assert [one.data.shape for one in names["several"]] == [(512,), (512,)]
    assert names["report"]["report"]["shape"] == (3, 64, 64)
    assert names["seen"]["frames"][0]["report"]["shape"][0] == 10
    assert names["tiled"].data.dims == ("dim", "y", "x")
    assert names["tiled"].data.shape[1] == names["tiled"].data.shape[2] >= 16
    assert names["grid"].data.shape[0] == 32
    assert not np.allclose(names["mosaic"].data, names["several"][0].data, rtol=1e-3)
    assert names["facts"]["output"] == ["pooled", "grid"]


def test_the_exports(run):
    names, out = run(EXPORTS)
    assert (names["plain"]["status"], names["plain"]["n_items"]) == ("ok", 2)
    assert names["again"]["resume_skipped"]
    assert names["combined"].embedding("rcf").shape == (2, 512)
    with np.load(out / "run.npz") as arrays:
        assert sorted(arrays.files) == ["embeddings__rcf", "inputs_bchw__rcf"]
    assert [one["status"] for one in names["own"]] == ["ok", "ok"]
    assert names["items"].ok_models == ["bandstats", "rcf", "galileo"]
    assert names["items"].embedding("galileo").shape == (2, 128)
    np.testing.assert_allclose(names["items"].embedding("rcf"), names["combined"].embedding("rcf"), rtol=1e-5)
    shared = rs_embed.load_export(out / "shared.npz")
    np.testing.assert_allclose(shared.embedding("bandstats"), names["items"].embedding("bandstats"), rtol=1e-5)


@pytest.mark.parametrize("module", ["rs_embed_dask.compat", "rs_embed_dask"])
def test_the_papers_code(run, module):
    names, out = run(PAPER, module)
    assert names["one"].data.shape == (512,)
    np.testing.assert_array_equal(names["several"][0].data, names["one"].data)
    assert [one["point_index"] for one in names["manifests"]] == [0, 1]
    assert sorted(path.name for path in out.iterdir()) == ["p00000.json", "p00000.npz", "p00001.json", "p00001.npz"]
    with np.load(out / "p00001.npz") as arrays:
        assert sorted(arrays.files) == [
            *("embedding__bandstats", "embedding__rcf", "input_chw__bandstats", "input_chw__rcf")
        ]
        np.testing.assert_allclose(arrays["embedding__rcf"], names["several"][1].data, rtol=1e-5)
        assert arrays["input_chw__rcf"].shape == (10, 64, 64)
    assert json.loads((out / "p00001.json").read_text("utf-8"))["status"] == "ok"
