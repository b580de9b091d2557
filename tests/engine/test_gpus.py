"""Which GPUs a process may use, and the parts that MIG makes of them."""

from __future__ import annotations

import subprocess

import pytest

from rs_embed_dask.engine import gpus
from rs_embed_dask.engine.gpus import gpus_here

LISTING = """\
GPU 0: NVIDIA H200 (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.18gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.18gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA H200 (UUID: GPU-43f1a57c-1f2a-4f4c-9a55-1f9e1f4a6f10)
"""


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing of another test is remembered, and nothing of this one."""
    gpus._listed.cache_clear()
    yield
    gpus._listed.cache_clear()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,1", ("0", "1")),
        (" GPU-a , MIG-b", ("GPU-a", "MIG-b")),
        ("2,-1,3", ("2",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
    ],
)
def test_what_is_visible_is_read_as_cuda_reads_it(monkeypatch, given, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus_here() == names


def test_the_driver_lists_gpus_and_parts_in_place_of_theirs(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, LISTING)

    monkeypatch.setattr(gpus.subprocess, "run", run)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert gpus_here() == (
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
        "GPU-43f1a57c-1f2a-4f4c-9a55-1f9e1f4a6f10",
    )
    assert gpus_here()
    assert asked == [["/usr/bin/nvidia-smi", "-L"]]


@pytest.mark.parametrize("fault", [PermissionError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 30)])
def test_a_machine_without_a_driver_has_none(monkeypatch, fault):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(*_, **__):
        raise fault

    monkeypatch.setattr(gpus.subprocess, "run", run)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert gpus_here() == ()
    gpus._listed.cache_clear()
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    assert gpus_here() == ()
