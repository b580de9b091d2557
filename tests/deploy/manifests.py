"""Checks manifests as a strict API server would: ours by the operator's schemas, what it makes by Kubernetes'."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import dask_kubernetes
import jsonschema
import kubernetes_validate
import yaml
from dask_kubernetes.operator.controller import controller as operator

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
RELEASE = "1.32"
CRDS = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def strict(node):
    """A CRD's schema as one that refuses unknown fields, which an API server drops unless it is asked to be strict."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {key: strict(value) for key, value in node.items()}
    if node.pop("x-kubernetes-int-or-string", False):
        node.pop("type", None)
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if node.get("type") == "object" and "properties" in node and "x-kubernetes-preserve-unknown-fields" not in node:
        node.setdefault("additionalProperties", False)
    return node


@cache
def validators():
    """A validator for each kind that the Dask operator adds."""
    kinds = {}
    for path in sorted(CRDS.glob("*.yaml")):
        for document in documents(path):
            (version,) = document["spec"]["versions"]
            schema = strict(version["schema"]["openAPIV3Schema"])
            plain = {"apiVersion": {"const": "kubernetes.dask.org/v1"}, "kind": {}, "metadata": {"type": "object"}}
            schema["properties"].update(plain)
            kinds[document["spec"]["names"]["kind"]] = jsonschema.Draft7Validator(schema)
    return kinds


def made_by_the_operator(manifest):
    """The Deployments and the Service that the operator's own code makes of a cluster or of a group of workers."""
    name, spec = manifest["metadata"]["name"], copy.deepcopy(manifest["spec"])
    if manifest["kind"] == "DaskWorkerGroup":
        pod = spec["worker"]["spec"]
        return [operator.build_worker_deployment_spec(name, "default", spec["cluster"], "0", pod, {}, {})]
    group = operator.build_default_worker_group_spec(name, spec["worker"], {}, {})
    scheduler = spec["scheduler"]
    return [
        operator.build_scheduler_deployment_spec(name, scheduler["spec"], {}, {}),
        operator.build_scheduler_service_spec(name, scheduler["service"], {}, {}),
        *made_by_the_operator(group),
    ]


def check(manifest):
    """Raise a ValidationError of jsonschema unless the manifest, and what the operator makes of it, are valid."""
    if manifest["kind"] not in validators():
        kubernetes_validate.validate(manifest, RELEASE, strict=True)
        return
    validators()[manifest["kind"]].validate(manifest)
    for one in made_by_the_operator(manifest):
        kubernetes_validate.validate(one, RELEASE, strict=True)


def pods(manifest):
    """The pod specs of a manifest."""
    if manifest["kind"] in validators():
        made = [one for one in made_by_the_operator(manifest) if one["kind"] == "Deployment"]
        return [one["spec"]["template"]["spec"] for one in made]
    if manifest["kind"] == "Pod":
        return [manifest["spec"]]
    return [manifest["spec"]["template"]["spec"]] if manifest["kind"] == "Job" else []
