"""What an array or a file states about its numbers, and how they become canonical units because of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from rs_embed_dask.errors import SpecError
from rs_embed_dask.imagery.sensor_types import DB, KELVIN, REFLECTANCE, Scaling, Unit
from rs_embed_dask.specs.ground import has_heights

__all__ = ["ATTRS", "MISSING_NAMES", "NUMBER_NAMES", "Numbers"]

Floats = npt.NDArray[np.float32]

_NUMBER: Final = re.compile(r"[-+]?(?:nan\b|inf(?:inity)?\b|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)
MISSING_NAMES: Final = ("_fillvalue", "missing_value", "nodata", "nodatavals", "nodata_value", "gdal_nodata", "_nodata")
_SCALE: Final = ("scale_factor", "scales")
_OFFSET: Final = ("add_offset", "offsets")
NUMBER_NAMES: Final = (*MISSING_NAMES, *_SCALE, *_OFFSET, "units", "unit", "valid_min", "valid_max")
_SAYS_NOTHING: Final = {"", "1", "1.0", "none", "nan", "n/a", "na", "unitless", "dimensionless", "unknown", "undefined"}
_DIGITAL: Final = {"dn", "dns", "digitalnumber", "digitalnumbers", "count", "counts", "digitalcount", "digitalcounts"}
_E4: Final = re.compile(r"e4|10\^4|10\*\*4|10,?000")
_LENGTHS: Final = {"m", "metre", "metres", "meter", "meters", "ft", "foot", "feet", "ussurveyfoot"}
_PERCENT: Final = {"%", "percent", "percentage", "pct"}
_TEMPERATURES: Final = {
    **dict.fromkeys(("k", "kelvin", "kelvins", "degk", "degreekelvin", "degreeskelvin"), Scaling()),
    **dict.fromkeys(("c", "°c", "degc", "celsius", "degreecelsius", "degreescelsius"), Scaling(offset=273.15)),
}
_BACKSCATTER: Final = {
    **dict.fromkeys(("db", "decibel", "decibels"), Scaling(encoding="db")),
    **dict.fromkeys(("linear", "power", "linearpower", "intensity", "m2/m2", "m2m2", "gamma0", "sigma0"), Scaling()),
}
# what a physical value may be in, the likeliest first, where a scale is stated and a unit is not
_PHYSICAL: Final[dict[str, tuple[Scaling, ...]]] = {
    REFLECTANCE: (Scaling(10_000), Scaling(100), Scaling()),
    KELVIN: (Scaling(), Scaling(offset=273.15)),
    DB: (Scaling(), Scaling(encoding="db")),
}
# the middle value of an image lies in here, whatever it shows
_PLAUSIBLE: Final = {REFLECTANCE: (-500.0, 20_000.0), KELVIN: (170.0, 500.0), DB: (0.0, math.inf)}
_LARGEST_FRACTION: Final = 2.0
_UNIT_NAMES: Final = {REFLECTANCE: "in reflectance x 10 000", KELVIN: "kelvin", DB: "in linear power"}
_EXAMPLES: Final[dict[str, str]] = {
    REFLECTANCE: "'reflectance' for 0 to 1, '%', 'reflectance_e4' or 'DN'",
    KELVIN: "'K', 'degC' or 'DN'",
    DB: "'dB' or 'linear'",
}
ATTRS: Final = "attrs['units']"
"""Where an array states its unit: part of the remedies, which callers may replace."""
_ALL: Final = (-math.inf, math.inf)
_SAMPLE: Final = 65_536
_DIGITS: Final = 7  # of a scale that may have been kept as float32


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a source states about the numbers of one band: ``physical = raw * scale + offset``, in `units`.

    Parameters
    ----------
    missing : tuple of float
        Raw numbers that mean missing.
    valid : (float, float)
        Raw numbers outside are missing.
    scale, offset : float
        From raw to physical values.
    decoded : bool
        Whether whoever opened the source applied scale and offset already.
    units : str
        Of the physical values; empty where nothing useful is stated.
    """

    missing: tuple[float, ...] = ()
    valid: tuple[float, float] = _ALL
    scale: float = 1.0
    offset: float = 0.0
    decoded: bool = False
    units: str = ""

    @classmethod
    def stated(cls, attrs: Mapping[Any, Any], encoding: Mapping[Any, Any] | None = None) -> Self:
        """Read the attributes and the encoding of one band, or the tags of a file, by the conventions of CF."""
        own = {str(key).lower(): value for key, value in attrs.items()}
        kept = {str(key).lower(): value for key, value in (encoding or {}).items()}
        scale, offset = _scaling_in(own)
        decoded = (scale, offset) == (1.0, 0.0) and _scaling_in(kept) != (1.0, 0.0)
        if decoded:
            scale, offset = _scaling_in(kept)
        low, high = _valid_in(own)
        if decoded:  # the limits are packed numbers, and these values are not; its fill value has become NaN
            low, high = sorted((low * scale + offset, high * scale + offset))
        numbers = (
            n for source in (own, {} if decoded else kept) for key in MISSING_NAMES for n in _floats(source.get(key))
        )
        missing = tuple(dict.fromkeys(n for n in numbers if not math.isnan(n)))
        units = own.get("units", own.get("unit", ""))
        return cls(missing, (low, high), scale, offset, decoded, "" if units is None else str(units).strip())

    def reread(self, raw: Any, attrs: Mapping[Any, Any]) -> tuple[Any, Self]:
        """Return whole numbers, lazy or not, with the sign that ``_Unsigned`` of netCDF states, and what is stated."""
        flag = next((str(value).lower() for key, value in attrs.items() if str(key).lower() == "_unsigned"), "")
        old = raw.dtype
        if (flag, old.kind) not in {("true", "i"), ("false", "u")}:
            return raw, self
        new = np.dtype(f"{'u' if old.kind == 'i' else 'i'}{old.itemsize}")

        def moved(number: float) -> float:  # a number that fits is written in the old type, as CF asks
            return float(np.asarray(number).astype(old).astype(new)) if _can_hold(old, number) else number

        low, high = self.valid
        return raw.astype(new), replace(
            self, missing=tuple(moved(number) for number in self.missing), valid=(moved(low), moved(high))
        )

    def beside(self, crs: str | None) -> Self:
        """Return what is stated without the unit of the heights, which GDAL gives to every band of a file with some."""
        is_of_heights = self.unit in _LENGTHS and crs is not None and has_heights(crs)
        return replace(self, units="") if is_of_heights else self

    @property
    def packed(self) -> bool:
        """Whether a scale or an offset is stated."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def digital(self) -> bool:
        """Whether the unit says that these are the sensor's own digital numbers."""
        return re.sub(r"[\s_]+", "", self.units.lower()) in _DIGITAL

    @property
    def unit(self) -> str:
        """The stated unit in plain letters; empty where it says nothing about the scale."""
        plain = re.sub(r"[\s_]+", "", self.units.lower())
        return "" if plain in _SAYS_NOTHING | _DIGITAL else plain

    def cleared(self, raw: npt.NDArray[Any], otherwise: float | None = None) -> Floats:
        """Return float32 with NaN where missing; `otherwise` is missing in whole numbers of which nothing is stated."""
        stated = tuple(number for number in self.missing if _can_hold(raw.dtype, number))
        if not stated and otherwise is not None and raw.dtype.kind in "iu":
            stated = (otherwise,)
        low, high = self.valid
        bad = (raw < low) | (raw > high) if (low, high) != _ALL else np.zeros(raw.shape, bool)
        with np.errstate(over="ignore", invalid="ignore"):
            for number in stated:
                bad |= raw == np.asarray(number).astype(raw.dtype)
            values: Floats = raw.astype(np.float32)
        values[bad] = np.nan
        return values

    def scaling(self, table: Scaling, unit: Unit, what: str = "numbers", *, where: str = ATTRS) -> Scaling:
        """Return how the numbers become canonical: by what is stated, else by the sensor's table."""
        physical = self._physical(table, unit, f"units of {what}", where)
        if physical is None:
            return replace(table, nodata=None)
        gain, shift = (1.0, 0.0) if self.decoded else (self.scale, self.offset)
        made = Scaling(
            scale=_rounded(gain * physical.scale),
            offset=_rounded(shift * physical.scale + physical.offset),
            # a stated offset is the one that ESA's numbers have since baseline 04.00
            offset_rule=table.offset_rule if self.packed and self.offset == 0 else "none",
            encoding=physical.encoding,
        )
        if table.encoding != made.encoding or made.scale <= 0:
            return made
        above, at_most = (
            None if limit is None else (limit * table.scale + table.offset - made.offset) / made.scale
            for limit in (table.above, table.at_most)
        )
        return replace(made, above=above, at_most=at_most)

    def _physical(self, table: Scaling, unit: Unit, what: str, where: str) -> Scaling | None:
        """Return the conversion from physical to canonical values; None where the numbers are the sensor's own."""
        if self.unit:
            stated = _conversion(self.unit, unit)
            if stated is None:
                fix = f"state {_EXAMPLES.get(unit, 'none')} in {where}"
                reason = f"this is no unit of a band in {unit} that is understood"
                raise SpecError(what, value=self.units, reason=reason, fix=fix)
            return stated
        if not self.packed or unit not in _PHYSICAL:
            return None
        for choice in _PHYSICAL[unit]:
            scale, offset = self.scale * choice.scale, self.offset * choice.scale + choice.offset
            same = math.isclose(scale, table.scale, rel_tol=1e-5) and math.isclose(offset, table.offset, abs_tol=1e-6)
            if same and choice.encoding == table.encoding:
                return choice
        return next(choice for choice in _PHYSICAL[unit] if choice.encoding == table.encoding)

    def doubt(
        self, values: Floats, dtype: np.dtype[Any], *, scaling: Scaling, unit: Unit, where: str = ATTRS
    ) -> tuple[str, str] | None:
        """Return reason and fix where numbers plainly are not what they are taken for; None if they may be."""
        sample = values.ravel()[:: max(1, values.size // _SAMPLE)].astype(np.float64)
        sample = sample[np.isfinite(sample) & (sample != 0)]
        if unit not in _PLAUSIBLE or not sample.size:
            return None
        stated = bool(self.unit) or self.packed
        doubt = None if stated else _doubt_unstated(sample, dtype, (scaling, unit), where)
        whole = dtype.kind != "f" and not stated  # the sensor's own, saturated or not
        if doubt is not None or whole or scaling.encoding == "db":
            return doubt
        low, high = _PLAUSIBLE[unit]
        middle = float(np.median(sample)) * scaling.scale + scaling.offset
        # attributes outlive arithmetic: fractions that still carry a scale were multiplied by it before
        twice = unit == REFLECTANCE and self.packed and not self.decoded and bool((sample % 1).any())
        twice = twice and bool(np.median(abs(sample)) <= _LARGEST_FRACTION)
        if low <= middle <= high and not twice:
            return None
        fix = f"{'correct' if self.unit else 'state'} their unit ({_EXAMPLES[unit]}) in {where}"
        fix = f"drop scale_factor and add_offset, which were applied, and {fix}" if twice else fix
        return f"{self._taken_as(scaling)}, their middle value is {middle:.4g} {_UNIT_NAMES[unit]}", fix

    def _taken_as(self, scaling: Scaling) -> str:
        """Say how the numbers were understood."""
        if not (self.unit or self.packed):
            return f"nothing states a unit, and as the sensor's own (x {scaling.scale:g} + {scaling.offset:g})"
        applied = ", which was applied" if self.decoded else ""
        packed = f"scale {self.scale:g} and offset {self.offset:g}{applied}" if self.packed else ""
        return "as stated: " + ", ".join(part for part in (f"{self.units!r}" if self.units else "", packed) if part)


def _doubt_unstated(
    sample: npt.NDArray[np.float64], dtype: np.dtype[Any], taken_as: tuple[Scaling, Unit], where: str
) -> tuple[str, str] | None:
    """Return reason and fix where numbers without a stated unit plainly are not the sensor's own."""
    scaling, unit = taken_as
    if scaling.encoding == "db" and sample.min() >= 0:
        return (
            "nothing states a unit, and none is negative, as decibels are",
            f"state {_EXAMPLES[DB]} in {where}",
        )
    if unit != REFLECTANCE:
        return None
    middle = float(np.median(abs(sample)))
    if dtype.kind == "f" and middle <= _LARGEST_FRACTION and (sample % 1).any():
        reason = f"nothing states a unit, and half of them are below {middle:.3g}, as fractions are"
        return reason, f"state 'reflectance' in {where}"
    if dtype.itemsize == 1:
        reason = "8-bit numbers are a picture, not reflectance"
        return reason, f"give the bands, or state scale_factor and the unit in {where}"
    return None


def _floats(value: object) -> tuple[float, ...]:
    """Return the numbers in an attribute: a number, several, or text as tags hold it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return tuple(float(number) for number in _NUMBER.findall(value))
    flat = np.ravel(np.asarray(value, dtype=object))
    return tuple(number for each in flat if each is not None for number in _floats_in(each))


def _floats_in(value: object) -> tuple[float, ...]:
    if isinstance(value, str):
        return _floats(value)
    return (float(value),) if isinstance(value, int | float | np.number | np.bool_) else ()


def _scaling_in(attrs: Mapping[str, Any]) -> tuple[float, float]:
    scale, offset = (_first(attrs, names) for names in (_SCALE, _OFFSET))
    return (1.0 if scale is None else scale), (0.0 if offset is None else offset)


def _first(attrs: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    """Return the number under one of some names; several that differ belong to bands that are not told apart."""
    numbers = {number for name in names for number in _floats(attrs.get(name))}
    if len(numbers) > 1:
        fix = "give each band a variable of its own, or one number for each band"
        raise SpecError(f"attrs[{names[0]!r}]", value=sorted(numbers), reason="several for one band", fix=fix)
    return next(iter(numbers), None)


def _valid_in(attrs: Mapping[str, Any]) -> tuple[float, float]:
    whole = _floats(attrs.get("valid_range"))
    low, high = whole if len(whole) == len(_ALL) else _ALL
    least, most = (_floats(attrs.get(name)) for name in ("valid_min", "valid_max"))
    return (least[0] if least else low), (most[0] if most else high)


def _can_hold(dtype: np.dtype[Any], number: float) -> bool:
    """Whether a number can occur in an array; one that cannot says nothing."""
    if dtype.kind not in "iu":
        return dtype.kind == "f"
    return math.isfinite(number) and number % 1 == 0 and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _conversion(plain: str, unit: Unit) -> Scaling | None:
    """Return the conversion from a stated unit to the canonical one."""
    if unit != REFLECTANCE:
        return {KELVIN: _TEMPERATURES, DB: _BACKSCATTER}.get(unit, {}).get(plain)
    if re.fullmatch(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", plain):  # CF allows a number, such as 1e-4
        return Scaling(_rounded(float(plain) * 10_000))
    if plain in _PERCENT or ("reflectance" in plain and ("%" in plain or "percent" in plain)):
        return Scaling(100)
    if "reflectance" in plain and _E4.search(plain):
        return Scaling()
    return Scaling(10_000) if "reflectance" in plain or plain in {"fraction", "ratio", "brf"} else None
