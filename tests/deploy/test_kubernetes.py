"""deploy/kubernetes: valid in every field, what `rs.cluster` asks for, and commands that exist."""

from __future__ import annotations

import copy
import functools
import inspect
import operator
import re

import distributed
import httpx
import jsonschema
import kr8s
import pytest
import yaml
from typer.testing import CliRunner

import rs_embed_dask as rs
from rs_embed_dask.cli.app import app
from rs_embed_dask.engine import clusters
from rs_embed_dask.errors import EngineError, SpecError
from tests.deploy.commands import check_command
from tests.deploy.conftest import RefusedError
from tests.deploy.manifests import FOLDER, check, documents, pods

FILES = sorted(path for path in FOLDER.rglob("*.yaml") if not path.name.startswith("values-"))
MANIFESTS = [(path.name, document) for path in FILES for document in documents(path)]
CLUSTER, GROUP = documents(FOLDER / "cluster.yaml")
JOBS = {name: manifest for name, manifest in MANIFESTS if manifest["kind"] == "Job"}


def same_as_the_file(**changes):
    """The call on docs/kubernetes.md that asks for what cluster.yaml holds."""
    store = {"name": "store", "persistentVolumeClaim": {"claimName": "rs-embed-store"}}
    user = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    secret = {"secretRef": {"name": "rs-embed-credentials", "optional": True}}
    options = {
        "image": "registry.example.org/rs-embed-dask:0.2.0-cuda",
        "readers": 4,
        "workers": 2,
        "gpus": 1,
        "resources": {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "16Gi"}},
        "env": {"HF_HOME": "/store/weights"},
        "pod": {"serviceAccountName": "rs-embed-dask", "securityContext": user, "volumes": [store]},
        "container": {"envFrom": [secret], "volumeMounts": [{"name": "store", "mountPath": "/store"}]},
    }
    return rs.cluster("kubernetes", **options | changes)


def test_there_is_everything():
    kinds = [manifest["kind"] for _, manifest in MANIFESTS]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "ServiceAccount": 2,
        "Role": 1,
        "RoleBinding": 1,
        "DaskCluster": 1,
        "DaskWorkerGroup": 1,
        "ConfigMap": 2,
        "Job": 3,
        "Pod": 1,
        "NetworkPolicy": 1,
        "PersistentVolumeClaim": 1,
    }


@pytest.mark.parametrize(("name", "manifest"), MANIFESTS, ids=[f"{n}-{m['kind']}" for n, m in MANIFESTS])
def test_manifests_are_valid_in_every_field(name, manifest):
    check(manifest)


@pytest.mark.parametrize(
    ("manifest", "where", "edit"),
    [
        (CLUSTER, "spec", {"wroker": {}}),
        (CLUSTER, "spec.worker", {"replcas": 3}),
        (CLUSTER, "spec.worker", {"replicas": "two"}),
        (CLUSTER, "spec.worker.spec", {"volums": []}),
        (CLUSTER, "spec.worker.spec.containers.0", {"volumeMount": []}),
        (CLUSTER, "spec.worker.spec.containers.0", {"name": None}),
        (CLUSTER, "spec.worker.spec.containers.0.envFrom.0", {"secretref": {}}),
        (CLUSTER, "spec.scheduler.spec.containers.0.readinessProbe.httpGet", {"prot": 1}),
        (CLUSTER, "spec.scheduler.service.ports.0", {"targetport": 1}),
        (CLUSTER, "", {"apiVersion": "kubernetes.dask.org/v2"}),
        (GROUP, "spec", {"clutser": "rs"}),
        (GROUP, "spec.worker.spec", {"tolerationz": []}),
        (GROUP, "spec.worker.spec.tolerations.0", {"efect": "NoSchedule"}),
        (GROUP, "spec.worker.spec.containers.0.resources", {"limit": {}}),
        (JOBS["from-claim.yaml"], "spec.template.spec", {"restartPolcy": "Never"}),
        (JOBS["from-claim.yaml"], "spec.template.spec.containers.0.securityContext", {"capabilites": {}}),
    ],
)
def test_a_typo_is_refused(manifest, where, edit):
    broken = copy.deepcopy(manifest)
    steps = [int(step) if step.isdigit() else step for step in where.split(".") if step]
    functools.reduce(operator.getitem, steps, broken).update(edit)
    with pytest.raises(jsonschema.ValidationError):
        check(broken)


