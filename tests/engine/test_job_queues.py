"""Jobs of batch systems: their scripts as text, and which job comes next. `tests/slurm` runs them on a real Slurm."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import dask
import pytest
from dask_jobqueue.core import JobQueueCluster

import rs_embed_dask
from rs_embed_dask.engine.clusters import cluster
from rs_embed_dask.engine.job_queues import QUEUES
from rs_embed_dask.errors import SpecError

QUIET = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
GPU = {"workers": 2, "gpus": 1, "queue": "gpu", "cores": 8, "memory": "64GiB"}
CPU = {"readers": 3, "reader_options": {"queue": "cpu", "cores": 4, "memory": "16GiB", "walltime": "02:00:00"}}
WORKER = (
    "export OMP_NUM_THREADS={cores}\n"
    f"exec {sys.executable} -m distributed.cli.dask_worker tcp://<scheduler>:8786 --name NAME --nthreads {{cores}} "
    "--memory-limit {memory} --nanny --death-timeout 60 --resources {resources} --nthreads {threads} "
    "--lifetime {lifetime}s --lifetime-stagger {stagger}s "
    "--worker-class rs_embed_dask.engine.leaving.LeavingWorker --preload-nanny rs_embed_dask.engine.leaving\n"
)
EMBED = {"cores": 8, "memory": "64.00GiB", "resources": "GPU=1", "threads": 8, "lifetime": 13566, "stagger": 714}
READ = {"cores": 4, "memory": "16.00GiB", "resources": "FETCH=16", "threads": 24, "lifetime": 6726, "stagger": 354}
HEADERS = {
    "slurm": (
        """\
#SBATCH -J rs-embed-dask-embed
#SBATCH -p gpu
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH -t 04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --gres=gpu:1
""",
        """\
#SBATCH -J rs-embed-dask-read
#SBATCH -p cpu
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH -t 02:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
""",
    ),
    "pbs": (
        """\
#PBS -N rs-embed-dask-embed
#PBS -q gpu
#PBS -l select=1:ncpus=8:mem=65536mb:ngpus=1
#PBS -l walltime=04:00:00
#PBS -r y
""",
        """\
#PBS -N rs-embed-dask-read
#PBS -q cpu
#PBS -l select=1:ncpus=4:mem=16GB
#PBS -l walltime=02:00:00
#PBS -r y
""",
    ),
    "lsf": (
        """\
#BSUB -J rs-embed-dask-embed
#BSUB -q gpu
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -M 68720
#BSUB -W 04:00
#BSUB -r
#BSUB -wa TERM -wt 1
#BSUB -gpu "num=1"
""",
        """\
#BSUB -J rs-embed-dask-read
#BSUB -q cpu
#BSUB -n 4
#BSUB -R "span[hosts=1]"
#BSUB -M 17180
#BSUB -W 02:00
#BSUB -r
#BSUB -wa TERM -wt 1
""",
    ),
    "sge": (
        """\
#$ -N rs-embed-dask-embed
#$ -q gpu
#$ -l h_rt=04:00:00
#$ -cwd
#$ -j y
#$ -r y
#$ -notify
#$ -l gpu=1
""",
        """\
