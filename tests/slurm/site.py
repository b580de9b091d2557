"""A site of one machine: Slurm with fake GPUs, on loopback, with its own key, sockets, ports and folder.

`python -m tests.slurm` makes one, runs the checks of this folder there, and ends what it started.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scancel", "scontrol", "squeue")
CORES, MEMORY_MB, GPUS = 16, 16000, 2
_PATIENCE_S = 120
_NVIDIA = 195

SLURM_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge}/socket,cred_expire=5
SlurmctldPort={control_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def absent() -> list[str]:
    """Name the programs that this machine lacks to be a site."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass(frozen=True)
class Job:
    """A job, as `scontrol show job` describes it."""

    fields: dict[str, str]

    @property
    def number(self) -> str:
        return self.fields["JobId"]

    @property
    def name(self) -> str:
        return self.fields["JobName"]

    @property
    def state(self) -> str:
        return self.fields["JobState"]

    @property
    def seconds(self) -> int:
        """How long it has run."""
        hours, minutes, seconds = self.fields["RunTime"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def tell(program: str, *arguments: str) -> str:
    """Run a command of Slurm."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def jobs(name: str = "", state: str = "") -> list[Job]:
    """List the jobs of the site, the oldest first, by their name and state."""
    lines = tell("scontrol", "--oneliner", "show", "job").splitlines()
    every = [Job(dict(re.findall(r"(\w+)=(\S*)", line))) for line in lines if line.startswith("JobId=")]
    listed = [job for job in every if name in job.name and state in job.state]
    return sorted(listed, key=lambda job: int(job.number))


@contextmanager
def up(folder: Path):
    """Start a site in a folder; end it, and all its jobs, on leaving."""
    munge = folder / "munge"
    for name in ("state", "spool", "munge", "jobs"):
        (folder / name).mkdir()
    munge.chmod(0o700)
    (munge / "key").write_bytes(secrets.token_bytes(128))
    (munge / "key").chmod(0o600)
    _configure(folder, munge)
    with ExitStack() as started:
        own = [f"--{name}={munge / name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        own.append(f"--key-file={munge / 'key'}")
        _daemon(started, folder, "munged", "--foreground", "--force", *own)
        _until((munge / "socket").exists, folder)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        started.callback(os.environ.pop, "SLURM_CONF")
        _daemon(started, folder, "slurmctld", "-D")
        _daemon(started, folder, "slurmd", "-D")
        _until(lambda: _answer("sinfo", "-h", "-p", "gpu", "-o", "%T").strip() == "idle", folder)
        started.callback(_empty, folder)
        yield


def _configure(folder: Path, munge: Path) -> None:
    """Write Slurm's configuration, and make the devices of the fake GPUs: without them, jobs are not told theirs."""
    host = socket.gethostname().partition(".")[0]
    control_port, node_port = _free_ports(2)
    text = SLURM_CONF.format(
        host=host,
        folder=folder,
        munge=munge,
        control_port=control_port,
        node_port=node_port,
        cores=CORES,
        memory_mb=MEMORY_MB,
        gpus=GPUS,
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/nvidia[0-{GPUS - 1}]\n")
    for number in range(GPUS):
        os.mknod(folder / f"nvidia{number}", stat.S_IFCHR | 0o600, os.makedev(_NVIDIA, number))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _daemon(started: ExitStack, folder: Path, *command: str) -> None:
    log = started.enter_context((folder / f"{command[0]}.out").open("wb"))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _empty(folder: Path) -> None:
    """Cancel what is left: the processes of jobs are not ours, but slurmd's."""
    left = _answer("squeue", "-h", "-o", "%i").split()
    if left:
        _answer("scancel", *left)
        _until(lambda: not _answer("squeue", "-h").strip(), folder)


def _answer(program: str, *arguments: str) -> str:
    """What a command of Slurm says; nothing while its daemons start."""
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    ).stdout


def _until(happened, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(folder.glob("*.log")))
            raise TimeoutError(f"Slurm did not do it within {_PATIENCE_S} s:\n{logs}")
        time.sleep(0.1)
