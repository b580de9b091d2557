"""Pages on clusters: every command on them is well-formed and names what exists; their Python runs, on stand-ins."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
import types

import distributed
import pytest
import yaml

import rs_embed_dask as rs
from rs_embed_dask.engine import clusters
from tests.deploy.commands import check_command
from tests.deploy.manifests import FOLDER, ROOT, documents
from tests.test_packaging import PROJECT

PAGE = "\n".join((ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("clusters", "slurm", "kubernetes"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines() if line.strip()]
OWN = {
    "docker",
    "kubectl",
    "helm",
    "apptainer",
    "pip",
    "dask",
    "rs-embed-dask",
    "srun",
    "CUDA_VISIBLE_DEVICES=0",
    "CUDA_VISIBLE_DEVICES=1",
}
SHELL = [line for line in LINES if line.split()[0] in OWN]
SCRIPTS = [block for language, block in BLOCKS if language == "python" and 'cluster("slurm"' not in block]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text("utf-8"))
NAMES = {
    (manifest["kind"].lower(), manifest["metadata"]["name"])
    for path in FOLDER.rglob("*.yaml")
    if not path.name.startswith("values-")
    for manifest in documents(path)
} | {("service", "rs-embed-dask-scheduler"), ("daskworkergroup", "rs-embed-dask-default")}  # made by the operator
IMAGES = {c["image"] for c in COMPOSE["services"].values()} | {
    f"registry.example.org/rs-embed-dask:{PROJECT['version']}-cuda"
}

KUBECTL = {
    "apply": {"-f"},
    "delete": {"-f"},
    "create namespace": set(),
    "create secret generic": {"--from-literal"},
    "config set-context": {"--current", "--namespace"},
    "logs": {"--follow"},
    "wait": {"--for", "--timeout"},
    "port-forward": set(),
    "scale": {"--replicas"},
    "exec": {"--"},
    "cp": set(),
}
HELM = {"--repo", "--version", "--namespace", "--create-namespace", "--values"}
DOCKER = {
    "build": {"--file", "--build-arg", "--tag"},
    "push": set(),
    "compose": {"--file", "--build", "--detach", "--scale"},
}


def options_of(words):
    return {word.partition("=")[0] for word in words if word.startswith("-")}


def after(words, option):
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def files_exist(words):
    for word in words:
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file(), word


def dask(words):
    check_command(words)
    assert set(after(words, "--resources")) <= {"GPU=1", "FETCH=32"}


def kubectl(words):
    verb = next(verb for verb in KUBECTL if words[1 : 1 + len(verb.split())] == verb.split())
    ours = words[: words.index("--")] if "--" in words else words
    assert options_of(ours) <= KUBECTL[verb], words
    rest = words[1 + len(verb.split()) :]
    for word in ours:
        kind, slash, name = word.partition("/")
        if slash and kind in {"job", "service"}:
            assert (kind, name) in NAMES, word
    if verb == "scale":
        assert tuple(rest[:2]) in NAMES
    if verb in {"exec", "cp"}:
        assert ("pod", "rs-embed-shell") in NAMES
        assert any(word.partition(":")[0] == "rs-embed-shell" for word in rest)
    if verb == "create secret generic":
        texts = (FOLDER / "cluster.yaml").read_text("utf-8")
        assert f"name: {rest[0]}" in texts
    if verb == "exec":
        check_command(words[words.index("--") + 1 :])


def helm(words):
    assert words[1] == "install"
    assert options_of(words) <= HELM
    (values,) = after(words, "--values")
    assert f"#   {' '.join(words)}" in (ROOT / values).read_text("utf-8").splitlines()
    assert after(words, "--namespace")[0] in {"dask-operator", "hub"}


def docker(words):
    assert options_of(words[: words.index("rs-embed-dask")] if "rs-embed-dask" in words else words) <= DOCKER[words[1]]
    if words[1] == "compose":
        assert after(words, "--file") == ["deploy/compose.yml"]
        assert words[4] in {"up", "logs", "exec", "down"}
        for word in words[5:6] if words[4] in {"logs", "exec"} else []:
            assert word in COMPOSE["services"]
        for word in after(words, "--scale"):
            assert word.partition("=")[0] in COMPOSE["services"]
        if words[4] == "exec":
            check_command(words[6:])
    for tag in after(words, "--tag") + (words[2:] if words[1] == "push" else []):
        assert tag in IMAGES
    for argument in after(words, "--build-arg"):
        name, _, torch = argument.partition("=")
        assert name == "TORCH"
        assert f"FROM base AS {torch}\n" in (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def apptainer(words):
    if words[1] == "exec":
        check_command(words[words.index("rs-embed-dask") :])


def pip(words):
    extras = re.fullmatch(r"rs-embed-dask\[([\w,-]+)\]", words[2])[1]
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def srun(words):
    assert words[1:4] == ["-p", "gpu", "--gres=gpu:1"]
    check_command(words[words.index("rs-embed-dask") :])


CHECKS = {
    "rs-embed-dask": check_command,
    "dask": dask,
    "kubectl": kubectl,
    "helm": helm,
    "docker": docker,
    "apptainer": apptainer,
    "pip": pip,
    "srun": srun,
}


def check_line(line):
    words = [word for word in shlex.split(line) if not word.startswith("CUDA_VISIBLE_DEVICES=")]
    files_exist(words)
    CHECKS[words[0]](words)


def test_there_are_commands_of_every_kind():
    assert {shlex.split(line)[0] for line in SHELL} >= set(CHECKS)
    assert len(SHELL) > 30


@pytest.mark.parametrize("line", SHELL)
def test_commands_name_what_exists(line):
    check_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "kubectl apply --f deploy/kubernetes/cluster.yaml",
        "kubectl apply -f deploy/kubernetes/clutser.yaml",
        "kubectl logs --follow job/rs-embd",
        "kubectl scale daskworkergroup rs-embed-dask-readers --replicas=3",
        "helm install hub daskhub --repo https://helm.dask.org --values deploy/kubernetes/values-daskhub.yaml",
        "docker compose --file deploy/compose.yml logs notebok",
        "docker build --file deploy/Dockerfile --build-arg TORCH=gpu --tag rs-embed-dask:0.2.0-cpu .",
        "dask worker tcp://workstation:8786 --resource GPU=1 --nthread 8 --unknown",
        "rs-embed-dask embed fields.geojson --modle rcf",
        'pip install "rs-embed-dask[cuda]"',
        "rs-embed-dask weights fetsh galileo",
        "srun -p gpu --gres=gpu:1 rs-embed-dask doctor --modle galileo:nano",
    ],
)
def test_a_typo_in_a_command_is_noticed(line):
    with pytest.raises((AssertionError, KeyError)):
        check_line(line)


class Stand:
    """A cluster, gateway or client of any kind, which notes what is asked of it."""

    def __init__(self, *args, **options):
        self.args, self.options = args, options

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def new_cluster(self, **options):
        (values,) = documents(FOLDER / "values-daskhub.yaml")
        (code,) = values["dask-gateway"]["gateway"]["extraConfig"].values()
        offered = set(re.findall(r'^    (?:String|Integer)\("(\w+)"', code, re.MULTILINE))
        assert options.keys() <= offered
        return Stand(**options)

    def adapt(self, *, minimum, maximum):
        assert minimum <= maximum

    def get_client(self):
        return self

    def shutdown(self):
        return None


@pytest.fixture
def calls(monkeypatch, asked):
    """Calls of the verbs, bound to their signatures; clusters and clients are stand-ins."""
    noted = []
    for verb in ("compute_embeddings", "compute_map"):
        signature = inspect.signature(getattr(rs, verb))
        bound = lambda *a, signature=signature, **k: noted.append(signature.bind(*a, **k).arguments)
        monkeypatch.setattr(rs, verb, bound)
    monkeypatch.setattr(rs, "submit", lambda verb, *args, **options: verb(*args, **options))
    monkeypatch.setattr(distributed, "Client", Stand)
    monkeypatch.setitem(sys.modules, "dask_gateway", types.SimpleNamespace(Gateway=Stand))
    monkeypatch.setitem(clusters._KINDS, "local", lambda **options: Stand(clusters.LocalPlan(**options).workers()))
    library = clusters._library("dask_kubernetes.operator", extra="kubernetes")
    library.LocalCUDACluster = Stand
    specs = clusters.importlib.util.find_spec
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: name == "dask_cuda" or specs(name))
    monkeypatch.setattr(clusters, "gpus_here", lambda: ("0", "1"))
    return noted


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_the_python_of_the_page_runs(script, calls, asked):
    exec(compile(script, "docs/clusters.md", "exec"), {})
    (call,) = calls
    assert isinstance(call["client"], Stand)
    if 'cluster(\n    "kubernetes"' in script:
        cluster, group = documents(FOLDER / "cluster.yaml")
        assert asked["custom_cluster_spec"] == cluster
        assert asked["embedders"] == group["spec"]["worker"]


def test_the_page_has_a_script_for_every_place():
    text = "\n".join(SCRIPTS)
    for word in ('cluster("local"', 'cluster("cuda"', '"kubernetes"', "Gateway()", "rs.submit("):
        assert word in text
