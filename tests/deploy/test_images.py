"""The images and the compose file: linted, built by the commands and versions of the Makefile, and of one mind.

Nothing is built here. What is shown: the files are well-formed, name what exists, and agree with each other.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import jsonschema
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from tests.deploy.commands import values_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
DEFINITION = (DEPLOY / "rs-embed-dask.def").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXACT = re.compile(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
HADOLINT = Path(sys.executable).with_name("hadolint")
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
SECTIONS = {"files", "post", "environment", "test", "runscript", "labels"}


def stages(tmp_path):
    """The instructions of each stage of the Dockerfile, by its name."""
    parser = DockerfileParser(path=str(tmp_path / "Dockerfile"))
    parser.content = DOCKERFILE
    found = {"ARG": []}  # before the first stage
    for step in parser.structure:
        if step["instruction"] == "FROM":
            found[step["value"].split()[-1]] = []
        if step["instruction"] != "COMMENT":
            found[list(found)[-1]].append((step["instruction"], step["value"]))
    return found


def installs(text):
    """Arguments of each `pip install` in a text, without how quiet it is and where an index lies."""
    lines = [line for line in text.splitlines() if "pip install" in line and not line.lstrip().startswith("#")]
    kept = []
    for line in lines:
        words = shlex.split(re.sub(r"\$\(PIP_ARGS\)|\$PIP_ARGS", "", line.partition("pip install")[2]))
        kept.append([word for word in words if word not in {"--quiet", "--disable-pip-version-check", "-e"}])
    return kept


def lint(text):
    done = subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_dockerfile_has_nothing_to_lint():
    assert lint(DOCKERFILE) == (0, "")


@pytest.mark.parametrize(
    ("line", "broken", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ("python:3.11.13-slim-bookworm", "python:latest", "DL3007"),
        ("WORKDIR /home", "WORKDIR home", "DL3000"),
        ('CMD ["rs-embed-dask", "--help"]', "CMD rs-embed-dask --help", "DL3025"),
        ("HEALTHCHECK --interval=60s", "HEALTCHECK --interval=60s", "unexpected"),
    ],
)
def test_the_lint_notices(line, broken, rule):
    code, said = lint(DOCKERFILE.replace(line, broken))
    assert code != 0
    assert rule in said


def test_both_images_are_one_but_for_the_build_of_torch(tmp_path):
    """Each way to torch is variables alone; what follows is there once, for either."""
    found = stages(tmp_path)
    assert list(found) == ["ARG", "base", "cpu", "cuda", "${TORCH}"]
    assert found["ARG"] == [("ARG", "TORCH=cpu")]
    for name in ("cpu", "cuda"):
        assert found[name][0] == ("FROM", f"base AS {name}")
        assert {instruction for instruction, _ in found[name][1:]} == {"ENV"}
    assert found["cpu"][1] == ("ENV", "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu")
    last = dict(found["${TORCH}"])
    assert last["USER"] == "1000:1000"
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2]) == ["rs-embed-dask", "--version"]
    assert not [value for instruction, value in found["${TORCH}"] if instruction == "RUN" and value.startswith("apt")]


def test_images_that_are_built_upon_are_exact():
    bases = re.findall(r"^FROM (\S+) AS", DOCKERFILE, re.MULTILINE) + re.findall(
        r"^From: (\S+)", DEFINITION, re.MULTILINE
    )
    outside = [base for base in bases if base != "base"]
    assert len(outside) == 2
    assert len(set(outside)) == 1
    assert EXACT.fullmatch(outside[0])
    assert not EXACT.fullmatch("python:latest")
    assert not EXACT.fullmatch("python:3.11-slim")


def test_the_images_are_installed_as_make_setup_installs():
    makefile = installs((ROOT / "Makefile").read_text("utf-8"))
    torch, package = makefile
    assert torch == ["-c", "constraints.txt", "torch"]
    for text in (DOCKERFILE, DEFINITION):
        first, install = installs(text)
        assert first == torch
        assert install[:-1] == package[:-1]
        extras = re.fullmatch(r"\.\[([\w,-]+)\]", install[-1])[1].split(",")
        assert set(extras) <= PROJECT["optional-dependencies"].keys() - {"dev"}


def test_what_is_copied_is_there_and_let_through():
    copied = {word for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    _, _, files = DEFINITION.partition("%files\n")
    assert {line.split()[0] for line in files.partition("\n\n")[0].splitlines()} == copied
    assert copied == {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "rs_embed_dask"}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert PROJECT["readme"] in copied
    assert set(PROJECT["license-files"]) <= copied


def test_the_definition_has_known_sections_and_this_version():
    assert set(re.findall(r"^%(\w+)", DEFINITION, re.MULTILINE)) == SECTIONS
    assert DEFINITION.count("\n%") == len(SECTIONS)
    assert f"org.opencontainers.image.version {PROJECT['version']}" in DEFINITION
    post = DEFINITION.partition("%post\n")[2].partition("\n%")[0]
    done = subprocess.run(["sh", "-n"], input=post, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def compose_errors(document):
    schema = json.loads(SCHEMA.read_text("utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [error.message for error in validator.iter_errors(document)]


def test_the_compose_file_is_valid():
    assert compose_errors(COMPOSE) == []
    for edit in ({"portz": []}, {"healthcheck": {"tests": []}}, {"restart": 3}):
        service = COMPOSE["services"]["scheduler"] | edit
        assert compose_errors(COMPOSE | {"services": {"scheduler": service}})


def test_services_are_one_image_without_rights():
    services = COMPOSE["services"]
    assert set(services) == {"scheduler", "readers", "embedders", "notebook"}
    for service in services.values():
        assert service["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile", "args": {"TORCH": "cpu"}}
        assert service["image"] == f"rs-embed-dask:{PROJECT['version']}-cpu"
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service
        assert service["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["volumes"] == ["store:/store"]
    assert re.search(r"^FROM base AS cpu$", DOCKERFILE, re.MULTILINE)
    assert set(COMPOSE["volumes"]) == {"store"}


def test_services_run_commands_that_exist_and_find_each_other():
    services = COMPOSE["services"]
    offered = set()
    for name in ("readers", "embedders"):
        values = values_of(services[name]["command"])
        assert values["scheduler"] == "tcp://scheduler:8786"
        offered.add(values["resources"])
        assert services[name]["depends_on"] == {"scheduler": {"condition": "service_healthy"}}
        assert f"127.0.0.1{values['dashboard_address']}/health" in services[name]["healthcheck"]["test"][-1]
    assert offered == {"FETCH=16", "EMBED=1"}
    values = values_of(services["scheduler"]["command"])
    assert values["port"] == "8786"
    dashboard = values["dashboard_address"].removeprefix(":")
    assert services["scheduler"]["ports"] == [f"127.0.0.1:{dashboard}:{dashboard}"]
    assert f":{dashboard}/health" in services["scheduler"]["healthcheck"]["test"][-1]
    notebook = services["notebook"]
    port = notebook["command"][notebook["command"].index("--port") + 1]
    assert notebook["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f":{port}/api" in notebook["healthcheck"]["test"][-1]
    assert notebook["environment"]["DASK_SCHEDULER_ADDRESS"] == "tcp://scheduler:8786"
    for service in services.values():
        compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")
