"""A stand-in for the connection to an API server; what is asked for is made by dask-kubernetes itself."""

from __future__ import annotations

import types

import kr8s
import pytest
from dask_kubernetes.operator import make_cluster_spec, make_worker_spec

from rs_embed_dask.engine import clusters


class RefusedError(kr8s.ServerError):
    def __init__(self, status):
        super().__init__(f"status {status}", response=types.SimpleNamespace(status_code=status))


@pytest.fixture
def asked(monkeypatch):
    """What dask-kubernetes is asked for; only its connection to an API server is replaced."""
    asked = {"closed": False, "refusal": None}

    class Made:
        def __init__(self, **options):
            asked.update(options)

        def add_worker_group(self, name, *, custom_spec):
            if asked["refusal"]:
                raise asked["refusal"]
            asked[name] = custom_spec

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def close(self):
            asked["closed"] = True

    library = types.SimpleNamespace(
        KubeCluster=Made, make_cluster_spec=make_cluster_spec, make_worker_spec=make_worker_spec
    )
    monkeypatch.setattr(clusters, "_library", lambda name, extra: library)
    return asked
