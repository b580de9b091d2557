"""The store: one Zarr v3 group per run or map, which plain xarray opens.

``/items`` holds the places and spans, each model has a group of its own (``embedding``, ``status``, ``reason`` and
quality layers), and the root's attributes hold the request and the receipt.
"""

from __future__ import annotations

from rs_embed_dask.store.document import Location, Target
from rs_embed_dask.store.items import ItemColumns, ItemMatch
from rs_embed_dask.store.layout import DONE, RETRYABLE, STATUS_COLOURS, UNDONE, ChunkResult, Item, ModelLayout, Status
from rs_embed_dask.store.lease import ALL_CHUNKS, ChunkRange, Lease, chunk_range, leased, seconds_to_wait
from rs_embed_dask.store.map_blocks import BlockSet
from rs_embed_dask.store.map_layout import Asked, BlockKey, BlockResult, MapGroup, MapLayout
from rs_embed_dask.store.map_reader import open_map
from rs_embed_dask.store.map_status import MapStatus, status
from rs_embed_dask.store.map_store import MapStore, MapView
from rs_embed_dask.store.parts import Part, begin_part, check_fixed, held, parts_record
from rs_embed_dask.store.reader import item_grid, items_frame, open_store
from rs_embed_dask.store.receipt import build_receipt, check_request, differences, request_digest
from rs_embed_dask.store.status import StatusReport
from rs_embed_dask.store.store import Store
from rs_embed_dask.store.verify import (
    Damage,
    Remedy,
    VerifyReport,
    has_lost_chunks,
    mend_lost_blocks,
    mend_lost_chunks,
    verify,
)
from rs_embed_dask.store.view import StoreView

__all__ = [
    "ALL_CHUNKS",
    "DONE",
    "RETRYABLE",
    "STATUS_COLOURS",
    "UNDONE",
    "Asked",
    "BlockKey",
    "BlockResult",
    "BlockSet",
    "ChunkRange",
    "ChunkResult",
    "Damage",
    "Item",
    "ItemColumns",
    "ItemMatch",
    "Lease",
    "Location",
    "MapGroup",
    "MapLayout",
    "MapStatus",
    "MapStore",
    "MapView",
    "ModelLayout",
    "Part",
    "Remedy",
    "Status",
    "StatusReport",
    "Store",
    "StoreView",
    "Target",
    "VerifyReport",
    "begin_part",
    "build_receipt",
    "check_fixed",
    "check_request",
    "chunk_range",
    "differences",
    "has_lost_chunks",
    "held",
    "item_grid",
    "items_frame",
    "leased",
    "mend_lost_blocks",
    "mend_lost_chunks",
    "open_map",
    "open_store",
    "parts_record",
    "request_digest",
    "seconds_to_wait",
    "status",
    "verify",
]