def test_rs_cluster_asks_for_what_the_file_holds(asked):
    same_as_the_file(namespace="embeddings")
    assert asked["custom_cluster_spec"] == CLUSTER
    assert {"cluster": "rs-embed-dask", "worker": asked["embedders"]} == GROUP["spec"]
    assert GROUP["metadata"]["name"] == "rs-embed-dask-embedders"  # as KubeCluster.add_worker_group names it
    assert asked["namespace"] == "embeddings"


@pytest.mark.parametrize("options", [{}, {"gpus": 1}, {"readers": 2}, {"readers": 2, "gpus": 2}, {"jupyter": True}])
def test_whatever_rs_cluster_asks_for_is_valid(asked, options):
    rs.cluster("kubernetes", name="mine", **options)
    check(asked["custom_cluster_spec"])
    if "readers" in options:
        spec = {"cluster": "mine", "worker": asked["embedders"]}
        check(GROUP | {"spec": spec})


def test_a_gpu_goes_to_those_that_embed_and_never_to_the_scheduler(asked):
    same_as_the_file(resources={"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}})
    scheduler, readers = (asked["custom_cluster_spec"]["spec"][part]["spec"] for part in ("scheduler", "worker"))
    embedders = asked["embedders"]["spec"]
    limits = [pod["containers"][0]["resources"]["limits"] for pod in (scheduler, readers, embedders)]
    assert limits == [{"memory": "8Gi"}, {"memory": "8Gi"}, {"memory": "8Gi", "nvidia.com/gpu": "1"}]
    assert [len(pod.get("tolerations", ())) for pod in (scheduler, readers, embedders)] == [0, 0, 1]


def test_a_group_that_is_there_is_left_and_another_refusal_closes_the_cluster(asked):
    asked["refusal"] = RefusedError(409)
    same_as_the_file()
    assert not asked["closed"]
    asked["refusal"] = RefusedError(403)
    with pytest.raises(EngineError, match=r"the group of embedders was refused: status 403. Fix: .*access.yaml"):
        same_as_the_file()
    assert asked["closed"]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (ValueError("Unable to find valid credentials"), "ValueError: Unable to find valid credentials"),
        (httpx.ConnectError("All connection attempts failed"), "ConnectError: All connection attempts failed"),
        (kr8s.ServerError("daskclusters is forbidden"), "ServerError: daskclusters is forbidden"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("manifest", [{}, {"custom_cluster_spec": "mine.yaml"}], ids=("ours", "the user's own"))
def test_a_cluster_that_cannot_be_asked_for_is_refused_with_its_reason(asked, monkeypatch, failure, told, manifest):
    def refuse(**_):
        raise failure

    monkeypatch.setattr(clusters._library("", extra=""), "KubeCluster", refuse)
    with pytest.raises(EngineError, match=rf"kubernetes cluster: {told}. Fix: check your kubeconfig"):
        rs.cluster("kubernetes", **manifest)


def test_an_asynchronous_cluster_starts_with_one_group(asked):
    with pytest.raises(SpecError, match="has one group at first"):
        same_as_the_file(asynchronous=True)
    same_as_the_file(asynchronous=True, readers=0)
    assert asked["asynchronous"] is True


def test_a_manifest_of_the_users_own_is_passed_on(asked):
    rs.cluster("kubernetes", custom_cluster_spec="mine.yaml", namespace="embeddings", workers=3)
    assert (asked["custom_cluster_spec"], asked["namespace"]) == ("mine.yaml", "embeddings")


def commands():
    """The arguments of every container, with the name of what it runs."""
    for name, manifest in MANIFESTS:
        for pod in pods(manifest):
            for container in pod["containers"]:
                yield f"{name}-{container['name']}", container["args"]


@pytest.mark.parametrize(("label", "args"), list(commands()), ids=[label for label, _ in commands()])
def test_containers_run_commands_that_exist(label, args):
    """So that neither an option nor, as `dask-scheduler` has, a whole command is gone from the tested releases."""
    if args in (["python", "/request/request.py"], ["sleep", "infinity"]):
        return
    check_command(args)


def test_an_option_or_a_command_that_is_gone_is_noticed():
    for args in (["dask", "worker", "--resource", "GPU=1"], ["rs-embed-dask", "embed", "--modle=rcf"]):
        with pytest.raises(AssertionError):
            check_command(args)
    with pytest.raises(AssertionError):
        check_command(["dask-scheduler", "--host", "0.0.0.0"])


def test_pods_meet_the_restricted_standard_and_hold_no_secret():
    for _, manifest in MANIFESTS:
        for pod in pods(manifest):
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
            assert all("hostPath" not in volume for volume in pod.get("volumes", ()))
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
                assert not [one for one in container.get("env", ()) if re.search("(?i)key|secret|token", one["name"])]
                assert "limits" in container["resources"]


def test_only_pods_that_use_credentials_have_them():
    scheduler, readers = pods(CLUSTER)
    (embedders,) = pods(GROUP)
    assert "envFrom" not in scheduler["containers"][0]
    assert {pod["containers"][0]["envFrom"][0]["secretRef"]["name"] for pod in (readers, embedders)} == {
        "rs-embed-credentials"
    }


def test_what_is_named_exists():
    named = {manifest["kind"]: set() for _, manifest in MANIFESTS}
    for _, manifest in MANIFESTS:
        named[manifest["kind"]].add(manifest["metadata"]["name"])
    service = f"{CLUSTER['metadata']['name']}-scheduler"
    for name, manifest in MANIFESTS:
        text = yaml.safe_dump(manifest)
        assert set(re.findall(r"tcp://([a-z-]+):8786", text)) <= {service}, name
        for pod in pods(manifest):
            assert pod["serviceAccountName"] in named["ServiceAccount"]
            volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
            assert {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", ())} == volumes.keys()
            for volume in volumes.values():
                if "configMap" in volume:
                    assert volume["configMap"]["name"] in named["ConfigMap"]
                else:
                    assert volume["persistentVolumeClaim"]["claimName"] in named["PersistentVolumeClaim"]
    assert GROUP["spec"]["cluster"] in named["DaskCluster"]
    assert len({c["image"] for _, m in MANIFESTS for pod in pods(m) for c in pod["containers"]}) == 1


def test_the_policy_admits_the_pods_of_the_cluster_and_of_the_jobs():
    (policy,) = documents(FOLDER / "network.yaml")
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected == {"dask.org/cluster-name": CLUSTER["metadata"]["name"]}  # the operator labels its pods so
    (shell,) = documents(FOLDER / "shell.yaml")
    for template in [job["spec"]["template"] for job in JOBS.values()] + [shell]:
        assert selected.items() <= template["metadata"]["labels"].items()
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(blocks[-1]["except"])


def test_the_job_of_the_configmap_runs(tmp_path, monkeypatch):
    request, job = documents(FOLDER / "jobs" / "from-configmap.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for name, text in request["data"].items():
        (tmp_path / name).write_text(text, "utf-8")
    args = [
        arg.replace("/request/", f"{tmp_path}/").replace("/store/", f"{tmp_path}/")
        for arg in container["args"][1:]
        if not arg.startswith("--cluster=")
    ]
    done = CliRunner().invoke(app, ["plan" if a == "embed" else a for a in args if not re.match("--(out|wait)=", a)])
    assert done.exit_code == 0, done.output
    assert "2 places" in done.output


def test_the_script_of_the_object_store_calls_what_exists(monkeypatch):
    script, _ = documents(FOLDER / "jobs" / "object-store.yaml")
    calls = []
    signature = inspect.signature(rs.compute_embeddings)

    class Connected:
        def __init__(self, address):
            self.address = address

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(distributed, "Client", Connected)
    monkeypatch.setattr(rs, "compute_embeddings", lambda *a, **k: calls.append(signature.bind(*a, **k).arguments))
    exec(compile(script["data"]["request.py"], "request.py", "exec"), {})
    (call,) = calls
    assert call["client"].address == "tcp://rs-embed-dask-scheduler:8786"
    assert call["out"] == "s3://my-bucket/fields.zarr"
