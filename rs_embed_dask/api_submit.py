"""The verb of detached runs: submit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.api import compute_embeddings, embeddings_errand
from rs_embed_dask.api_maps import compute_map, map_errand
from rs_embed_dask.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from rs_embed_dask.engine.detached import DetachedRun, Errand

__all__ = ["submit"]

_ERRANDS: Final[dict[Callable[..., Any], Callable[..., Errand]]] = {
    compute_embeddings: embeddings_errand,
    compute_map: map_errand,
}


def submit(verb: Callable[..., Any], *args: Any, client: Client, **options: Any) -> DetachedRun:
    """Run a call on a cluster without this process, which may end: the driver is a task there.

    The request is validated, and its store made, before it returns; errors are those of the call itself. If the
    driver's worker is lost, the driver goes on elsewhere, from the store.

    Parameters
    ----------
    verb : rs.compute_embeddings or rs.compute_map
        What to run.
    *args, **options
        Its arguments. `out` is needed, a URL or a folder that this machine and all workers see. Progress goes to the
        log of the driver's worker, one line a minute.
    client : distributed.Client
        The cluster. Its scheduler has to outlive this process; a warning states where it does not.

    Returns
    -------
    DetachedRun
        With ``status()``, ``wait()`` and ``cancel()``; ``rs.DetachedRun(out, client)`` is the same from any process.

    Raises
    ------
    SpecError, UnknownNameError, PlanError, StoreError, StoreMismatchError
        As the verb. SpecError also if there is no `out`, if it is in memory, or if a worker does not see its folder:
        each worker that is there looks for a file that is made in it for a moment. PlanError also if something cannot
        be sent.
    StoreBusyError
        If another run writes to the store, or was submitted and has not ended.

    Examples
    --------
    >>> import rs_embed_dask as rs
    >>> from distributed import Client
    >>> client = Client("tcp://scheduler:8786")  # doctest: +SKIP
    >>> run = rs.submit(
    ...     rs.compute_embeddings,
    ...     "s3://bucket/fields.parquet",
    ...     ["galileo:nano"],
    ...     rs.TemporalSpec.year(2022),
    ...     out="s3://bucket/run.zarr",
    ...     client=client,
    ... )  # doctest: +SKIP
    >>> run.wait(timeout=3600).state  # doctest: +SKIP
    'complete'
    """
    from rs_embed_dask.engine.detached import begin, check_place, detached_client

    if verb not in _ERRANDS:
        fix = "give rs.compute_embeddings or rs.compute_map; a run that was stopped continues by the same call"
        raise SpecError("verb", value=verb, reason="it is not a verb that can be submitted", fix=fix)
    detached_client(client)
    place = check_place(options.pop("out", None), options.pop("storage_options", None))
    return begin(_ERRANDS[verb](*args, out=place, **options), place, client)
