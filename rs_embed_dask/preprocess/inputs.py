"""A model's inputs: its modalities and the user's options, as frozen data. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final, Literal, Self

from rs_embed_dask.errors import SpecError, UnknownNameError
from rs_embed_dask.imagery.dates import Frames
from rs_embed_dask.preprocess.steps import Resize, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DEGREES",
    "LEVEL",
    "MASKED",
    "OF_LEVEL",
    "PERCENT_KELVIN",
    "RECTANGLE",
    "Inputs",
    "ModelInput",
    "Option",
    "Scalar",
    "When",
]

Scalar = str | int | float | bool | tuple[str, ...]
DEGREES: Final = "degrees"
"""The unit of what is worked out from where pixels lie: degrees east and north of the place's centre."""
PERCENT_KELVIN: Final = "percent, kelvin"
"""The units of a modality whose bands have different ones."""


MASKED: Final = {
    "drop": "left out",
    "hide": "hidden from the network, with the bands that share their token",
    "zero": "zero after scaling",
    "nearest": "a copy of the band nearest in wavelength",
}
"""What becomes of bands that are not given, by the name of the rule, as each model's authors do."""


@dataclass(frozen=True)
class Option:
    """A named choice of the user: ``load_model("galileo", patch_px=4)``."""

    # `choices` are the accepted values (empty: any of the default's type, restricted to multiples of `multiple`
    # where that is set); `config` also passes the value to the encoder's constructor; `variants` are those that it
    # changes (empty: all).

    name: str
    default: Scalar
    choices: tuple[Scalar, ...] = ()
    doc: str = ""
    config: bool = False
    multiple: int = 0
    variants: tuple[str, ...] = ()

    def check(self, value: Scalar, model: str) -> Scalar:
        """Return the value in the default's type, or raise SpecError."""
        if isinstance(self.default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.choices and value not in self.choices:
            listed = ", ".join(repr(c) for c in self.choices)
            raise SpecError(f"{model}: {self.name}", value=value, reason="not a choice", fix=f"use one of {listed}")
        if type(value) is not type(self.default):
            expected = type(self.default).__name__
            raise SpecError(f"{model}: {self.name}", value=value, reason=f"not a {expected}", fix=f"give a {expected}")
        multiple = self.multiple if value != self.default else 0
        if multiple and isinstance(value, int) and (value <= 0 or value % multiple):
            reason, fix = f"not a multiple of {self.multiple}", f"use {self.default}, or another multiple"
            raise SpecError(f"{model}: {self.name}", value=value, reason=reason, fix=fix)
        return value


RECTANGLE = Option("rectangle", "pad", ("pad", "stretch"), "reflect an image that is not square, or stretch it")


@dataclass(frozen=True)
class When:
    """Fields of `Inputs` that change when an option has a value: pairs of field and value."""

    option: str
    value: Scalar
    change: tuple[tuple[str, object], ...]

    def take(self, indices: tuple[int, ...], count: int) -> Self:
        """Keep the values of the bands at `indices`, out of `count`, in the steps that change."""
        change = dict(self.change)
        steps = change.get("steps")
        if isinstance(steps, tuple):
            change["steps"] = tuple(step.take(indices, count) for step in steps if isinstance(step, Step))
        return replace(self, change=tuple(change.items()))


LEVEL = Option("level", "any", ("any", "L1C", "L2A"), "of Sentinel-2; any: the first that the provider has")
OF_LEVEL = tuple(When("level", name, (("sensors", (f"sentinel-2-{name.lower()}",)),)) for name in ("L1C", "L2A"))


@dataclass(frozen=True)
class Inputs:
    """One modality that a model accepts."""

    modality: str
    sensors: tuple[str, ...]
    bands: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    unit: str = "reflectance_e4"
    resolution_m: float = 10.0
    size_px: int | None = None
    short_px: int | None = None
    multiple_px: int | None = None
    max_px: int | None = None
    snap_px: int = 0
    patch_px: int | None = None
    fold: int = 1
    apart: bool = False
    native: bool = False
    rectangle: Literal["pad", "stretch"] = "pad"
    frames: Frames = field(default_factory=Frames)
    max_cloud_pct: float | None = None
    composite: str = "median"
    mask: str | None = None
    orbit: str | None = None
    dated: Literal["middle", "start"] = "middle"
    fill: Literal["frame_mean", "zero", "keep", "hide"] | tuple[float, ...] = "frame_mean"
    empty: Literal["drop", "mask"] = "drop"
    min_valid: float = 0.0
    per_band: tuple[tuple[str, tuple[float, ...]], ...] = ()
    when: tuple[When, ...] = ()
    whole: Inputs | None = None
    masking: str = ""

    def resolved(self, options: Mapping[str, Scalar]) -> Inputs:
        """Apply the options: those named like a size field, and the alternatives of `when`."""
        changes: dict[str, object] = {
            name: options[name] for name in ("max_px", "size_px", "patch_px", "rectangle") if options.get(name)
        }
        if self.fold > 1:
            changes = {name: value * self.fold if isinstance(value, int) else value for name, value in changes.items()}
        if "patch_px" in changes and self.multiple_px is None:
            changes["multiple_px"] = changes["patch_px"]
        for case in self.when:
            if options.get(case.option) == case.value:
                changes.update(case.change)
        return replace(self, **changes, when=()) if changes else self  # type: ignore[arg-type]

    def only(self, bands: tuple[str, ...], how: str) -> Inputs:
        """Take those of its bands that are named, all if none is, and mask the others by a rule of `MASKED`."""
        own = tuple(band for band in bands if band in self.bands)
        if not own or own == self.bands:
            return self
        whole = self.whole or self
        some = replace(whole.take(own), whole=whole if how else None, masking=how)
        what, reason, fix = f"bands of {self.modality}", "", f"add some of {', '.join(self.bands)}"
        if how == "nearest" and "wavelength_nm" not in dict(whole.per_band):
            reason = "they have no wavelengths, so no band is the nearest"
        elif len(some.masked) == len(whole.bands):
            reason = "a token needs all bands of its group, and no group is whole"
        if reason:
            raise SpecError(what, value=own, reason=reason, fix=fix)
        return some

    @property
    def masked(self) -> tuple[str, ...]:
        """Bands that are not given, and those that are hidden with them."""
        if self.whole is None:
            return ()
        bands = self.whole.bands
        groups = self.whole.values("group") if self.masking == "hide" else tuple(range(len(bands)))
        broken = {group for group, band in zip(groups, bands, strict=True) if band not in self.bands}
        return tuple(band for group, band in zip(groups, bands, strict=True) if group in broken)

    @property
    def masked_at(self) -> frozenset[int]:
        """Where those lie among all bands."""
        return frozenset(self.whole.bands.index(band) for band in self.masked) if self.whole else frozenset()

    def take(self, bands: tuple[str, ...]) -> Inputs:
        """Select bands, with their statistics."""
        for band in bands:
            if band not in self.bands:
                raise UnknownNameError.among(f"band of {self.modality}", band, self.bands)
        indices = tuple(self.bands.index(band) for band in bands)
        per_band = tuple((name, tuple(values[i] for i in indices)) for name, values in self.per_band)
        steps = tuple(step.take(indices, len(self.bands)) for step in self.steps)
        fill = tuple(self.fill[i] for i in indices) if isinstance(self.fill, tuple) else self.fill
        when = tuple(case.take(indices, len(self.bands)) for case in self.when)
        return replace(self, bands=bands, steps=steps, per_band=per_band, fill=fill, when=when)

    def values(self, name: str) -> tuple[float, ...]:
        """Return the side values of the bands by name, for example ``"wavelength_um"``."""
        return dict(self.per_band)[name]

    @property
    def units(self) -> frozenset[str]:
        """The units of its bands."""
        return frozenset(self.unit.split(", "))

    @property
    def resize(self) -> Resize:
        """How the image is resized to the network's size."""
        return next((step for step in self.steps if isinstance(step, Resize)), Resize())


@dataclass(frozen=True)
class ModelInput:
    """What to read for a model: one modality from one sensor; the fields are those of `Inputs`."""

    modality: str
    sensor: str
    bands: tuple[str, ...]
    frames: Frames
    resolution_m: float
    unit: str
    max_cloud_pct: float | None
    composite: str
    mask: str | None
    orbit: str | None

    @classmethod
    def of(cls, inputs: Inputs, sensor: str) -> ModelInput:
        """Copy a modality's fields, with the sensor chosen for it."""
        names = [f.name for f in fields(cls) if f.name != "sensor"]
        return cls(sensor=sensor, **{name: getattr(inputs, name) for name in names})
