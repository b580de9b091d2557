"""Where pixels come from: the protocol, the registry, and reading a cube."""

from __future__ import annotations

from rs_embed_dask.providers.registry import (
    Estimate,
    Provider,
    Scene,
    SharesReads,
    estimate_read,
    list_providers,
    load,
    load_all,
    open_provider,
    register_provider,
)

__all__ = [
    "Estimate",
    "Provider",
    "Scene",
    "SharesReads",
    "estimate_read",
    "list_providers",
    "load",
    "load_all",
    "open_provider",
    "register_provider",
]