#$ -N rs-embed-dask-read
#$ -q cpu
#$ -l h_rt=02:00:00
#$ -cwd
#$ -j y
#$ -r y
#$ -notify
""",
    ),
}
OWN = {"lsf": {"lsf_units": "mb"}}


@pytest.fixture
def adapted(monkeypatch):
    """Nothing is submitted; what `adapt` is asked for is noted."""
    asked = []
    monkeypatch.setattr(JobQueueCluster, "adapt", lambda self, **options: asked.append(options))
    return asked


def scripts(kind="slurm", **options):
    with cluster(kind, scheduler_options=QUIET, **options) as made:
        return list(made.job_scripts().values())


def header(script):
    return [line.partition(" ")[2] for line in script.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize("kind", QUEUES)
def test_two_classes_of_jobs_and_their_scripts(adapted, kind):
    readers = CPU["reader_options"] | {"walltime": "02:00" if kind == "lsf" else "02:00:00"}
    embed, read = scripts(kind, **GPU, **CPU | {"reader_options": readers}, **OWN.get(kind, {}))
    assert embed == "#!/usr/bin/env bash\n\n" + HEADERS[kind][0] + WORKER.format(**EMBED)
    assert read == "#!/usr/bin/env bash\n\n" + HEADERS[kind][1] + WORKER.format(**READ)
    assert adapted == [{"minimum_jobs": 5, "maximum_jobs": 5}]


def test_one_class_reads_and_embeds(adapted):
    (script,) = scripts(workers=4, gpus=2, fetch_slots=8)
    assert "-J rs-embed-dask" in header(script)
    assert "--gres=gpu:2" in header(script)
    assert "--resources FETCH=8,GPU=2 --nthreads 16 " in script
    (script,) = scripts()
    assert "--resources FETCH=16,EMBED=1 --nthreads 24 " in script
    assert header(script)[2:5] == ["--cpus-per-task=4", "--mem=15G", "-t 04:00:00"]
    assert adapted == [{"minimum_jobs": 4, "maximum_jobs": 4}, {"minimum_jobs": 1, "maximum_jobs": 1}]


def test_what_the_user_decides_stays(adapted):
    own = ["--qos=long", "--gpus-per-node=a100:1", "--no-requeue", "--signal=B:TERM@300"]
    (script,) = scripts(gpus=1, job_extra_directives=own, worker_extra_args=["--lifetime", "3h"], python="python3")
    assert header(script)[5:] == own
    assert "--lifetime 3h --resources" in script
    assert "lifetime-stagger" not in script
    assert "\nexec python3 -m" in script
    (script,) = scripts("sge", gpus=1, job_extra_directives=["-l ngpus=1", "-r n"])
    assert script.partition("#$ -j y\n")[2].startswith("#$ -l ngpus=1\n#$ -r n\n#$ -notify\nexport")
    (script,) = scripts(worker_extra_args=["--lifetime=3h"])
    assert "--nthreads 24 --worker-class" in script


def test_readers_do_not_take_over_what_asks_for_a_gpu(adapted):
    lines = ["--qos=long", "--gres=gpu:a100:1", "--mem-per-gpu=40G"]
    embed, read = scripts(gpus=1, readers=1, job_extra_directives=lines)
    assert header(embed)[3:] == ["-t 04:00:00", *lines, "--requeue", "--signal=B:TERM@60"]
    assert header(read)[3:] == ["--mem=15G", "-t 04:00:00", "--qos=long", "--requeue", "--signal=B:TERM@60"]
    own = {"job_extra_directives": ["--qos=short"]}
    _, read = scripts(gpus=1, readers=1, job_extra_directives=lines, reader_options=own)
    assert header(read)[5:] == ["--qos=short", "--requeue", "--signal=B:TERM@60"]
    embed, read = scripts("pbs", gpus=1, readers=1, resource_spec="select=1:ngpus=1:gputype=a100")
    assert "#PBS -l select=1:ngpus=1:gputype=a100\n" in embed
    assert "#PBS -l select=1:ncpus=4:mem=15GB\n" in read


def test_memory_by_gpu_or_core_takes_the_place_of_memory(adapted):
    (script,) = scripts(gpus=2, job_extra_directives=["--mem-per-gpu=40GiB"])
    assert "--memory-limit 80.00GiB " in script
    assert not [line for line in header(script) if line.startswith("--mem=")]
    (script,) = scripts(cores=6, job_extra_directives=["--mem-per-cpu=4GiB"])
    assert "--memory-limit 24.00GiB " in script
    (script,) = scripts(gpus=1, memory="30GiB", job_extra_directives=["--mem-per-gpu=40G"])
    assert "--memory-limit 30.00GiB " in script


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, r"workers = 0: it must lie in \[1, 1000000\]"),
        ({"readers": -1}, r"readers = -1: it must lie in \[0, 1000000\]"),
        ({"gpus": 0.5}, r"gpus = 0.5: expected a whole number, got float"),
        ({"n_workers": 3}, r"n_workers = 3: jobs are counted by class. Fix: give workers= and readers="),
        ({"reader_options": {"cores": 2}}, r"reader_options = .*there are no such jobs. Fix: give readers= too"),
        ({"walltime": "soon"}, r"walltime = 'soon': it is not a time. Fix: write it as 04:00:00"),
        ({"walltime": "1:2:3:4"}, r"walltime = .*it is not a time"),
        ({"walltime": "00:03:00"}, r"walltime = .*shorter than 4 times grace_s, which is 60. Fix: ask for longer jobs"),
        (
            {"job_extra_directives": ["--mem-per-gpu=4G"], "job_mem": "4G", "gpus": 1},
            r"--mem-per-gpu=4G.*job_mem=4G.*--mem-per-gpu and --mem exclude each other. Fix: give one of them",
        ),
        ({"job_extra_directives": ["--mem-per-cpu=4G", "--mem=8G"]}, r"--mem-per-cpu and --mem exclude each other"),
        ({"job_extra_directives": ["--mem-per-gpu=4G"]}, r"these jobs have no GPU. Fix: give gpus="),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(SpecError, match=message):
        cluster("slurm", **options)


@pytest.mark.parametrize(
    ("system", "text", "seconds"),
    [
        ("slurm", "90", 5400),
        ("slurm", "90:30", 5430),
        ("slurm", "1:30:00", 5400),
        ("slurm", "2-12", 216_000),
        ("slurm", "2-12:30", 217_800),
        ("slurm", "2-12:30:15", 217_815),
        ("pbs", "90", 90),
        ("pbs", "01:30:00", 5400),
        ("sge", "1:30", 90),
        ("lsf", "90", 5400),
        ("lsf", "1:30", 5400),
    ],
)
def test_a_wall_time_is_read_as_its_system_does(system, text, seconds):
    assert QUEUES[system].seconds(text) == seconds


def test_the_files_of_the_site_count_where_the_call_is_silent(adapted):
    site = {
        "cores": 12,
        "walltime": "01:00:00",
        "worker-extra-args": ["--dashboard-prefix", "x"],
        "job-extra-directives": ["--account=p1"],
        "job-script-prologue": ["module load cuda"],
    }
    with dask.config.set({"jobqueue.slurm": dask.config.get("jobqueue.slurm") | site}):
        (script,) = scripts(memory="2GiB")
    assert header(script)[2:] == ["--cpus-per-task=12", "--mem=2G", "-t 01:00:00", "--account=p1", *header(script)[6:]]
    assert "export OMP_NUM_THREADS=12\nmodule load cuda\nexec" in script
    assert "--dashboard-prefix x --resources" in script
    assert "--lifetime 3306s --lifetime-stagger 174s" in script


def test_the_scheduler_is_attentive_unless_told_otherwise(adapted):
    with cluster("slurm", scheduler_options=QUIET) as made:
        assert made.scheduler.worker_ttl == 25
    with dask.config.set({"jobqueue.slurm.scheduler-options": QUIET | {"worker_ttl": 90}}), cluster("slurm") as made:
        assert made.scheduler.worker_ttl == 90


def test_the_class_that_lacks_the_most_comes_next(adapted):
    with cluster("slurm", workers=4, readers=2, scheduler_options=QUIET) as made:
        names = {}
        for _ in range(6):
            made.worker_spec |= made.new_worker_spec()
            names[next(reversed(made.worker_spec))] = next(reversed(made.worker_spec.values()))["options"]["job_name"]
        order = [name.rpartition("-")[2] for name in names.values()]
        assert order == ["embed", "read", "embed", "embed", "read", "embed"]
        lost = next(name for name, job in names.items() if job.endswith("read"))
        del made.worker_spec[lost]
        (spec,) = made.new_worker_spec().values()
        assert spec["options"]["job_name"] == "rs-embed-dask-read"
        made.worker_spec.clear()


def test_the_page_shows_this_script_and_its_example_runs(adapted, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "slurm.md").read_text("utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1].replace("ib0", "lo")
    ran = []
    monkeypatch.setattr(rs_embed_dask, "compute_embeddings", lambda *args, client, **_: ran.append(client.cluster))
    shown = page.partition("```\n#!")[2].partition("```")[0].replace("PYTHON", sys.executable).replace("ib0", "lo")
    with dask.config.set({"jobqueue.slurm.scheduler-options": QUIET}):
        exec(example, {})
    (jobs,) = ran
    assert "#!" + shown == jobs.job_scripts()["rs-embed-dask-embed"]
    assert adapted == [{"minimum_jobs": 12, "maximum_jobs": 12}]
