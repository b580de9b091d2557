"""Builds the wheel, installs it in clean environments and uses it there: ``python -m tests.release``.

The first Python on this machine that the package is for gets the wheel with the versions of constraints.txt, which are
for that one, and all get it with the newest that its bounds allow (``--all``: both for all); of torch the tested one,
for its newest brings gigabytes of libraries for GPUs. There, without extras, in an empty folder, every module that
needs no extra is imported, and two places are embedded, stored, and read back by plain xarray and by the command line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PYTHONS = tuple(line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line)
CONSTRAINTS = ROOT / "constraints.txt"
(TORCH,) = (line for line in CONSTRAINTS.read_text("utf-8").splitlines() if line.startswith("torch=="))
VERSIONS = {"tested": ("-c", str(CONSTRAINTS)), "newest": ("--upgrade", TORCH)}
USE = """
import importlib, pkgutil
import numpy as np, xarray as xr
import rs_embed_dask as rs

OF_EXTRAS = {"matplotlib", "sklearn", "ee", "xee", "google", "googleapiclient", "google_auth_httplib2", "httplib2"}
OF_EXTRAS |= {"dask_cuda", "dask_jobqueue", "dask_kubernetes", "obstore"}
for module in pkgutil.walk_packages(rs.__path__, "rs_embed_dask."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:
            assert str(missing.name).partition(".")[0] in OF_EXTRAS, (module.name, missing.name)
assert all(callable(getattr(rs, name)) for name in rs.__all__)
from distributed import Client

places = [rs.PointBuffer(4.35 + shift, 50.85, buffer_m=160) for shift in (0, 0.01)]
june = rs.TemporalSpec.range("2022-06-01", "2022-07-01")
with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
    options = {"provider": "synthetic", "client": client, "progress": False}
    rs.compute_embeddings(places, ["rcf", "bandstats"], june, out="run.zarr", **options)
tree = xr.open_datatree("run.zarr", engine="zarr")
shapes = {name: tree[name].embedding.shape for name in ("rcf", "bandstats")}
assert shapes == {"rcf": (2, 512), "bandstats": (2, 90)}, shapes
assert all(np.isfinite(tree[name].embedding).all() for name in shapes)
"""


def main(arguments):
    """Build, look into the wheel, and use it in each environment."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        wheel = built(Path(folder))
        check_contents(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        for python, versions in environments(options.pythons.split() or pythons(), both=options.all):
            begun = time.monotonic()
            environment = Path(folder) / "environment"
            install(wheel, python, environment, (*VERSIONS[versions], *options.pip_args.split()))
            print(f"{used(environment)}, {versions} versions: {time.monotonic() - begun:.0f} s", flush=True)
            shutil.rmtree(environment)


def _options(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=__doc__)
    parser.add_argument("--pythons", default="", help="interpreters, separated by spaces; default: those that are here")
    parser.add_argument("--all", action="store_true", help="the tested versions for every Python, not the first alone")
    parser.add_argument("--pip-args", default="", help="more options of pip, such as an index")
    parser.add_argument("--folder", help="where environments are made; default: the system's temporary folder")
    return parser.parse_args(arguments)


def environments(found, *, both):
    """Pair each Python with the versions that are installed for it."""
    return [
        (python, versions)
        for number, python in enumerate(found)
        for versions in VERSIONS
        if both or number == 0 or versions == "newest"
    ]


def pythons():
    """The interpreters of this machine that the package is for, one of each version."""
    return [found for version in PYTHONS if (found := _found(version))]


def _found(version):
    """The interpreter that the path has for a version, if it runs and can make environments."""
    asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    path = shutil.which(f"python{version}")
    if path is None:
        return None
    done = subprocess.run([path, "-c", asked], capture_output=True, text=True, check=False)
    return path if done.stdout.strip() == version else None


def built(folder):
    """Build the wheel of this checkout."""
    quietly(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel):
    """Refuse a wheel with another version, with files beside the package, or without those that it needs."""
    name = PROJECT["name"].replace("-", "_")
    information = f"{name}-{PROJECT['version']}.dist-info"
    files = set(zipfile.ZipFile(wheel).namelist())
    strays = sorted(file for file in files if file.partition("/")[0] not in {name, information})
    lacking = sorted({f"{name}/py.typed", f"{information}/licenses/LICENSE"} - files)
    if strays or lacking:
        message = f"{wheel.name} has {strays[:5]} beside the package, and lacks {lacking}"
        raise SystemExit(message)


def install(wheel, python, environment, options):
    """Install the wheel in a new environment, and let pip check it."""
    quietly(python, "-m", "venv", environment)
    inside = environment / "bin" / "python"
    quietly(inside, "-m", "pip", "install", *options, wheel)
    quietly(inside, "-m", "pip", "check")


def used(environment):
    """Use what is installed in an empty folder; return its Python and some of its versions."""
    inside = environment / "bin"
    with tempfile.TemporaryDirectory(dir=environment) as folder:
        quietly(inside / "python", "-W", "error::DeprecationWarning:rs_embed_dask", "-I", "-c", USE, cwd=folder)
        quietly(inside / "rs-embed-dask", "status", "run.zarr", cwd=folder)
    asked = (
        "import importlib.metadata as m, platform; print('Python', platform.python_version(), "
        "*(name + ' ' + m.version(name) for name in ('dask', 'zarr', 'xarray', 'torch')))"
    )
    return quietly(inside / "python", "-c", asked).strip()


def quietly(*command, cwd=None):
    """Run a command; show what it printed only if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)[:300]}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
