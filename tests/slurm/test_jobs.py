"""Runs on jobs of a real Slurm, which are cancelled, signalled, requeued, and reach their wall time."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client

import rs_embed_dask as rs
from rs_embed_dask.providers import open_provider
from tests.chaos.maps import BORDER, MapStage
from tests.chaos.stages import Stage
from tests.engine.fakes import threads, until
from tests.slurm import site
from tests.slurm.gated import PATIENCE_S, Gated, running

pytestmark = pytest.mark.timeout(900)

EMBED, READ = "rs-embed-dask-embed", "rs-embed-dask-read"
LANDSCAPE = open_provider("synthetic", seed=11, cloud=0.1, revisit_days=10, latency_s=(1.0, 0.3))
PLACES = Stage("synthetic", LANDSCAPE)
MAP = MapStage("synthetic", LANDSCAPE, BORDER, 13)
RUNS = {"places": (rs.compute_embeddings, PLACES), "map": (rs.compute_map, MAP)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a site, as long as the tests run."""
    made = tmp_path_factory.mktemp("site")
    with site.up(made):
        yield made


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """What the same calls leave on two undisturbed workers in this process."""
    made = tmp_path_factory.mktemp("references")
    with threads() as client:
        for name, (verb, stage) in RUNS.items():
            verb(**stage.arguments(), out=made / name, client=client, progress=False)
    return {name: stage.reference(made / name) for name, (_, stage) in RUNS.items()}


@contextmanager
def jobs_of(folder, **options):
    """A cluster of small jobs."""
    own = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    where = {"log_directory": str(folder / "jobs"), "local_directory": str(folder / "jobs"), "interface": "lo"}
    size = {"cores": 2, "memory": "2GB", "fetch_slots": 2, "scheduler_options": own}
    with rs.cluster("slurm", **size | where | options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def short(folder, references):
    """A run on jobs of two minutes, which goes on while the other tests run: it takes longer than its jobs."""
    gate = folder / "hold-short"
    limits = {"walltime": "00:02:00", "grace_s": 10}
    # Neither a lifetime nor a signal ends the job that reads: it meets its wall time.
    careless = {"worker_extra_args": ["--lifetime", "1h"], "job_extra_directives": ["--signal=B:CONT@1"]}
    with jobs_of(
        folder, job_name="short-embed", readers=1, reader_options=careless | {"job_name": "short-read"}, **limits
    ) as client:
        until(lambda: len(workers(client)) == 2, PATIENCE_S)  # one alone could read all before anything is stored
        with begun("places", folder / "short.zarr", client, gate) as run:
            yield gate, run


@pytest.fixture(scope="module")
def client(folder, short):
    """Two jobs that embed, each with a GPU, and one that reads."""
    with jobs_of(folder, workers=2, gpus=1, readers=1, queue="gpu", reader_options={"queue": "cpu"}) as connected:
        until_all_run(connected)
        yield connected


def until_all_run(client):
    """Wait for three jobs with their workers: `adapt` replaces what has ended."""

    def is_whole():
        ready = [len(site.jobs(name, "RUNNING")) for name in (EMBED, READ)]
        return ready == [2, 1] and len(workers(client)) == 3

    until(is_whole, PATIENCE_S)


def workers(client):
    return client.scheduler_info(n_workers=-1)["workers"]


def environment(dask_worker):
    """What a job knows of itself, and what its worker offers."""
    names = ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_RESTART_COUNT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    return {name: os.environ.get(name) for name in names} | dict(dask_worker.state.total_resources)


def environments(client):
    answers = client.run(environment, on_error="ignore")  # some leave while they are asked
    return {one["SLURM_JOB_ID"]: one for one in answers.values()}


@contextmanager
def begun(kind, out, client, gate):
    """A run of which something is stored, and something waits for the gate."""
    verb, stage = RUNS[kind]
    held = replace(stage, provider=Gated(LANDSCAPE, gate=str(gate)))
    with running(verb, gate, **held.arguments(), out=out, client=client) as run:
        yield run


@contextmanager
def disturbed(kind, out, client, gate):
    """A run that the test disturbs; it cannot end before that."""
    with begun(kind, out, client, gate) as run:
        yield
        assert not run.done()


def check(kind, out, references):
    """Compare a store with that of the undisturbed run."""
    verdict = RUNS[kind][1].judge(out, references[kind])
    assert verdict.is_clean, str(verdict)


def test_readers_have_cores_and_embedders_a_gpu_each(client):
    every = environments(client)
    told = {
        number: (job.name, job.fields["Partition"], job.fields.get("TresPerNode"))
        for job in site.jobs("rs-embed")
        for number in [job.number]
    }
    assert sorted(told.values(), key=str) == [(EMBED, "gpu", "gres:gpu:1")] * 2 + [(READ, "cpu", None)]
    assert told.keys() == every.keys()
    embedders = [one for one in every.values() if one["SLURM_JOB_NAME"] == EMBED]
    (reader,) = [one for one in every.values() if one["SLURM_JOB_NAME"] == READ]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in embedders) == ["0", "1"]
    assert [(one.get("GPU"), one.get("FETCH")) for one in (*embedders, reader)] == [(1, None), (1, None), (None, 2)]
    assert {one["OMP_NUM_THREADS"] for one in every.values()} == {"2"}


