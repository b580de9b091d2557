"""What a model is given, as stores and embeddings state it: sensors, bands, resolution, options and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_embed_dask.store.receipt import plain

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.specs import Spatial

__all__ = ["input_facts", "input_meta"]


def input_facts(one: Chosen) -> dict[str, Any]:
    """Describe what a model reads, as JSON; `size_px` is the side of the network's image, None where it takes any."""
    sizes = {inputs.modality: inputs.size_px or inputs.max_px for inputs in one.card.resolved_inputs(one.spec)}
    first, masked = one.first_choices, one.masked
    facts: dict[str, Any] = plain(
        {
            "inputs": {
                source.modality: {
                    "sensor": source.sensor,
                    **({"in_place_of": first[source.sensor]} if source.sensor in first else {}),
                    "bands": source.bands,
                    **({"masked": masked[source.modality]} if source.modality in masked else {}),
                    "resolution_m": metres,
                    "size_px": sizes[source.modality],
                }
                for source, metres in one.inputs
            },
            "options": one.card.chosen(one.spec.options),
            "prep": one.prep.mode,
            "frames": one.frames.to_dict(),
        }
    )
    return facts


def input_meta(one: Chosen, place: Spatial) -> dict[str, Any]:
    """Describe what a model was given of a place: also the size of the network's image, and how many there were."""
    facts = input_facts(one)
    meta = {name: facts[name] for name in ("inputs", "options", "prep")}
    if one.product is not None:
        return meta
    fit = one.fit(place)
    return meta | {"input_px": list(fit.net_px), "tiles": fit.tile_count}
