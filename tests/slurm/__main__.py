"""The checks of this folder on a Slurm of their own: `python -m tests.slurm`, which `make test-slurm` calls.

With `--install`, only what they need is installed, or one line says why they cannot run here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.site import PACKAGES, absent

FOLDER = Path(__file__).parent


def missing() -> str:
    """Install what is absent where that is possible; say what is still missing, or nothing."""
    if os.geteuid() != 0:
        return "it needs root, because Slurm's daemons start jobs as their users"
    if absent() and shutil.which("apt-get"):
        print(f"installing {' and '.join(PACKAGES)}", flush=True)
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(
                ["apt-get", "-qq", *command],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
                check=False,
            )
    names = absent()
    return f"{', '.join(names)} not installed (Debian: apt-get install {' '.join(PACKAGES)})" if names else ""


def main(arguments: list[str]) -> int:
    reason = missing()
    if reason:
        print(f"make test-slurm cannot run here: {reason}")
        return 1
    if "--install" in arguments:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    return int(pytest.main([str(FOLDER), "-o", "norecursedirs=.*", *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
