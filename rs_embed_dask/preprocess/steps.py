"""The steps from raw pixels to the network's input: frozen data in a card, run in order on the model's device.

Pixels arrive in canonical units (reflectance x 10 000, dB, kelvin), so steps do not depend on the provider. A step
maps (N, C, H, W) float32 to the same and uses tensor methods only, so that cards load without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Byte",
    "Clip",
    "Divide",
    "Linear",
    "Log1p",
    "MinMax",
    "Multiply",
    "OwnSpan",
    "Percentile",
    "Ratio",
    "Resize",
    "Standard",
    "Step",
    "Stretch",
    "ValueSpan",
    "floats",
    "names",
]


def floats(text: str) -> tuple[float, ...]:
    """Parse numbers separated by spaces, as cards write them."""
    return tuple(float(word) for word in text.split())


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by spaces."""
    return tuple(text.split())


@dataclass(frozen=True)
class Step:
    """The base of all steps: run, restricted to some bands, and serialised."""

    @classmethod
    def of(cls, text: str, **more: bool) -> Self:
        """Parse the values of the bands, separated by spaces: one field, then after a semicolon the next."""
        return cls(*map(floats, text.split(";")), **more)

    def apply(self, x: Tensor) -> Tensor:
        """Run the step on (N, C, H, W)."""
        return x

    def take(self, indices: tuple[int, ...], count: int) -> Self:
        """Keep the values of the bands at `indices`: a tuple of length `count` has one value per band."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        per_band = {name: v for name, v in values.items() if isinstance(v, tuple) and len(v) == count}
        cut = {name: tuple(v[i] for i in indices) for name, v in per_band.items()}
        return replace(self, **cut)

    def to_dict(self) -> dict[str, object]:
        """Return the step as JSON values: its name and its fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"step": type(self).__name__, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


@dataclass(frozen=True)
class Clip(Step):
    """Limit to [low, high]."""

    low: float
    high: float

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102 - as in Step
        return x.clamp(self.low, self.high)


@dataclass(frozen=True)
class Divide(Step):
    """Divide by a number, in float32 (which is not the same as multiplying by its inverse)."""

    by: float

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return x / self.by


@dataclass(frozen=True)
class Multiply(Step):
    """Multiply by a number."""

    by: float

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * self.by


@dataclass(frozen=True)
class MinMax(Step):
    """(x - low) / (high - low), one pair per band."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return _scaled(x, self.low, tuple(high - low for low, high in zip(self.low, self.high, strict=True)))


@dataclass(frozen=True)
class Standard(Step):
    """(x - mean) / std, one pair per band."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return _scaled(x, self.mean, self.std)


@dataclass(frozen=True)
class ValueSpan(Step):
    """(x - (mean - k std)) / (2 k std): mean -/+ k std to 0..1, without clipping; optionally in float64."""

    # With `byte`, to 0..255 instead, truncated as by `Byte` before rounding to float32.

    mean: tuple[float, ...]
    std: tuple[float, ...]
    k: float = 2.0
    float64: bool = False
    byte: bool = False

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        wide = x.double() if self.float64 and x.device.type != "mps" else x
        mean, std = (wide.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        low = mean - self.k * std
        wide = (wide - low).div_(mean + self.k * std - low)
        return (Byte().apply(wide * 255) if self.byte else wide).to(x.dtype)


@dataclass(frozen=True)
class OwnSpan(Step):
    """Each image's own mean -/+ k std of each band to 0..1, clipped; with `byte`, truncated to 256 levels."""

    # A constant band becomes 0.5.

    k: float = 2.0
    byte: bool = False

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        mean, std = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)
        low, high = mean - self.k * std, mean + self.k * std
        x = ((x - low) / (high - low)).where(high > low, 0.5)
        return Byte().apply(x * 255) / 255 if self.byte else x.clamp(0, 1)


@dataclass(frozen=True)
class Byte(Step):
    """Clip to 0..255 and truncate, as a cast to uint8 does; the type stays float."""

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.clamp(0, 255).trunc()


@dataclass(frozen=True)
class Linear(Step):
    """From dB to linear power."""

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x * (2.302585092994046 / 10)).exp()


@dataclass(frozen=True)
class Ratio(Step):
    """Add a band: the first over the second, in linear power."""

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        ratio = x[:, :1] / x[:, 1:2]
        both: Tensor = x.new_empty((x.shape[0], x.shape[1] + 1, *x.shape[2:]))
        both[:, :-1], both[:, -1:] = x, ratio
        return both


@dataclass(frozen=True)
class Log1p(Step):
    """log(1 + max(x, 0))."""

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.clamp(min=0).log1p()


@dataclass(frozen=True)
class Stretch(Step):
    """Each image's own minimum and maximum, over all bands, to 0..1 (0 where they differ by at most `flat`)."""

    # A range shorter than `least` counts as `least`, so it is not stretched to 1.

    flat: float = 1e-6
    least: float = 0.0

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return ((x - low) / (high - low).clamp(min=max(self.flat, self.least))).where(high - low > self.flat, 0)


@dataclass(frozen=True)
class Percentile(Step):
    """Each image's own percentiles, over all bands together, to 0 and 1; without `low`, 0 stays 0. No clipping."""

    high: float
    low: float | None = None

    def apply(self, x: Tensor) -> Tensor:  # noqa: D102
        ranked = x.flatten(1).sort(dim=1).values  # (N, C H W)
        high = _at(ranked, self.high)
        if self.low is None:
            return x / high.where(high > 0, 1)
        low = _at(ranked, self.low)
        return (x - low) / (high - low).where(high > low, 1)


@dataclass(frozen=True)
class Resize(Step):
    """How, and at which step, the image is resized to the network's size; see `batch.resize`."""

    # ``bicubic_u8`` is Pillow's two-pass integer arithmetic on 8-bit values, bit for bit, ``bilinear_u8``
    # PyTorch's; they always widen their kernel when shrinking, the float ones where `antialias`. With `corners`,
    # both images share the centres of their corner pixels, else their edges.

    kernel: Literal["bilinear", "bicubic", "bicubic_u8", "bilinear_u8"] = "bilinear"
    antialias: bool = False
    corners: bool = False


def _at(ranked: Tensor, percent: float) -> Tensor:
    """Interpolate a percentile between the two values (N, V) beside it, as NumPy does: (N, 1, 1, 1)."""
    place = percent / 100 * (ranked.shape[1] - 1)
    below = ranked[:, int(place)]
    above = ranked[:, min(int(place) + 1, ranked.shape[1] - 1)]
    return (below + (above - below) * (place - int(place))).view(-1, 1, 1, 1)


def _scaled(x: Tensor, less: tuple[float, ...], over: tuple[float, ...]) -> Tensor:
    """(x - less) / over, one pair per band."""
    low, width = (x.new_tensor(values).view(-1, 1, 1) for values in (less, over))
    return (x - low).div_(width)
