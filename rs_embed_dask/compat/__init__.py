"""rs-embed's names, thin over the engine: ``import rs_embed_dask.compat as rs_embed``.

All 33 public names of rs-embed 0.3.1 with its signatures, defaults and return types, and `use` for what rs-embed has no
argument for. ``docs/migrating.md`` says call by call which numbers differ, and why.

Examples
--------
>>> import rs_embed_dask.compat as rs_embed
>>> "prithvi" in rs_embed.list_models()
True
"""

from rs_embed_dask import __version__
from rs_embed_dask.compat.data import get_embedding_from_data, get_embeddings_batch_from_data, list_models_for_data
from rs_embed_dask.compat.exporting import BatchExporter, export_batch
from rs_embed_dask.compat.inspection import inspect_gee_patch, inspect_model_input, inspect_provider_patch
from rs_embed_dask.compat.names import describe_model, list_models
from rs_embed_dask.compat.records import (
    ExportConfig,
    ExportLayout,
    ExportModelRequest,
    ExportTarget,
    ModelConfig,
    UserData,
)
from rs_embed_dask.compat.settings import disable_pretty_warnings, enable_pretty_warnings, use
from rs_embed_dask.compat.specs import (
    BBox,
    FetchSpec,
    InputPrepSpec,
    OutputSpec,
    PointBuffer,
    SensorSpec,
    SpatialSpec,
    TemporalSpec,
)
from rs_embed_dask.compat.verbs import Model, get_embedding, get_embeddings_batch, reset_runtime
from rs_embed_dask.embedding import Embedding
from rs_embed_dask.errors import ModelError, ProviderError, RsEmbedError, SpecError
from rs_embed_dask.store.loaded import ExportResult, ModelResult, load_export

RSEmbedError = RsEmbedError

__all__ = [
    "BBox",
    "BatchExporter",
    "Embedding",
    "ExportConfig",
    "ExportLayout",
    "ExportModelRequest",
    "ExportResult",
    "ExportTarget",
    "FetchSpec",
    "InputPrepSpec",
    "Model",
    "ModelConfig",
    "ModelError",
    "ModelResult",
    "OutputSpec",
    "PointBuffer",
    "ProviderError",
    "RSEmbedError",
    "SensorSpec",
    "SpatialSpec",
    "SpecError",
    "TemporalSpec",
    "UserData",
    "__version__",
    "describe_model",
    "disable_pretty_warnings",
    "enable_pretty_warnings",
    "export_batch",
    "get_embedding",
    "get_embedding_from_data",
    "get_embeddings_batch",
    "get_embeddings_batch_from_data",
    "inspect_gee_patch",
    "inspect_model_input",
    "inspect_provider_patch",
    "list_models",
    "list_models_for_data",
    "load_export",
    "reset_runtime",
    "use",
]
