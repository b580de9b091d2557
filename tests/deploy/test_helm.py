"""The values of the Helm charts: keys that the charts have, and the hub's options by Dask Gateway's own code."""

from __future__ import annotations

from pathlib import Path

import dask_kubernetes
import kubernetes_validate
import pytest
import yaml
from dask_gateway_server.backends.kubernetes import KubeClusterConfig
from dask_gateway_server.backends.kubernetes.controller import KubeController
from traitlets.config import Config

from tests.deploy.manifests import FOLDER, RELEASE, documents

KEYS = Path(__file__).with_name("helm_keys.txt")
CHARTS = {"values-operator.yaml": "dask-kubernetes-operator", "values-daskhub.yaml": "daskhub"}


def flat(node, at=""):
    """The path of every value, and of every empty mapping, which a chart leaves open, with `.*`."""
    for key, value in node.items():
        here = f"{at}.{key}" if at else key
        if isinstance(value, dict):
            yield from flat(value, here) if value else [f"{here}.*"]
        else:
            yield here


def allowed(chart):
    lines = [line for line in KEYS.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {key for name, key in (line.split(": ") for line in lines) if name == chart}


def unknown(values, chart):
    keys = allowed(chart)
    open_below = tuple(key.removesuffix("*") for key in keys if key.endswith(".*"))
    return [key for key in flat(values) if key not in keys and not key.startswith(open_below)]


@pytest.mark.parametrize("name", CHARTS)
def test_every_value_has_a_key_of_the_chart(name):
    (values,) = documents(FOLDER / name)
    assert unknown(values, CHARTS[name]) == []


def test_a_typo_in_a_key_is_noticed():
    assert unknown({"workerAllocations": {"size": 1}}, "dask-kubernetes-operator") == ["workerAllocations.size"]
    bad = {"dask-gateway": {"gateway": {"backend": {"wroker": {"threads": 1}, "environment": {"ANY": "thing"}}}}}
    assert unknown(bad, "daskhub") == ["dask-gateway.gateway.backend.wroker.threads"]


def test_the_operators_keys_are_those_of_the_installed_release():
    chart = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/values.yaml"
    assert allowed("dask-kubernetes-operator") == set(flat(yaml.safe_load(chart.read_text("utf-8"))))


@pytest.fixture
def gateway():
    """The gateway's configuration as its chart makes it of the values, and the options of its users."""
    (values,) = documents(FOLDER / "values-daskhub.yaml")
    own = values["dask-gateway"]["gateway"]
    config = Config()
    config.KubeClusterConfig.image = ":".join(own["backend"]["image"].values())
    for part in ("scheduler", "worker"):
        config.KubeClusterConfig[f"{part}_extra_pod_config"] = own["backend"][part]["extraPodConfig"]
    config.KubeClusterConfig.worker_extra_container_config = own["backend"]["worker"]["extraContainerConfig"]
    config.KubeClusterConfig.environment = own["backend"]["environment"]
    for code in own["extraConfig"].values():
        exec(compile(code, "extraConfig", "exec"), {"c": config})
    return config


def pods_of_the_hub(config, **chosen):
    options = config.Backend.cluster_options
    overrides = options.get_configuration(options.parse_options(chosen), None)
    cluster = KubeClusterConfig(config=config, **overrides)
    controller = KubeController(api_url="http://api:8000/api", gateway_instance="hub")
    pods = [controller.make_pod("hub", "one", cluster, is_worker=worker) for worker in (False, True)]
    for pod in pods:
        kubernetes_validate.validate(pod, RELEASE, strict=True)
    return [pod["spec"]["containers"][0] for pod in pods], pods[1]["spec"]


def test_workers_of_the_hub_read_and_embed(gateway):
    (scheduler, worker), spec = pods_of_the_hub(gateway)
    assert scheduler["args"][:2] == ["dask", "scheduler"]
    assert worker["args"][:2] == ["dask", "worker"]
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "24"
    env = {one["name"]: one.get("value") for one in worker["env"]}
    offered = {name: value for name, value in env.items() if "RESOURCES" in name}
    assert offered == {
        "DASK_DISTRIBUTED__WORKER__RESOURCES__FETCH": "16",
        "DASK_DISTRIBUTED__WORKER__RESOURCES__EMBED": "1",
    }
    assert env["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] == "25 s"
    assert worker["resources"]["requests"] == {"cpu": "4.000", "memory": str(16 * 2**30)}
    assert worker["envFrom"][0]["secretRef"]["name"] == "rs-embed-credentials"
    assert spec["securityContext"]["runAsNonRoot"] is True


def test_workers_of_the_hub_with_a_gpu(gateway):
    (_, worker), spec = pods_of_the_hub(gateway, gpus=1, memory_gb=64)
    env = {one["name"]: one.get("value") for one in worker["env"]}
    assert env["DASK_DISTRIBUTED__WORKER__RESOURCES__GPU"] == "1"
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert worker["resources"]["limits"]["memory"] == str(64 * 2**30)
    assert worker["envFrom"][0]["secretRef"]["name"] == "rs-embed-credentials"
    assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert spec["securityContext"]["runAsNonRoot"] is True
