"""Embeddings of any place, at any time, by any remote-sensing foundation model, on one machine or many.

The verbs live in :mod:`rs_embed_dask.api`, :mod:`rs_embed_dask.api_few` and :mod:`rs_embed_dask.api_maps`, the nouns
a user writes in :mod:`rs_embed_dask.specs`.
Names are resolved when first used, so importing the package loads neither torch nor Dask.

Examples
--------
>>> import rs_embed_dask as rs
>>> rs.PointBuffer(lon=4.5, lat=50.7, buffer_m=256).buffer_m
256.0
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rs_embed_dask.analysis.align import align
    from rs_embed_dask.analysis.benchmark import benchmark
    from rs_embed_dask.analysis.compare import compare
    from rs_embed_dask.analysis.coordbench import coordbench
    from rs_embed_dask.analysis.fuse import fuse
    from rs_embed_dask.analysis.stability import stability
    from rs_embed_dask.api import (
        compute_embeddings,
        open_store,
        plan,
        resume,
        status,
        verify,
    )
    from rs_embed_dask.api_ask import change, classes, explore, probe, search, zonal
    from rs_embed_dask.api_few import can_run, get_embedding, get_embeddings_batch, inspect_input
    from rs_embed_dask.api_maps import compute_map, map_scores, open_map, plan_map
    from rs_embed_dask.api_submit import submit
    from rs_embed_dask.compat.exporting import export_batch
    from rs_embed_dask.embedding import Embedding
    from rs_embed_dask.engine.clusters import cluster
    from rs_embed_dask.engine.detached import DetachedRun
    from rs_embed_dask.errors import RsEmbedError
    from rs_embed_dask.inference.loading import load_model
    from rs_embed_dask.models import register_model
    from rs_embed_dask.pages.listing import list_models
    from rs_embed_dask.pages.model import describe_model, fetch_weights
    from rs_embed_dask.providers import list_providers, open_provider, register_provider
    from rs_embed_dask.specs import (
        BBox,
        FetchSpec,
        InputPrep,
        InputPrepSpec,
        ModelSpec,
        OutputSpec,
        PointBuffer,
        Polygon,
        SensorSpec,
        TemporalSpec,
    )
    from rs_embed_dask.specs.places import places
    from rs_embed_dask.store.export import export, to_dataframe, to_geodataframe, to_geoparquet, to_netcdf
    from rs_embed_dask.store.export.cog import to_cog
    from rs_embed_dask.store.export.neuco import to_neuco_csv
    from rs_embed_dask.store.export.preview import build_preview
    from rs_embed_dask.store.export.rs_embed import to_rs_embed
    from rs_embed_dask.store.export.stac import to_stac
    from rs_embed_dask.store.imported import import_export
    from rs_embed_dask.store.loaded import load_export

__version__ = "0.2.0"

_HOMES = {
    "rs_embed_dask.analysis.align": ("align",),
    "rs_embed_dask.analysis.benchmark": ("benchmark",),
    "rs_embed_dask.analysis.compare": ("compare",),
    "rs_embed_dask.analysis.coordbench": ("coordbench",),
    "rs_embed_dask.analysis.fuse": ("fuse",),
    "rs_embed_dask.analysis.stability": ("stability",),
    "rs_embed_dask.api": (
        "compute_embeddings",
        "open_store",
        "plan",
        "resume",
        "status",
        "verify",
    ),
    "rs_embed_dask.api_ask": ("change", "classes", "explore", "probe", "search", "zonal"),
    "rs_embed_dask.api_few": ("can_run", "get_embedding", "get_embeddings_batch", "inspect_input"),
    "rs_embed_dask.api_maps": ("compute_map", "map_scores", "open_map", "plan_map"),
    "rs_embed_dask.api_submit": ("submit",),
    "rs_embed_dask.compat.exporting": ("export_batch",),
    "rs_embed_dask.embedding": ("Embedding",),
    "rs_embed_dask.engine.clusters": ("cluster",),
    "rs_embed_dask.engine.detached": ("DetachedRun",),
    "rs_embed_dask.errors": ("RsEmbedError",),
    "rs_embed_dask.inference.loading": ("load_model",),
    "rs_embed_dask.models": ("register_model",),
    "rs_embed_dask.pages.listing": ("list_models",),
    "rs_embed_dask.pages.model": ("describe_model", "fetch_weights"),
    "rs_embed_dask.specs.places": ("places",),
    "rs_embed_dask.store.export": ("export", "to_dataframe", "to_geodataframe", "to_geoparquet", "to_netcdf"),
    "rs_embed_dask.store.export.cog": ("to_cog",),
    "rs_embed_dask.store.export.preview": ("build_preview",),
    "rs_embed_dask.store.export.neuco": ("to_neuco_csv",),
    "rs_embed_dask.store.export.rs_embed": ("to_rs_embed",),
    "rs_embed_dask.store.export.stac": ("to_stac",),
    "rs_embed_dask.store.imported": ("import_export",),
    "rs_embed_dask.store.loaded": ("load_export",),
    "rs_embed_dask.providers": ("list_providers", "open_provider", "register_provider"),
    "rs_embed_dask.specs": (
        "BBox",
        "FetchSpec",
        "InputPrep",
        "InputPrepSpec",
        "ModelSpec",
        "OutputSpec",
        "PointBuffer",
        "Polygon",
        "SensorSpec",
        "TemporalSpec",
    ),
}
_FOLDERS = ("plot",)
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BBox",
    "DetachedRun",
    "Embedding",
    "FetchSpec",
    "InputPrep",
    "InputPrepSpec",
    "ModelSpec",
    "OutputSpec",
    "PointBuffer",
    "Polygon",
    "RsEmbedError",
    "SensorSpec",
    "TemporalSpec",
    "align",
    "benchmark",
    "build_preview",
    "can_run",
    "change",
    "classes",
    "cluster",
    "compare",
    "compute_embeddings",
    "compute_map",
    "coordbench",
    "describe_model",
    "explore",
    "export",
    "export_batch",
    "fetch_weights",
    "fuse",
    "get_embedding",
    "get_embeddings_batch",
    "import_export",
    "inspect_input",
    "list_models",
    "list_providers",
    "load_export",
    "load_model",
    "map_scores",
    "open_map",
    "open_provider",
    "open_store",
    "places",
    "plan",
    "plan_map",
    "probe",
    "register_model",
    "register_provider",
    "resume",
    "search",
    "stability",
    "status",
    "submit",
    "to_cog",
    "to_dataframe",
    "to_geodataframe",
    "to_geoparquet",
    "to_netcdf",
    "to_neuco_csv",
    "to_rs_embed",
    "to_stac",
    "verify",
    "zonal",
]


def __getattr__(name: str) -> object:
    """Import a public name from its home the first time it is used."""
    if name in _FOLDERS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        message = f"module {__name__!r} has no attribute {name!r}; the public names are {', '.join(__all__)}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*__all__, "__version__"})
