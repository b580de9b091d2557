"""Runs the examples of the models' pages on made imagery and small networks."""

from __future__ import annotations

import types

import numpy as np

import rs_embed_dask as rs
from rs_embed_dask.imagery.sensors import is_public
from rs_embed_dask.inference.loading import load_model
from rs_embed_dask.specs import ModelSpec

TINY = {"dim": 32, "depth": 1, "heads": 2}
# Networks of the same kind, small enough to run all examples in seconds.
SMALL = {
    "clay": {"dim": 40, "depth": 1, "heads": 2, "head_dim": 16, "wave_dim": 16, "tokens": 4},
    "terramind": {**TINY, "mlp_ratio": 2.0},
    "remoteclip": {**TINY, "out": 16},
    "bandstats": {},
    "rcf": {},
    "galileo": {},
    "presto": {"dim": 128, "depth": 1, "heads": 8},
    "thor": {**TINY, "group_dim": 8},
    "agrifm": {"dim": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 2, 2)},
    "satvision": {"dim": 16, "depths": (1, 1, 1, 1), "heads": (1, 2, 2, 2)},
}


def run_example(found, code):
    """Run an example on made imagery and small networks; return the shape that it says it gets.

    Nothing is read for a product: its request is planned, which checks the place, the span and the output.
    """
    told = {"spec": ModelSpec(found.id)}

    def get_embedding(model, place, span, *, output):
        planned = rs.plan([place], [model], span, output=output, provider="synthetic")
        assert planned.request.models[0].id == found.id
        told["spec"] = ModelSpec.of(model)
        return types.SimpleNamespace(data=np.zeros(found.dim(told["spec"], output)))

    def load(model):
        told["spec"] = ModelSpec.of(model)
        weights = {} if found.variant(None).weights is None else {"weights": "random"}
        return load_model(model, config=SMALL.get(found.id, TINY), device="cpu", **weights)

    namespace = types.SimpleNamespace(**{name: getattr(rs, name) for name in ("ModelSpec", "OutputSpec")})
    namespace.PointBuffer, namespace.TemporalSpec = rs.PointBuffer, rs.TemporalSpec
    namespace.get_embedding, namespace.load_model = get_embedding, load
    scope = {"rs": namespace}
    exec(compile(code.replace("import rs_embed_dask as rs\n", ""), "example", "exec"), scope)
    assert ("mine" in scope) == (bool(found.inputs) and any(map(is_public, found.inputs[0].sensors)))
    assert scope.get("mine", scope["embedding"]).data.ndim == 1
    assert ("np" in scope) == (found.kind == "encoder")
    weights = found.variant(None).weights
    assert told["spec"].accept_licence == bool(weights and weights.restricted)
    return (found.dim(told["spec"], scope["output"]),)
