"""Writing down an item whose task could not be run at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rs_embed_dask.engine.faults import is_lost, said
from rs_embed_dask.engine.outcome import Outcome, chunk_result
from rs_embed_dask.engine.tally import ChunkReceipt
from rs_embed_dask.engine.tasks import put_results
from rs_embed_dask.errors import ModelError, ProviderError, RsEmbedError
from rs_embed_dask.store import Status

if TYPE_CHECKING:
    from rs_embed_dask.engine.stages import Unit
    from rs_embed_dask.engine.tasks import Chunk
    from rs_embed_dask.store import Store

__all__ = ["record_failed"]


def record_failed(store: Store, chunk: Chunk, unit: Unit, *, error: BaseException) -> ChunkReceipt:
    """Store an item as failed for every model it was to be embedded by.

    Parameters
    ----------
    store : Store
        The store, written by the client.
    chunk : Chunk
        Its chunk.
    unit : Unit
        The item.
    error : BaseException
        What its task ended in.

    Returns
    -------
    ChunkReceipt
        What to count.
    """
    outcome = _outcome(error)
    receipt = ChunkReceipt(chunk.number)
    results = {}
    for label in unit.labels:
        receipt.add_outcome(unit, label, outcome)
        results[label] = chunk_result([unit.row], [outcome], store.layout(label).frames)
    put_results(store, chunk, results)
    return receipt


def _outcome(error: BaseException) -> Outcome:
    """Say at which stage an item failed: where the task was killed, or where the error comes from."""
    stage = str(getattr(error, "task", ""))
    is_embedding = "rs-embed-" in stage
    if is_lost(error):
        reason = f"its {'embedding' if is_embedding else 'read'} kills the worker it runs on ({said(error)})"
        fix = "give workers more memory, or leave the item out"
    else:
        reason, fix = f"its task raised {said(error)}", "report it; the other items are not concerned"
    failed: RsEmbedError
    if is_embedding:
        failed = ModelError("embedding", reason=reason, fix=fix)
        return Outcome(Status.MODEL_FAILED, error=failed)
    failed = ProviderError("read", reason=reason, fix=fix)
    return Outcome(Status.READ_FAILED, error=failed)
