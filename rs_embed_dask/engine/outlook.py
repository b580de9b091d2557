"""What is known of a run before its first read besides its cost: where, when, in which frames, and what will fail."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from rs_embed_dask.engine.framing import frames_text
from rs_embed_dask.errors import RsEmbedError
from rs_embed_dask.imagery.dates import Span
from rs_embed_dask.imagery.revisit import first_day
from rs_embed_dask.models.terms import check_weights
from rs_embed_dask.preprocess.inputs import MASKED

if TYPE_CHECKING:
    from rs_embed_dask.engine.recipe import Chosen
    from rs_embed_dask.engine.request import Request
    from rs_embed_dask.specs import TemporalSpec

__all__ = ["Extent", "Outlook", "check_faults", "extent_text"]

Extent = tuple[float, float, float, float]
"""West, south, east and north in degrees."""

_OWN_SCENES: Final = ("files", "synthetic")
"""Providers whose scenes are not those of the sensors' missions."""


@dataclass(frozen=True)
class Outlook:
    """Where and when, frames by model, sensors in place of others, bands masked, seeds, spans nobody has, faults."""

    extent: Extent | None = None
    frames: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        request: Request,
        chosen: Sequence[Chosen],
        spans: Sequence[TemporalSpec],
        *,
        extent: Extent | None = None,
    ) -> Self:
        """Look at a request and its distinct spans."""
        frames = {one.spec.label: frames_text(one.frames, spans[0]) for one in chosen if one.product is None}
        own_scenes = request.provider.name in _OWN_SCENES
        missing = () if own_scenes else tuple(dict.fromkeys(_missing(chosen, spans)))
        faults = tuple(str(fault) for fault in _faults(chosen, is_here=True))
        instead, masked, seeds = tuple(_instead(request, chosen)), tuple(_masked(chosen)), tuple(_seeds(chosen))
        return cls(extent, frames, missing, faults, instead, masked, seeds)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield what a plan prints."""
        if self.extent is not None:
            yield "extent", extent_text(self.extent)
        yield from (("frames", f"{label}: {text}") for label, text in self.frames.items())
        yield from (("instead", text) for text in self.instead)
        yield from (("masked", text) for text in self.masked)
        yield from (("random", text) for text in self.seeds)
        yield from (("missing", text) for text in self.missing)
        yield from (("fault", text) for text in self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON."""
        return asdict(self)

    def warn(self) -> None:
        """Warn once of spans that no provider has."""
        if self.missing:
            warnings.warn(f"{'; '.join(self.missing)}; give another span or sensor", UserWarning, stacklevel=4)


def extent_text(extent: Extent) -> str:
    """Write an extent so that swapped coordinates show."""
    west, south, east, north = (f"{edge:.4f}".rstrip("0").rstrip(".") for edge in extent)
    return f"longitude {west} to {east}, latitude {south} to {north}"


def _instead(request: Request, chosen: Sequence[Chosen]) -> Iterator[str]:
    """Say which models read another sensor than their card's first choice, and why."""
    for one in chosen:
        for read, first in one.first_choices.items():
            is_there = first in request.provider.sensors()
            why = "as asked for" if is_there else f"which {request.provider.name} does not have"
            yield f"{one.spec.label}: {read} in place of {first}, {why}"


def _masked(chosen: Sequence[Chosen]) -> Iterator[str]:
    """Say which bands models do without, and what becomes of them."""
    for one in chosen:
        rule = MASKED.get(one.card.variant_for(one.spec).masks or one.card.masks, "")
        for modality, bands in one.masked.items():
            yield f"{one.spec.label}: {', '.join(bands)} of {modality}: {rule}"


def _seeds(chosen: Sequence[Chosen]) -> Iterator[str]:
    """Say from which seed a model draws what it draws at random."""
    for one in chosen:
        variant, values = one.card.variant_for(one.spec).name, one.card.chosen(one.spec.options)
        for option in one.card.options:
            if option.name == "seed" and variant in (option.variants or (variant,)):
                yield f"{one.spec.label}: seed {values[option.name]}, {option.doc}"


def _missing(chosen: Sequence[Chosen], spans: Sequence[TemporalSpec]) -> Iterator[str]:
    """Say which spans no provider has: before a sensor's first scene, outside a product's years, in the future."""
    today = dt.datetime.now(dt.UTC).date()
    for span in map(Span.of, spans):
        when = f"{span.start} to {span.end}"
        if span.start > today:
            yield f"{when} lies in the future"
            continue
        for one in chosen:
            first_year, last_year = one.card.years
            if one.product is not None and first_year and not first_year <= span.start.year <= last_year:
                yield f"{when}: {one.spec.label} is published for {first_year} to {last_year}"
            for source, _ in one.inputs:
                first = first_day(source.sensor)
                if first is not None and span.end <= first:
                    yield f"{when}: no provider has scenes of {source.sensor} before {first}"


def _faults(chosen: Sequence[Chosen], *, is_here: bool) -> Iterator[RsEmbedError]:
    """Yield what will fail for every item of a model; `is_here` says that it will run on this machine."""
    for one in chosen:
        try:
            if one.product is None:
                check_weights(one.card, one.spec, is_here=is_here)
                if is_here and not one.spec.device.startswith(("auto", "cpu")):
                    from rs_embed_dask.inference.device import choose_device

                    choose_device(one.spec.device)
        except RsEmbedError as fault:
            yield fault


def check_faults(chosen: Sequence[Chosen], *, is_here: bool) -> None:
    """Raise the first fault that every item of a model would meet, before anything is written or read."""
    for fault in _faults(chosen, is_here=is_here):
        raise fault
