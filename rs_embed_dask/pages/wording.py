"""A card in words: steps, sizes, frames, fill rules, options, terms. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from rs_embed_dask.preprocess.inputs import DEGREES, MASKED, PERCENT_KELVIN
from rs_embed_dask.preprocess.steps import (
    Byte,
    Clip,
    Divide,
    Linear,
    Log1p,
    MinMax,
    Multiply,
    OwnSpan,
    Percentile,
    Ratio,
    Resize,
    Standard,
    Step,
    Stretch,
    ValueSpan,
)
from rs_embed_dask.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rs_embed_dask.cards.card import Card
    from rs_embed_dask.imagery.dates import Frames
    from rs_embed_dask.preprocess.inputs import Inputs, Option, When

__all__ = [
    "WORDS",
    "alone",
    "choices_text",
    "fill_text",
    "frames_text",
    "grouped",
    "lengths",
    "modality_texts",
    "number",
    "per_band_numbers",
    "rectangle_text",
    "size_text",
    "some_bands_text",
    "step_text",
    "steps_texts",
    "unit_text",
    "when_texts",
]

UNITS: Final = {
    "reflectance_e4": "reflectance x 10 000",
    "db": "backscatter in dB",
    "kelvin": "kelvin",
    "byte": "8-bit values, 0 to 255",
    "m": "metres",
    DEGREES: "degrees from the place's centre",
    PERCENT_KELVIN: "percent reflectance or kelvin by band",
}
FEW: Final = 4
SNAP_PX: Final = 8
KERNELS: Final = {
    "bicubic_u8": "bicubic on 8-bit values, as Pillow rounds",
    "bilinear_u8": "bilinear on 8-bit values, as PyTorch rounds",
}


def unit_text(unit: str) -> str:
    """Return a unit in words."""
    return UNITS.get(unit, unit)


def number(value: float) -> str:
    """Format a number with at most six digits."""
    return f"{value:.6g}"


def alone(values: tuple[float, ...]) -> bool:
    """Whether all bands have the same value, which then needs no table."""
    return len(set(values)) == 1


def step_text(step: Step, size: str = "the size of the network") -> str:
    """Describe a step; `size` is the target of a resize. A step without a description shows its values."""
    if isinstance(step, Resize):
        kernel = KERNELS.get(step.kernel, step.kernel) + (", antialiased" if step.antialias else "")
        kernel += ", by the centres of the corner pixels" if step.corners else ""
        return f"resize to {size}, {kernel}"
    if type(step) in WORDS:
        return WORDS[type(step)](step)
    values = ", ".join(f"{name} {value}" for name, value in step.to_dict().items() if name != "step")
    return f"{type(step).__name__} ({values})" if values else type(step).__name__


def _min_max(step: MinMax) -> str:
    if alone(step.low) and alone(step.high):
        return f"bring {number(step.low[0])}..{number(step.high[0])} to 0..1"
    return "bring each band's low..high to 0..1"


def _standard(step: Standard) -> str:
    if alone(step.mean) and alone(step.std):
        return f"subtract {number(step.mean[0])}, divide by {number(step.std[0])}"
    return "subtract each band's mean, divide by its std"


def _span(step: ValueSpan) -> str:
    ends = f"bring each band's mean - {number(step.k)} std..mean + {number(step.k)} std to "
    rest = "0..255, clipped and truncated to integers" if step.byte else "0..1, not clipped"
    return ends + rest + (", in float64" if step.float64 else "")


def _own_span(step: OwnSpan) -> str:
    k = number(step.k)
    ends = f"bring each image's own mean - {k} std..mean + {k} std of each band to 0..1, clipped"
    return ends + (", in 256 levels" if step.byte else "")


def _stretch(step: Stretch) -> str:
    floor = f", a range under {number(step.least)} counting as {number(step.least)}" if step.least else ""
    return f"bring each image's own minimum and maximum, over all bands together, to 0 and 1{floor}"


def _percentile(step: Percentile) -> str:
    low = "0 staying 0" if step.low is None else f"percentile {number(step.low)} to 0"
    return f"bring each image's own percentile {number(step.high)}, over all bands together, to 1, {low}"


WORDS: Final[dict[type[Step], Callable[[Any], str]]] = {
    Clip: lambda step: f"clip to {number(step.low)}..{number(step.high)}",
    Divide: lambda step: f"divide by {number(step.by)}",
    Multiply: lambda step: f"multiply by {number(step.by)}",
    MinMax: _min_max,
    Standard: _standard,
    ValueSpan: _span,
    OwnSpan: _own_span,
    Ratio: lambda _: "add a band: the first over the second, in linear power",
    Byte: lambda _: "clip to 0..255 and truncate to 8-bit integers",
    Linear: lambda _: "from dB to linear power",
    Log1p: lambda _: "log(1 + x), with negative values set to 0",
    Stretch: _stretch,
    Percentile: _percentile,
}
"""The description of each kind of step; any other shows its name and values."""


def steps_texts(inputs: Inputs) -> list[str]:
    """Describe the steps in order; where none of them resizes, that comes first."""
    steps: tuple[Step, ...] = inputs.steps
    if not inputs.native and not any(isinstance(step, Resize) for step in steps):
        steps = (Resize(), *steps)
    done = [step_text(step, _target(inputs)) for step in steps]
    return [*done, f"crop the centre, {inputs.size_px} x {inputs.size_px} px"] if _cuts(inputs) else done


def _target(inputs: Inputs) -> str:
    if inputs.short_px:
        return f"{inputs.short_px} px on the shorter side"
    return f"{inputs.size_px} x {inputs.size_px} px" if inputs.size_px else "whole tokens"


def _cuts(inputs: Inputs) -> bool:
    return bool(inputs.short_px) and (inputs.short_px != inputs.size_px or inputs.rectangle == "stretch")


def size_text(inputs: Inputs, patch: int) -> str:
    """Describe which image sizes the network takes."""
    if inputs.native:
        return "any, used as it is; the last cells of a grid may be partial"
    if inputs.snap_px:
        near = f"a square to within {SNAP_PX} px: the largest square at its centre that the network accepts"
        return f"{near}; any other image is resized to {inputs.snap_px} x {inputs.snap_px} px"
    if inputs.size_px:
        return f"{inputs.size_px} x {inputs.size_px} px; others are resized, or cut into tiles by InputPrep.tile()"
    multiple, limit = inputs.multiple_px or patch, f", at most {inputs.max_px}" if inputs.max_px else ""
    return f"the multiple of {multiple} px nearest to the image's side{limit}; larger ones by InputPrep.tile()"


def frames_text(frames: Frames) -> str:
    """Describe how a span is cut into frames."""
    most = f", at most {frames.cap}" if frames.cap else ""
    return {
        "single": "one image of the whole span",
        "fixed": f"{frames.n} equal parts of the span",
        "equal": f"equal parts of the span, each of about {frames.days} days{most}",
        "months": f"one frame per calendar month{most}",
        "available": f"one frame per day on which there are acquisitions{most}",
    }[frames.policy]


def fill_text(inputs: Inputs) -> str:
    """Describe what replaces a missing pixel, and what happens to an empty frame."""
    rules = {
        "frame_mean": "a missing pixel becomes the mean of its frame and band",
        "zero": "a missing pixel becomes 0",
        "keep": "missing pixels stay missing and are left out",
        "hide": "missing pixels are hidden from the network",
    }
    text = rules[inputs.fill] if isinstance(inputs.fill, str) else "a missing pixel becomes the band's `fill`"
    share = f"has at most {inputs.min_valid:.0%} valid pixels" if inputs.min_valid else "has no valid pixel"
    what = "hidden from attention" if inputs.empty == "mask" else "left out"
    return f"{text}; a frame in which some band {share} is {what}"


def some_bands_text(card: Card) -> str:
    """Say whether some of the bands will do, and what becomes of the others."""
    if not card.any_bands and not card.masks:
        return ""
    rules = {variant.name: MASKED.get(variant.masks or card.masks, "") for variant in card.variants}
    rest = f"; the others are {grouped(rules)}" if any(rules.values()) else ""
    return f"any of them, by the option `bands`{rest}"


def per_band_numbers(inputs: Inputs) -> dict[str, tuple[float, ...]]:
    """Collect the numbers per band: side values, the numbers of steps where bands differ, and what fills a gap."""
    numbers = dict(inputs.per_band)
    for index, step in enumerate(inputs.steps, 1):
        values = {name: v for name, v in vars(step).items() if isinstance(v, tuple)}
        if any(not alone(v) for v in values.values()):
            numbers |= {f"{name} (step {index})" if name in numbers else name: v for name, v in values.items()}
    return numbers | ({"fill": inputs.fill} if isinstance(inputs.fill, tuple) else {})


def when_texts(inputs: Inputs) -> list[tuple[str, str]]:
    """Describe how options change an input, beyond the table of options."""
    return [(f"with `{case.option}={case.value!r}`", _changed(inputs, case)) for case in inputs.when]


def _changed(inputs: Inputs, case: When) -> str:
    changed = inputs.resolved({case.option: case.value})
    parts = {
        "steps": "; ".join(steps_texts(changed)),
        "short_px": "" if any(name == "steps" for name, _ in case.change) else "; ".join(steps_texts(changed)),
        "unit": f"input as {unit_text(changed.unit)}",
        "per_band": "; ".join(f"{n} {', '.join(map(number, values))}" for n, values in changed.per_band),
        "rectangle": f"an image that is not square: {rectangle_text(changed)}",
    }
    return "; ".join(
        text for name, _ in case.change if (text := parts.get(name, f"{name} is {dict(case.change)[name]}"))
    )


def rectangle_text(inputs: Inputs) -> str:
    """Describe what happens to an image that is not square."""
    if inputs.rectangle == "pad":
        return "reflected to a square"
    return "its centre is cropped" if inputs.short_px else "stretched"


def choices_text(option: Option) -> str:
    """Describe which values an option takes."""
    kind = type(option.default)
    if option.choices:
        gaps = {b - a for a, b in pairwise(option.choices)} if kind is int else set()  # type: ignore[operator]
        if len(option.choices) > FEW and len(gaps) == 1:
            return f"{option.choices[0]} to {option.choices[-1]}" + (f" by {gaps.pop()}" if gaps != {1} else "")
        return ", ".join(f"{value!r}" for value in option.choices)
    if option.multiple:
        return f"a multiple of {option.multiple}"
    return {tuple: "names of bands", bool: "True, False", int: "an integer", float: "a number"}.get(kind, "text")


def modality_texts(card: Card) -> tuple[str, ...]:
    """List the values of ``modality=``: sets of inputs, or each alone, and whether they may be combined."""
    if card.modalities and not card.together:
        return tuple("+".join(names) for names in card.modalities)
    each = tuple(inputs.modality for inputs in card.inputs)
    return (*each, "or any combination") if card.together and len(each) > 1 else each


def lengths(card: Card, kind: str) -> dict[str, int]:
    """Return the embedding dimension by variant: of a pooling, or of one token of a ``"grid"``."""
    output = OutputSpec.grid() if kind == "grid" else OutputSpec("pooled", kind)
    return {variant.name: card.dim(ModelSpec(card.id, variant.name), output) for variant in card.variants}


def grouped(values: Mapping[str, int | str]) -> str:
    """Format values by name, equal values once: ``1024`` or ``768 (base), 1024 (large)``."""
    if len(set(values.values())) == 1:
        return str(next(iter(values.values())))
    names: dict[int | str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return ", ".join(f"{value} ({', '.join(which)})" for value, which in names.items())
