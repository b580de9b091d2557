"""The commands, from words to exit code and printed lines."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client
from typer.testing import CliRunner

import rs_embed_dask
from rs_embed_dask.cli import app as command_line
from rs_embed_dask.cli.app import app
from rs_embed_dask.engine.request import statuses_of
from rs_embed_dask.errors import AccessError, EngineError, PlanError, SpecError, StoreError, UnknownNameError
from rs_embed_dask.providers import reach
from rs_embed_dask.specs import PointBuffer, TemporalSpec
from rs_embed_dask.store import ChunkResult, Item, ModelLayout, Status, Store
from tests.analysis.made import made_run
from tests.services.object_store import ObjectService

ROOT = Path(__file__).resolve().parents[1]
REQUEST = ["--point", "4.35,50.85,160", "--point", "4.40,50.85,160", "--start", "2022-06-01", "--end", "2022-07-01"]
SYNTHETIC = ["--provider", "synthetic", "--provider-option", "seed=7"]


@pytest.fixture
def shell():
    """``shell(*words)`` runs a command and returns (exit code, output, errors)."""

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster in this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as made:
        yield made.scheduler_address


@pytest.fixture
def finished(tmp_path):
    """A store of five items: ok, partial, no data, read failed and still pending."""
    items = [
        Item(i, PointBuffer(4.0 + i / 10, 50.0, buffer_m=100), TemporalSpec.year(2021), id=f"p{i}") for i in range(5)
    ]
    layout = ModelLayout("rcf", dim=2)
    store = Store.create(
        tmp_path / "run.zarr", items=items, models=[layout], request={"models": [{"label": "rcf"}]}, chunk_items=4
    )
    result = ChunkResult(
        rows=np.arange(4),
        status=np.array([Status.OK, Status.PARTIAL, Status.NO_DATA, Status.READ_FAILED], np.uint8),
        embedding=[np.ones(2, np.float32), np.ones(2, np.float32), None, None],
        reason=["", "30 % of the pixels are missing", "no scene", "HTTP 500"],
    )
    store.write_chunk(0, "rcf", result)
    return tmp_path / "run.zarr"


def test_the_version_is_printed(shell):
    code, out, err = shell("--version")
    assert (code, out.strip(), err) == (0, f"rs-embed-dask {rs_embed_dask.__version__}", "")


def test_a_cluster_that_is_not_there_is_one_sentence(shell, tmp_path):
    where = ("--cluster", "nowhere", "--point", "4.35,50.85,50", "--year", "2022", "-m", "rcf")
    code, _, err = shell("embed", *where, "--out", str(tmp_path / "run.zarr"))
    assert code == 2
    assert err.count("\n") == 1
    assert "--cluster = 'nowhere'" in err
    assert "no Dask scheduler answers there" in err


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from rs_embed_dask.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *({'torch', 'dask', 'xarray', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "embed" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_python_m_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "rs_embed_dask", "status", "nowhere.zarr"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command_line.AT_FAULT
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_status_counts(shell, finished):
    code, out, _ = shell("status", finished)
    assert code == 1
    for words in ("1 ok", "1 partial", "1 no data", "1 read failed", "1 pending", "HTTP 500"):
        assert words in out


def test_verify_finds_damage_and_repairs_it(shell, finished):
    code, out, _ = shell("verify", finished)
    assert code == 0
    assert "sound" in out
    zarr.open_array(finished / "rcf/embedding", mode="r+")[1] = 7
    code, out, _ = shell("verify", finished)
    assert code == command_line.FAILED
    assert "rcf rows 1" in out
    code, out, _ = shell("verify", finished, "--json")
    assert code == command_line.FAILED
    (damage,) = json.loads(out)["damages"]
    assert (damage["where"], damage["remedy"], damage["rows"]) == ("rcf rows 1", "recompute", 1)
    code, out, _ = shell("verify", finished, "--repair")
    assert code == 0
    assert "1 row to compute again" in out
    assert Store.open(finished).counts()["rcf"][Status.PENDING] == 2
    assert shell("verify", finished)[0] == 0


def test_status_lists_every_item_with_its_reason(shell, finished):
    _, out, _ = shell("status", finished, "--items")
    lines = [line for line in out.splitlines() if "\t" in line]
    head = lines[0].split("\t")
    rows = [dict(zip(head, line.split("\t"), strict=True)) for line in lines[1:]]
    assert [row["status"] for row in rows] == ["ok", "partial", "no_data", "read_failed", "pending"]
    assert [row["id"] for row in rows] == ["p0", "p1", "p2", "p3", "p4"]
    assert rows[3]["reason"] == "HTTP 500"


def test_status_lists_one_state(shell, finished):
    _, out, _ = shell("status", finished, "--state", "read-failed", "--json")
    found = json.loads(out)
    assert [row["id"] for row in found["items"]] == ["p3"]
    assert found["counts"]["rcf"] == {"ok": 1, "partial": 1, "no_data": 1, "read_failed": 1, "pending": 1}


def test_status_of_nothing(shell, tmp_path):
    code, out, err = shell("status", tmp_path / "nowhere.zarr")
    assert code == command_line.AT_FAULT
    assert out == ""
    assert err.count("\n") == 1
    assert "nowhere.zarr" in err
    assert "Fix:" in err


def test_an_unknown_state_names_the_close_one(shell, finished):
    code, _, err = shell("status", finished, "--state", "reed_failed")
    assert code == command_line.AT_FAULT
    assert "read_failed" in err


def test_states_as_typed():
    assert statuses_of(["Read-Failed"]) == {Status.READ_FAILED}
    assert statuses_of(["failed", "pending"]) == {Status.READ_FAILED, Status.MODEL_FAILED, Status.PENDING}
    assert statuses_of([]) == frozenset()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("x", reason="r", fix="f"), 2),
        (UnknownNameError("x", reason="r", fix="f"), 2),
        (StoreError("x", reason="r", fix="f"), 2),
        (PlanError("x", reason="r", fix="f"), 2),
        (EngineError("x", reason="r", fix="f"), 1),
        (AccessError("x", reason="r", fix="f"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(shell, monkeypatch, error, code):
    def broken(path, **options):
        raise error

    monkeypatch.setattr(rs_embed_dask, "status", broken)
    got, _, err = shell("status", "run.zarr")
    assert got == code
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["embed", *REQUEST, "-m", "rcf"],
        ["embed", *REQUEST, "-m", "rcf", "--out", "x", "--nonsense"],
        ["plan", *REQUEST, "-m", "rcf", "--year", "this year"],
        ["describe"],
        ["no-such-command"],
    ],
)
def test_what_typer_refuses_is_code_2(shell, words):
    code, _, err = shell(*words)
    assert code == 2
    assert err


def test_models_lists_all(shell):
    code, out, _ = shell("models")
    assert code == 0
    for word in ("rcf", "bandstats", "galileo", "satmae"):
        assert word in out
    listed = json.loads(shell("models", "--json")[1])
    assert {row["id"] for row in listed} >= {"rcf", "bandstats", "galileo", "satmae"}


def test_describe(shell):
    code, out, _ = shell("describe", "galileo")
    assert code == 0
    assert "nano" in out
    assert json.loads(shell("describe", "mosaiks", "--json")[1])["id"] == "rcf"


def test_describe_an_unknown_model(shell):
    code, _, err = shell("describe", "galieo")
    assert code == command_line.AT_FAULT
    assert "did you mean 'galileo'" in err


def test_plan_prints_what_will_happen(shell):
    code, out, _ = shell("plan", *REQUEST, *SYNTHETIC, "-m", "rcf", "-m", "bandstats")
    assert code == 0
    for word in ("reads", "requests", "1 batch", "rcf", "bandstats", "sentinel-2-l2a"):
        assert word in out
    planned = json.loads(shell("plan", *REQUEST, *SYNTHETIC, "-m", "rcf", "--json")[1])
    assert planned["figures"]["items"] == 2
    assert [one["label"] for one in planned["models"]] == ["rcf"]
    assert "from a probe of 2 places, " in shell("plan", *REQUEST, *SYNTHETIC, "-m", "rcf", "--probe")[1]


def test_weights_that_nobody_needs(shell):
    code, _, err = shell("weights", "fetch", "rcf")
    assert code == command_line.AT_FAULT
    assert "rcf: weights = 'gaussian': it needs none" in err


def test_weights_with_a_licence(shell):
    code, _, err = shell("weights", "fetch", "satmae")
    assert code == command_line.AT_FAULT
    assert "CC-BY-NC-4.0" in err
    assert "accept" in err


def test_the_doctor_looks_for_weights_without_a_network(shell, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, out, _ = shell("doctor", "-m", "galileo:nano", "-m", "rcf", "--device", "cpu", "--json")
    assert code == command_line.FAILED
    lacking, needless, device = json.loads(out)
    assert (lacking["question"], lacking[""]) == ("weights of galileo-nano", "NOT AS EXPECTED")
    assert "run `rs-embed-dask weights fetch galileo --variant nano`" in lacking["answer"]
    assert needless == {"question": "weights of rcf", "answer": "none needed", "": "ok"}
    assert device == {"question": "device cpu", "answer": "cpu", "": "ok"}
    (tmp_path / "nano.pt").write_bytes(b"given")
    code, out, _ = shell("doctor", "-m", "galileo:nano", "--weights", tmp_path / "nano.pt", "--device", "cuda:99")
    assert code == command_line.FAILED
    assert f"sha256 {hashlib.sha256(b'given').hexdigest():.12}" in out.replace("\n", "")
    assert "this machine has" in out


def test_embed_then_resume_has_nothing_to_do(shell, tmp_path, scheduler, monkeypatch):
    out_path = tmp_path / "run.zarr"
    monkeypatch.setattr(rs_embed_dask, "plan", None)  # the plan that is printed is the run's own, not a second one
    words = ["embed", *REQUEST, *SYNTHETIC, "-m", "rcf", "--out", out_path, "--cluster", scheduler]
    code, out, _ = shell(*words)
    assert code == 0
    assert out.startswith("Plan\n")
    assert "2 in 1 chunk of" in out
    assert "100% done" in out
    assert "Plan against actual" in out.splitlines()[-15:]
    with xr.open_datatree(out_path, engine="zarr") as tree:
        before = tree["rcf"]["embedding"].values
    assert before.shape == (2, 512)
    assert np.isfinite(before).all()
    assert shell("resume", out_path, "--cluster", scheduler, "--quiet") == (0, "", "")
    assert shell(*words, "--quiet") == (0, "", "")
    with xr.open_datatree(out_path, engine="zarr") as tree:
        np.testing.assert_array_equal(tree["rcf"]["embedding"].values, before)


def test_a_store_at_a_service_is_reached_by_options_alone(shell, tmp_path, scheduler):
    """Commands that make, follow, continue and ask what lies there."""
    service = ObjectService()
    url, box = (f"s3://{service.bucket}/{name}.zarr" for name in ("run", "box"))
    words = [word for name, value in service.options().items() for word in ("--storage-option", f"{name}={value}")]
    request = [*SYNTHETIC, "-m", "bandstats", "--cluster", scheduler, "--quiet", *words]
    region = ["--bbox", "2.03,50.901,2.05,50.918", "--no-preview", *REQUEST[-4:]]
    try:
        assert shell("embed", *REQUEST, *request, "--out", url) == (0, "", "")
        assert shell("map", *region, *request, "--out", box) == (0, "", "")
        for store, counts in (url, {"ok": 2}), (box, {"ok": 1}):
            code, out, _ = shell("status", store, "--json", *words)
            assert (code, json.loads(out)["counts"]) == (0, {"bandstats": counts})
            code, out, _ = shell("watch", store, "--once", "--json", *words)
            assert (code, json.loads(out)["state"]) == (0, "complete")
            assert shell("verify", store, *words)[0] == 0
            assert shell("resume", store, "--cluster", scheduler, "--quiet", *words) == (0, "", "")
        assert shell("export", url, tmp_path / "run.parquet", "-f", "geoparquet", *words)[0] == 0
        assert (tmp_path / "run.parquet").stat().st_size > 0
        code, out, _ = shell("search", url, "--like", "4.35,50.85", "-k", 2, *words)
        assert (code, len(out.splitlines())) == (0, 3)
        assert shell("classes", box, "-k", 2, "--out", f"{box}.classes", *words)[:2] == (0, f"{box}.classes\n")
        code, out, _ = shell("status", f"{box}.classes", "--json", *words)
        assert (code, json.loads(out)["counts"]) == (0, {"classes": {"ok": 1}})
    finally:
        service.close()


@pytest.mark.parametrize(
    ("store", "words", "said"),
    [
        ("s3://bucket/run.zarr", "aws_secret_access_key=abc", "it is a credential"),
        ("s3://bucket/run.zarr", "access-key=abc", "it is not NAME=VALUE"),
        ("s3://bucket/run.zarr", "abc", "write for example --storage-option region=eu-central-1"),
        ("s3://bucket/run.zarr", "endpoint=https://me:abc@host", "must not have a password"),
        ("s3://bucket/run.zarr", "regoin=eu", "region"),
        ("run.zarr", "region=eu", "only object stores have such options"),
    ],
)
def test_options_that_are_secret_or_of_no_use_are_refused(shell, store, words, said):
    code, out, err = shell("status", store, "--storage-option", words)
    assert (code, out) == (command_line.AT_FAULT, "")
    assert said in err
    assert "abc" not in err


def test_a_part_ends_well_when_its_own_items_are_there(shell, tmp_path, scheduler):
    out_path = tmp_path / "run.zarr"
    words = ["embed", *REQUEST, *SYNTHETIC, "-m", "rcf", "--out", out_path, "--cluster", scheduler, "--quiet"]
    code, _, errors = shell(*words, "--part", "1/2")
    assert (code, out_path.exists()) == (2, False)
    assert "part = (1, 2): the items make only 1 chunk" in errors
    code, _, errors = shell(*words, "--part", "half")
    assert code == 2
    assert "write for example --part 1/4" in errors
    places = [PointBuffer(4.35, 50.85, 160), PointBuffer(4.40, 50.85, 160)]
    rs_embed_dask.compute_embeddings(
        places,
        "rcf",
        TemporalSpec.range("2022-06-01", "2022-07-01"),
        provider=rs_embed_dask.open_provider("synthetic", seed=7),
        out=out_path,
        part=(1, 2),
        chunk_items=1,
        client=lambda: Client(scheduler),
        progress=False,
    )
    assert shell("resume", out_path, "--part", "1/2", "--quiet") == (0, "", "")
    assert shell("status", out_path)[0] == 1
    assert shell(*words, "--part", "2/2")[0] == 0
    assert shell("status", out_path)[0] == 0


def test_a_catalogue_that_nobody_reaches_is_one_message(shell, tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(reach, "PROBE", replace(reach.PROBE, first_wait_s=0.001))
    words = ("--provider", "stac", "--url", "http://127.0.0.1:9/stac", "-m", "rcf", "--cluster", scheduler, "--quiet")
    code, out, err = shell("embed", *REQUEST, *words, "--out", tmp_path / "run.zarr")
    assert (code, out) == (1, "")
    assert err.startswith("error: service = 'http://127.0.0.1:9': it cannot be reached: it refused the connection")
    assert err.count("error") == 1


def test_no_cluster_is_contacted_before_the_plan_is_made_or_when_nothing_is_left(shell, tmp_path, scheduler):
    out_path, nowhere = tmp_path / "run.zarr", ("--cluster", "tcp://127.0.0.1:9", "--quiet")
    code, _, err = shell("embed", *REQUEST, *SYNTHETIC, "-m", "prithvi:nothing", "--out", out_path, *nowhere)
    assert code == command_line.AT_FAULT
    assert "variant of prithvi = 'nothing'" in err
    assert not out_path.exists()
    words = ["embed", *REQUEST, *SYNTHETIC, "-m", "rcf", "--out", out_path]
    assert shell(*words, "--cluster", scheduler, "--quiet")[0] == 0
    assert shell(*words, *nowhere) == (0, "", "")
    assert shell("resume", out_path, *nowhere) == (0, "", "")


def test_another_request_on_a_store_is_refused(shell, tmp_path, scheduler):
    words = ["--out", tmp_path / "run.zarr", "--cluster", scheduler, "--quiet", "-m", "rcf", *SYNTHETIC]
    assert shell("embed", *REQUEST, *words)[0] == 0
    code, _, err = shell("embed", *REQUEST, *words, "--resolution-m", "20")
    assert code == command_line.AT_FAULT
    assert "resolution_m" in err


def test_inspect_says_what_is_in_the_input(shell, tmp_path):
    picture = tmp_path / "input.png"
    code, out, _ = shell("inspect", *REQUEST, *SYNTHETIC, "-m", "rcf", "--png", picture)
    assert code == 0
    assert "red" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = json.loads(shell("inspect", *REQUEST, *SYNTHETIC, "-m", "rcf", "--json")[1])
    assert found


def test_a_map_is_planned_made_and_asked_for(shell, scheduler, tmp_path):
    words = ["--bbox", "2.03,50.901,2.031,50.902", "-m", "bandstats", "--model-option", "patch_px=2", *REQUEST[4:]]
    code, planned, _ = shell("plan-map", *words, *SYNTHETIC, "--json")
    blocks = json.loads(planned)["models"][0]["blocks"]
    assert (code, list(blocks)) == (0, ["utm31"])
    assert "of 64 x 64 tokens" in shell("plan-map", *words, *SYNTHETIC)[1]
    out = tmp_path / "map.zarr"
    code, printed, _ = shell("map", *words, *SYNTHETIC, "--out", out, "--cluster", scheduler, "--store-dtype", "int8")
    assert code == 0
    assert "Plan of a map" in printed
    assert "finished" in printed
    assert "Plan against actual" in printed.splitlines()[-10:]
    code, listed, _ = shell("status", out, "--items", "--json")
    assert code == 0
    assert len(json.loads(listed)["blocks"]) == blocks["utm31"]
    code, again, _ = shell("resume", out, "--cluster", scheduler)
    assert (code, "finished" in again) == (0, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "no region was given"),
        (["--bbox", "2,50,3,51", "areas.gpkg"], "a file and a box were given"),
        (["nowhere.gpkg"], "there is no such file"),
        (["--bbox", "2,50,3"], "4 numbers are needed"),
    ],
)
def test_a_map_needs_one_region(shell, words, reason):
    code, _, error = shell("plan-map", *words, "-m", "rcf", "--year", "2022", *SYNTHETIC)
    assert code == 2
    assert reason in error


def test_labels_are_predicted_and_written_as_a_page(shell, tmp_path):
    north = np.arange(40.0)
    vectors = np.stack([north, np.cos(north)], axis=1)
    lonlat = np.stack([np.full(40, 4.0), 50 + north / 100], axis=1)
    made_run(tmp_path / "a.zarr", {"a": vectors}, lonlat, columns={"height": 3 * north})
    words = ["--label", "height", "--fold", "random", "--fold", "blocks=10000", "--probe", "ridge"]
    code, out, _ = shell("benchmark", tmp_path / "a.zarr", *words, "--html", tmp_path / "a.html")
    assert code == 0
    assert "10 km (as given)" in out
    assert "<h1" in (tmp_path / "a.html").read_text("utf-8")
    code, out, _ = shell("benchmark", tmp_path / "a.zarr", *words, "--json")
    found = [row for row in json.loads(out) if (row["model"], row["metric"]) == ("a", "r2")]
    assert [row["folds"] for row in found] == ["random", "blocks"]
    assert min(row["value"] for row in found) > 0.99
    code, _, errors = shell("benchmark", tmp_path / "a.zarr", "--label", "hieght")
    assert code == 2
    assert "did you mean 'height'" in errors
