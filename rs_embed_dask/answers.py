"""From what the engine brings back in this process to what a person asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_embed_dask.embedding import Embedding
from rs_embed_dask.engine.here import embed_items, read_items
from rs_embed_dask.errors import EngineError, SpecError
from rs_embed_dask.inference.arrays import labelled
from rs_embed_dask.models import card

if TYPE_CHECKING:
    from rs_embed_dask.engine.here import ItemResult
    from rs_embed_dask.engine.plan import Plan
    from rs_embed_dask.imagery.cube import Cube

__all__ = ["embeddings_of", "inputs_of"]


def embeddings_of(made: Plan) -> list[Embedding]:
    """Embed the items of a plan with one model, in order.

    Raises
    ------
    RsEmbedError
        The first that kept an item from being embedded.
    """
    return [_embedding(found, made) for found in embed_items(made)]


def _embedding(found: ItemResult, made: Plan) -> Embedding:
    spec = made.request.models[0]
    known = card(spec.id)
    outcome, product = found.outcomes[spec.label], made.recipe.product.get(spec.label)
    if outcome.error is not None:
        raise outcome.error
    if outcome.data is None:
        reason = outcome.reason or "the model gave nothing"
        raise EngineError("embedding", value=found.item.id, reason=reason, fix="report it with the request")
    meta: dict[str, Any] = {
        "model": spec.id,
        "variant": known.variant_for(spec).name,
        "provider": made.request.provider.name if product is None else product.reader.place,
        "spatial": found.item.spatial.to_dict(),
        "temporal": found.item.temporal.to_dict(),
        "output": known.named(made.request.output).to_dict(),
        "status": outcome.status.name.lower(),
        "weights": dict(found.weights.get(spec.label, {})),
        "note": outcome.note,
        "frames": [(span.start.isoformat(), span.end.isoformat()) for span in outcome.frames],
        "valid_fraction": list(outcome.valid_fraction),
        "first_date": outcome.first and outcome.first.isoformat(),
        "last_date": outcome.last and outcome.last.isoformat(),
        "scenes": list(outcome.scenes),
    }
    return Embedding(outcome.data if outcome.grid is None else labelled(outcome.data, outcome.grid), meta)


def inputs_of(made: Plan) -> dict[str, Cube]:
    """Read what the plan's one model would see of its first item, by modality.

    Raises
    ------
    SpecError
        The model is a product.
    RsEmbedError
        What kept a read from being made.
    """
    for entry in made.recipe.products:
        fix = "use get_embedding, whose grid is what there is to see"
        raise SpecError("inspect_input", value=entry.label, reason="a product has no input imagery", fix=fix)
    _, pixels = next(read_items(made))
    cubes = {}
    for number, group in enumerate(made.recipe.groups):
        found = pixels[number]
        if found.cube is None:
            if found.error is None:
                raise EngineError("read", value=group.sensor, reason="it brought nothing", fix="report it")
            raise found.error
        for need in group.needs:
            cubes[need.modality] = found.cube.select(bands=need.bands)
    return cubes
