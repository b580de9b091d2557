"""One look over all items, in constant memory: how many frames and how large a grid the store must hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs import OutputSpec, PointBuffer
from rs_embed_dask.store import ModelLayout

if TYPE_CHECKING:
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.engine.resolve import Chosen
    from rs_embed_dask.specs import Spatial, TemporalSpec
    from rs_embed_dask.store import Item

__all__ = ["layouts_for"]


@dataclass
class _Survey:
    """The largest sizes of one model so far."""

    chosen: Chosen
    request: Request
    frames: int = 1
    rows: int = 1
    columns: int = 1

    def see_span(self, temporal: TemporalSpec) -> None:
        self.frames = max(self.frames, len(self.chosen.frames.spans(temporal)))

    def see_place(self, spatial: Spatial) -> None:
        try:
            rows, columns = self.chosen.grid_shape(spatial, self.request)
        except SpecError:
            return  # the item becomes INVALID, with this reason, when it is read
        self.rows, self.columns = max(self.rows, rows), max(self.columns, columns)

    def layout(self) -> ModelLayout:
        spec, card = self.chosen.spec, self.chosen.card
        output: OutputSpec = self.request.output
        return ModelLayout(
            label=spec.label,
            dim=card.dim(spec, output),
            grid_shape=(self.rows, self.columns) if output.mode == "grid" else None,
            frames=self.frames,
            attrs=_attrs(self.chosen, output),
        )


def layouts_for(request: Request, chosen: Sequence[Chosen], items: Iterable[Item]) -> tuple[ModelLayout, ...]:
    """Find the shape of every model's results.

    Parameters
    ----------
    request : Request
        What was asked for.
    chosen : sequence of Chosen
        Its models.
    items : iterable of Item
        Looked at once; none is kept, only the distinct spans and buffers are.

    Returns
    -------
    tuple of ModelLayout
    """
    surveys = [_Survey(one, request) for one in chosen]
    spans: set[TemporalSpec] = set()
    buffers: set[tuple[float, str]] = set()
    is_grid = request.output.mode == "grid"
    for item in items:
        if item.temporal not in spans:
            spans.add(item.temporal)
            for survey in surveys:
                survey.see_span(item.temporal)
        if is_grid:
            known = _seen(item.spatial, buffers)
            for survey in surveys:
                if not known or survey.chosen.gsd_m is None:
                    survey.see_place(item.spatial)
    return tuple(survey.layout() for survey in surveys)


def _seen(spatial: Spatial, buffers: set[tuple[float, str]]) -> bool:
    """Whether a place of the same size was there: all points with one buffer have grids of one shape."""
    if not isinstance(spatial, PointBuffer):
        return False
    key = (spatial.buffer_m, spatial.crs)
    if key in buffers:
        return True
    buffers.add(key)
    return False


def _attrs(chosen: Chosen, output: OutputSpec) -> dict[str, Any]:
    """Write what the store says of a model, as JSON."""
    return {
        "card": chosen.card.describe(),
        "spec": chosen.spec.to_dict(),
        "output": chosen.card.named(output).to_dict(),
        "gsd_m": chosen.gsd_m,
        "inputs": {
            wanted.modality: {"sensor": wanted.sensor, "bands": list(wanted.bands), "resolution_m": metres}
            for wanted, metres in chosen.inputs
        },
        "source_data": [f"urn:rs-embed-dask:sensor:{wanted.sensor}" for wanted, _ in chosen.inputs]
        or [f"urn:rs-embed-dask:product:{chosen.card.id}"],
        "frames": chosen.frames.to_dict(),
    }
