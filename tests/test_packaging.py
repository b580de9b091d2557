"""What a fresh clone relies on: the packaging files agree with each other."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import rs_embed_dask

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMPORTS = (ast.Import, ast.ImportFrom)


def distribution(requirement):
    """The name that a requirement asks for, as registries compare it."""
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def pinned():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_version_is_the_same_everywhere():
    assert PROJECT["version"] == rs_embed_dask.__version__
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_torch_is_pinned_to_the_tested_release():
    assert pinned()["torch"] == "2.13.0"


def test_constraints_name_no_local_build_and_no_path():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    assert "+cpu" not in text
    assert "@" not in text
    assert "/" not in text.replace("`", "")


def test_every_dependency_of_setup_has_a_tested_version():
    extras = PROJECT["optional-dependencies"]
    named = ("dev", "docs", "plot", "notebook")
    required = [*PROJECT["dependencies"], *(line for extra in named for line in extras[extra])]
    tested = {name.lower().replace("_", "-") for name in pinned()}
    assert {distribution(r) for r in required} - {"rs-embed-dask"} <= tested


NAMES_ON_CONDA = {"pytorch": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}


def conda(name):
    """Names and bounds of an environment file, with PyPI's names of the same releases."""
    environment = yaml.safe_load((ROOT / name).read_text("utf-8"))
    assert (environment["name"], environment["channels"]) == ("rs-embed-dask", ["conda-forge"])
    words = [line.split(maxsplit=1) for line in environment["dependencies"] if isinstance(line, str)]
    return {distribution(NAMES_ON_CONDA.get(word, word)): "".join(bounds) for word, *bounds in words}


def required(*extras):
    """Names and bounds of what the package and some extras need, without other extras of the package."""
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return {distribution(line): re.sub(r"^[\w.-]+", "", line) for line in lines}


def test_conda_users_get_the_same_versions_and_the_extras_of_the_card():
    listed = conda("environment.yml")
    needed = required("analysis", "earth_engine", "slurm", "kubernetes", "object-store", "plot", "notebook")
    assert needed == {name: listed.get(name) for name in needed}
    assert listed.keys() - needed.keys() == {"python", "pip", "pyogrio"}  # pyogrio comes with geopandas on PyPI
    card = {"earthengine-api", "xee", "stackstac", "dask-jobqueue", "dask-kubernetes", "dask", "xarray", "zarr"}
    assert card <= listed.keys()


def test_conda_users_with_gpus_get_dask_cuda_and_the_same_torch():
    assert conda("environment-gpu.yml") == {name: required("gpu")[name] for name in ("dask-cuda", "torch")}


def test_every_package_of_the_images_has_a_tested_version():
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    extras = {extra for named in re.findall(r'pip install .*"\.\[([\w,-]+)\]"', text) for extra in named.split(",")}
    assert "hub" in extras
    tested = {name.lower().replace("_", "-") for name in pinned()}
    assert required(*extras).keys() <= tested


def test_the_wheel_needs_no_folder_of_the_checkout():
    for path in sorted((ROOT / "rs_embed_dask").rglob("*.py")):
        imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, IMPORTS)]
        modules = {alias.name for node in imports for alias in node.names}
        modules |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
        assert not {name for name in modules if name.split(".")[0] in {"tests", "benchmarks", "examples"}}, path


# Importing a submodule binds its name in its package, so a function of the same name could be hidden by a module.
IMPORT_SUBMODULES = """
for module in pkgutil.walk_packages(rs.__path__, "rs_embed_dask."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
CHECK_NAMES = """
for name in rs.__all__:
    value = getattr(rs, name)
    assert not isinstance(value, types.ModuleType), name
    assert callable(value), name
    assert value is getattr(sys.modules[rs._HOME_OF[name]], name), name
"""


@pytest.mark.parametrize("steps", [(IMPORT_SUBMODULES, CHECK_NAMES), (CHECK_NAMES, IMPORT_SUBMODULES, CHECK_NAMES)])
def test_public_names_are_the_same_whatever_was_imported_before(steps):
    script = "import importlib, pkgutil, sys, types\nimport rs_embed_dask as rs\n" + "".join(steps)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_extras_are_those_that_the_documents_name():
    named = """
    analysis bench dev docs earth_engine explore gpu hub kubernetes notebook object-store plot slurm
    """
    assert set(named.split()) == set(PROJECT["optional-dependencies"])


def test_ci_runs_make_test_and_wheel_and_slurm_where_it_can(tmp_path):
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    for name in (".ci/run", "bin/make", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(script, tmp_path / ".ci" / "run")
    for code, expected in ((0, ["made test wheel", "made test-slurm"]), (1, ["made test wheel", "not run: no Slurm"])):
        for name, text in (("bin/make", "echo made $*"), (".venv/bin/python", f"echo no Slurm; exit {code}")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path / 'bin'}:{os.defpath}"
        done = subprocess.run([tmp_path / ".ci/run"], env={"PATH": path}, check=True, capture_output=True, text=True)
        assert done.stdout.splitlines() == expected
    (tmp_path / "bin/make").write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run([tmp_path / ".ci/run"], env={"PATH": path}, check=False).returncode


def test_make_test_is_lint_types_imports_docs_and_tests():
    dry = subprocess.run(["make", "-n", "test"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "mkdocs --quiet build", "pytest"):
        assert tool in dry
    assert "--strict" in dry


def test_make_test_long_runs_the_suite_and_every_model():
    dry = subprocess.run(
        ["make", "-n", "test-long", "MODELS=numbers"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert dry.index("-m pytest") < dry.index("-m tests.parity numbers")


def test_make_demo_runs_on_the_service():
    dry = subprocess.run(["make", "-n", "demo"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "-m tests.services.demo --out demo-out" in dry


@pytest.mark.parametrize("target", ["demo", "real", "test", "test-long", "lint", "types", "docs", "wheel", "bench"])
def test_a_target_makes_the_environment_when_it_is_missing(target, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    dry = subprocess.run(["make", "-n", target], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    setup, action = dry.index("-m venv .venv"), dry.rindex(".venv/bin/")
    assert setup < action


def test_an_old_python_is_refused_with_the_fix(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    old = tmp_path / "oldpython"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n", "utf-8")
    old.chmod(0o755)
    done = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs Python >= 3.11" in done.stdout
    assert "Python 3.9.2" in done.stdout
    assert "Fix:" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_the_readme_gives_the_two_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
