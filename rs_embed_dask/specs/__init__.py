"""The nouns that a user writes: where, when, which model, what shape.

Each is frozen, validated on construction, survives JSON and pickling, and has a Dask token that is the same in every
process.
"""

from __future__ import annotations

from rs_embed_dask.specs.base import Record
from rs_embed_dask.specs.fetch import COMPOSITES, MASKS, FetchSpec, SensorSpec, resolution_of
from rs_embed_dask.specs.model import DTYPES, ModelSpec
from rs_embed_dask.specs.output import InputPrep, InputPrepSpec, OutputSpec
from rs_embed_dask.specs.when import TemporalSpec, spans
from rs_embed_dask.specs.where import BBox, PointBuffer, Polygon, Spatial, spatial_from_dict

__all__ = [
    "COMPOSITES",
    "DTYPES",
    "MASKS",
    "BBox",
    "FetchSpec",
    "InputPrep",
    "InputPrepSpec",
    "ModelSpec",
    "OutputSpec",
    "PointBuffer",
    "Polygon",
    "Record",
    "SensorSpec",
    "Spatial",
    "TemporalSpec",
    "resolution_of",
    "spans",
    "spatial_from_dict",
]
