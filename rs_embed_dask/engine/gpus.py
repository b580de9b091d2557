"""The GPUs of this machine, by the names that pin a process to one of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from itertools import takewhile
from typing import Final

__all__ = ["VISIBLE", "gpus_here"]

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_LISTED: Final = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)")
_PATIENCE_S: Final = 30


def gpus_here() -> tuple[str, ...]:
    """Return what of CUDA this process may see: numbers, or UUIDs of GPUs and of the parts that MIG makes of them."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return _listed()
    names = (name.strip() for name in given.split(","))
    return tuple(takewhile(lambda name: name not in {"", "-1", "NoDevFiles"}, names))  # CUDA too ends at the first


@cache
def _listed() -> tuple[str, ...]:
    """Ask the driver. The parts of a GPU take its place: a process sees one part, and of a parted GPU nothing else."""
    driver = shutil.which("nvidia-smi")
    if driver is None:
        return ()
    try:
        listing = subprocess.run([driver, "-L"], capture_output=True, text=True, timeout=_PATIENCE_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    gpus: list[list[str]] = []
    for name in _LISTED.findall(listing):
        if name.startswith("GPU"):
            gpus.append([name])
        else:
            gpus[-1].append(name)
    return tuple(name for whole, *parts in gpus for name in parts or [whole])