def test_a_map_is_whole_though_its_jobs_are_cancelled(client, folder, references):
    out, gate = folder / "cancelled.zarr", folder / "hold-cancelled"
    (reader,) = site.jobs(READ, "RUNNING")
    embedder = site.jobs(EMBED, "RUNNING")[0]
    with disturbed("map", out, client, gate):
        site.tell("scancel", embedder.number)
        site.tell("scancel", "--full", "--signal=KILL", reader.number)
        until(lambda: not {embedder.number, reader.number} & environments(client).keys())
    check("map", out, references)
    until_all_run(client)
    states = {job.number: job.state for job in site.jobs("rs-embed")}
    assert states[embedder.number] == "CANCELLED"
    assert states[reader.number] != "RUNNING"


def held(begun, gate):
    """A task in hand, which ends when it may."""
    with Path(begun).open("a", encoding="utf-8") as file:
        file.write(os.environ["SLURM_JOB_ID"] + "\n")
    until(Path(gate).exists, PATIENCE_S)
    return os.environ["SLURM_JOB_ID"]


def test_a_signalled_job_finishes_what_it_has_in_hand(client, folder, references):
    out, gate, begun = folder / "signalled.zarr", folder / "hold-signalled", folder / "begun"
    with disturbed("places", out, client, gate):
        task = client.submit(held, str(begun), str(folder / "finish"), resources={"GPU": 1 / 64})
        until(begun.exists)
        number = begun.read_text().strip()
        site.tell("scancel", "--signal=TERM", "--batch", number)
        until(lambda: "closing_gracefully" in {one["status"] for one in workers(client).values()})
        (folder / "finish").touch()
        assert task.result(PATIENCE_S) == number
        until(lambda: number not in {job.number for job in site.jobs(EMBED, "RUNNING")})
    check("places", out, references)
    assert begun.read_text().split() == [number], "it ran once"
    (job,) = [job for job in site.jobs(EMBED) if job.number == number]
    assert (job.state, job.fields["ExitCode"]) == ("COMPLETED", "0:0")
    until_all_run(client)


def test_a_requeued_job_comes_back(client, folder, references):
    out, gate = folder / "requeued.zarr", folder / "hold-requeued"
    until_all_run(client)
    number = site.jobs(EMBED, "RUNNING")[0].number
    # Time for the job to come back; the short run's embedder may leave meanwhile, and is replaced no sooner either
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "90s"}):
        with disturbed("places", out, client, gate):
            site.tell("scontrol", "requeue", number)
            until(lambda: environments(client).get(number, {}).get("SLURM_RESTART_COUNT") == "1", PATIENCE_S)
        check("places", out, references)
    until_all_run(client)
    assert number in environments(client)


def test_jobs_leave_before_their_wall_time_and_a_run_outlives_one_that_does_not(short, folder, references):
    gate, run = short
    until(lambda: site.jobs("short-read", "TIMEOUT"), PATIENCE_S)
    assert not run.done()
    gate.unlink()
    run.result(PATIENCE_S)
    check("places", folder / "short.zarr", references)
    left = site.jobs("short-embed", "COMPLETED")
    assert left, "no job has left at the end of its lifetime"
    assert all(60 < job.seconds < 120 for job in left)
    assert not site.jobs("short-embed", "TIMEOUT")
