"""Which pixels: the sensor and bands that a model reads, and how scenes become one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rs_embed_dask.errors import SpecError
from rs_embed_dask.specs.base import Record, choice, number, positive, renamed, text
from rs_embed_dask.specs.ground import metric_crs
from rs_embed_dask.specs.output import COARSEST_M, OutputSpec

__all__ = ["COMPOSITES", "MASKS", "ORBITS", "FetchSpec", "SensorSpec", "resolution_of"]

MOST_CLASS: Final = 11
MASKS: Final = ("none", "scl", "qa60", "cloud_score_plus", "fmask", "qa_pixel", "state")
_ALL_CLOUD_PCT: Final = 100.0
COMPOSITES: Final = ("median", "mosaic", "clearest")
ORBITS: Final = ("ascending", "descending")


@renamed(scale_m="resolution_m")
@dataclass(frozen=True, repr=False)
class SensorSpec(Record):
    """Which collection and bands a model reads instead of those that its card prefers.

    Parameters
    ----------
    collection : str
        A sensor, or a provider's name for it, for example ``"sentinel-2-l2a"``.
    bands : sequence of str, optional
        Common names (``"red"``) or the sensor's (``"B04"``), in the order the encoder expects. Default: the card's.
    resolution_m : float, optional
        In metres; ``scale_m`` is accepted too. Default: the card's.
    modality : str, optional
        Which input of the model this feeds, for example ``"s2"``. Default: the one that uses this sensor.

    Raises
    ------
    SpecError
        If a name is empty, a band is given twice, or the resolution is not above 0.

    Examples
    --------
    >>> SensorSpec("sentinel-2-l2a", bands=("red", "nir")).bands
    ('red', 'nir')
    """

    collection: str
    bands: tuple[str, ...] | None = None
    resolution_m: float | None = None
    modality: str | None = None

    def __post_init__(self) -> None:
        collection = text("SensorSpec.collection", self.collection, fix="name a sensor such as 'sentinel-2-l2a'")
        object.__setattr__(self, "collection", collection)
        if self.bands is not None:
            object.__setattr__(self, "bands", _bands(self.bands))
        if self.resolution_m is not None:
            resolution = positive("SensorSpec.resolution_m", self.resolution_m, at_most=COARSEST_M, unit="m")
            object.__setattr__(self, "resolution_m", resolution)
        if self.modality is not None:
            modality = text("SensorSpec.modality", self.modality, fix="name an input of the model, such as 's2'")
            object.__setattr__(self, "modality", modality)


def _bands(bands: object) -> tuple[str, ...]:
    fix = "give a list such as ['red', 'green', 'blue']"
    if isinstance(bands, str) or not isinstance(bands, Sequence):
        raise SpecError("SensorSpec.bands", value=bands, reason="expected a list of band names", fix=fix)
    if not bands:
        fix = "leave bands out to use the card's"
        raise SpecError("SensorSpec.bands", value=bands, reason="the list is empty", fix=fix)
    names = tuple(text(f"SensorSpec.bands[{index}]", band, fix=fix) for index, band in enumerate(bands))
    for name in names:
        if names.count(name) > 1:
            reason = f"the band {name!r} is listed twice"
            raise SpecError("SensorSpec.bands", value=names, reason=reason, fix="name each band once")
    return names


@renamed(scale_m="resolution_m", cloudy_pct="max_cloud_pct", fill_value="fill")
@dataclass(frozen=True, repr=False)
class FetchSpec(Record):
    """How pixels are read; whatever is None is left to the model's card or the sensor.

    Parameters
    ----------
    resolution_m : float, optional
        In metres; ``scale_m`` is accepted too.
    max_cloud_pct : float, optional
        Scenes with more cloud cover than this, 0 to 100, are left out.
    mask : {"none", "scl", "qa60", "cloud_score_plus", "fmask", "qa_pixel", "state"}, optional
        Which layer masks clouds. ``"scl:3,8,9"`` chooses the SCL classes that are masked; ``"scl"`` alone means 0, 1,
        3, 8, 9 and 10. ``"cloud_score_plus:0.5"`` chooses the score below which a pixel is masked; alone it means 0.6.
    composite : {"median", "mosaic", "clearest"}, optional
        How the scenes of a frame are combined into one image.
    fill : {"card", "none"} or float, optional
        What a model sees where there is no observation: the value its card states, NaN, or this number.
    crs : str or int or CRS, optional
        One projection in metres for all places, for example ``"EPSG:3857"``, which reads in Mercator metres as
        rs-embed does. Default: the local UTM zone of each place.
    orbit : {"ascending", "descending"}, optional
        Of radar, the only direction of flight whose scenes are read. Default: both. Only catalogues state it.

    Raises
    ------
    SpecError, UnknownNameError
        If a value is not valid.

    Notes
    -----
    The names used by rs-embed, ``scale_m``, ``cloudy_pct`` and ``fill_value``, are accepted too.

    Examples
    --------
    >>> FetchSpec(resolution_m=20, max_cloud_pct=30).resolution_m
    20.0
    """

    resolution_m: float | None = None
    max_cloud_pct: float | None = None
    mask: str | None = None
    composite: str | None = None
    fill: str | float | None = None
    crs: str | None = None
    orbit: str | None = None

    def __post_init__(self) -> None:
        if self.resolution_m is not None:
            resolution = positive("FetchSpec.resolution_m", self.resolution_m, at_most=COARSEST_M, unit="m")
            object.__setattr__(self, "resolution_m", resolution)
        if self.max_cloud_pct is not None:
            object.__setattr__(self, "max_cloud_pct", _percent(self.max_cloud_pct))
        if self.mask is not None:
            _check_mask(self.mask)
        if self.composite is not None:
            choice("FetchSpec.composite", self.composite, COMPOSITES)
        if self.orbit is not None:
            choice("FetchSpec.orbit", self.orbit, ORBITS)
        if isinstance(self.fill, str):
            choice("FetchSpec.fill", self.fill, ("card", "none"))
        elif self.fill is not None:
            object.__setattr__(self, "fill", number("FetchSpec.fill", self.fill, fix="give 'card', 'none' or a number"))
        if self.crs is not None:
            object.__setattr__(self, "crs", metric_crs("FetchSpec.crs", self.crs))


def _check_mask(mask: object) -> None:
    """Validate the name of a mask and the classes that may follow it."""
    if not isinstance(mask, str):
        choice("FetchSpec.mask", mask, MASKS)
        return
    name, colon, classes = mask.partition(":")
    choice("FetchSpec.mask", name, MASKS)
    if colon and name == "cloud_score_plus":
        _check_score(mask, classes)
        return
    numbers = [part.strip() for part in classes.split(",")]
    if colon and not (name == "scl" and all(part.isdecimal() and int(part) <= MOST_CLASS for part in numbers)):
        fix = "write mask='scl:0,1,3,8,9,10' with the classes to mask, or the mask's name alone"
        reason = f"classes are whole numbers from 0 to {MOST_CLASS}, and only scl has any"
        raise SpecError("FetchSpec.mask", value=mask, reason=reason, fix=fix)


def _check_score(mask: str, score: str) -> None:
    plain = score.strip()
    digits = plain.replace(".", "", 1)
    if not (digits.isascii() and digits.isdecimal() and 0 <= float(plain) <= 1):
        fix = "write mask='cloud_score_plus:0.6', or the mask's name alone"
        raise SpecError("FetchSpec.mask", value=mask, reason="a score is a number from 0 to 1", fix=fix)


def _percent(value: object) -> float:
    percent = number("FetchSpec.max_cloud_pct", value, fix="give a percentage in [0, 100]")
    if not 0 <= percent <= _ALL_CLOUD_PCT:
        fix = "give 30 for 30 %"
        raise SpecError("FetchSpec.max_cloud_pct", value=value, reason="a percentage lies in [0, 100]", fix=fix)
    return percent


def resolution_of(fetch: FetchSpec, output: OutputSpec) -> float | None:
    """Return the resolution that a request asks for, whichever spec states it.

    Parameters
    ----------
    fetch : FetchSpec
        Its `resolution_m`.
    output : OutputSpec
        Its `scale_m`, which means the same.

    Returns
    -------
    float or None
        Metres; None leaves it to the models' cards.

    Raises
    ------
    SpecError
        If the two differ.
    """
    if fetch.resolution_m is not None and output.scale_m is not None and fetch.resolution_m != output.scale_m:
        reason = f"it contradicts FetchSpec.resolution_m = {fetch.resolution_m:g}"
        raise SpecError("OutputSpec.scale_m", value=output.scale_m, reason=reason, fix="give only one of the two")
    return fetch.resolution_m if fetch.resolution_m is not None else output.scale_m
