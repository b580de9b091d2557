"""How a request cuts its spans into frames for each model, and the frames that only a search of the catalogue tells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rs_embed_dask.engine.request import AVAILABLE, Request
from rs_embed_dask.errors import PlanError
from rs_embed_dask.imagery.acquisitions import acquired
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.show.tables import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rs_embed_dask.imagery.cube import Cube, Read
    from rs_embed_dask.models import Card, ModelInput
    from rs_embed_dask.preprocess.inputs import Inputs
    from rs_embed_dask.providers import Provider
    from rs_embed_dask.specs import TemporalSpec

__all__ = ["SINGLE", "check_acquisitions", "dated", "framed", "frames_text", "room", "with_pixels"]

SINGLE: Final = Frames()
_DATED: Final = ("fixed", "equal")
"""Policies of models that take any dates; others take one image, or months."""


def framed(card: Card, inputs: Inputs, request: Request) -> Inputs:
    """Cut a span into the frames that the request asks for, where the model takes several."""
    frames, count = inputs.frames, request.n_frames
    most = {"single": 1, "fixed": frames.n}.get(frames.policy, frames.cap)
    is_dated = request.frames == AVAILABLE and frames.policy in _DATED
    if count is not None and count != most:
        is_exact = frames.policy == "fixed" and not is_dated
        if frames.policy == "single" or is_exact or (most is not None and count > most):
            reason = f"the model takes {'exactly' if is_exact else 'at most'} {most}"
            raise PlanError(f"n_frames of {card.id}", value=count, reason=reason, fix="leave n_frames out, or fit it")
    if is_dated:
        return replace(inputs, frames=Frames(AVAILABLE, cap=count or most))
    if count is None or frames.policy in {"single", "fixed"}:
        return inputs
    if frames.policy == AVAILABLE:
        return replace(inputs, frames=Frames(AVAILABLE, cap=count))
    return replace(inputs, frames=Frames("fixed", n=count))


def check_acquisitions(request: Request, chosen: Sequence[Sequence[ModelInput]]) -> None:
    """Refuse frames of acquisitions where no model takes them, and where modalities would have dates of their own."""
    if request.frames != AVAILABLE:
        return
    dated_inputs = [[one for one in inputs if one.frames.policy == AVAILABLE] for inputs in chosen]
    if not any(dated_inputs):
        reason = "no model of the request takes dates: they take one image, or calendar months"
        raise PlanError("frames", value=request.frames, reason=reason, fix="leave frames out, or name another model")
    for spec, inputs in zip(request.models, dated_inputs, strict=True):
        if len(inputs) > 1:
            reason = "its modalities were acquired on different days, and frames are of all"
            fix = f"name one modality of {', '.join(one.modality for one in inputs)}, or leave frames out"
            raise PlanError(f"frames of {spec.label}", value=request.frames, reason=reason, fix=fix)


def dated(provider: Provider, read: Read, frames: Frames) -> Read:
    """Return a read whose frames are the acquisitions of its place, as the catalogue lists them now."""
    if frames.policy != AVAILABLE:
        return read
    scenes = provider.search(read.sensor, read.grid, read.span, fetch=read.fetch)
    spans = acquired(scenes, frames, read.span, lon=read.grid.center_lonlat[0])
    return replace(read, frames=spans) if spans else read  # without any, the read itself says so, with its census


def with_pixels(cube: Cube, frames: Frames) -> Cube:
    """Leave out the acquisitions of which clouds or the edge of the swath leave no pixel: they are not available."""
    seen = tuple(span for span, counts in zip(cube.read.frames, cube.n_obs, strict=True) if counts.any())
    return cube.select(frames=seen) if frames.policy == AVAILABLE and seen else cube


def room(frames: Frames, temporal: TemporalSpec) -> int:
    """Return how many frames a store keeps room for: of acquisitions the most, for a longer span may come later."""
    return frames.cap if frames.policy == AVAILABLE and frames.cap else len(frames.spans(temporal))


def frames_text(frames: Frames, temporal: TemporalSpec) -> str:
    """Say what the frames of a span are."""
    if frames.policy == AVAILABLE:
        limit = "all" if frames.cap is None else f"at most {frames.cap}"
        return f"the days with acquisitions, {limit}"
    spans = frames.spans(temporal)
    lengths = sorted({span.days for span in spans})
    size = f"{lengths[0]} days" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]} days"
    is_monthly = frames.policy == "months" and all(span.start.day == 1 for span in spans[1:])
    kind = "calendar months" if is_monthly else "equal parts"
    return f"one, of {size}" if len(spans) == 1 else f"{counted(len(spans), 'frame')}, {kind} of {size}"
