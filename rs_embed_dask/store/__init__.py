"""The store: one Zarr v3 group per run, which plain xarray opens.

``/items`` holds the places and spans, each model has a group of its own (``embedding``, ``status``, ``reason`` and
quality layers), and the root's attributes hold the request and the receipt.
"""

from __future__ import annotations

from rs_embed_dask.store.document import Location, Target
from rs_embed_dask.store.items import ItemMatch
from rs_embed_dask.store.layout import DONE, RETRYABLE, STATUS_COLOURS, UNDONE, ChunkResult, Item, ModelLayout, Status
from rs_embed_dask.store.reader import item_grid, items_frame, open_store
from rs_embed_dask.store.receipt import build_receipt, check_request, differences, request_digest
from rs_embed_dask.store.status import StatusReport, status
from rs_embed_dask.store.store import Store, StoreView

__all__ = [
    "DONE",
    "RETRYABLE",
    "STATUS_COLOURS",
    "UNDONE",
    "ChunkResult",
    "Item",
    "ItemMatch",
    "Location",
    "ModelLayout",
    "Status",
    "StatusReport",
    "Store",
    "StoreView",
    "Target",
    "build_receipt",
    "check_request",
    "differences",
    "item_grid",
    "items_frame",
    "open_store",
    "request_digest",
    "status",
]
