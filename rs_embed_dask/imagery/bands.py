"""Bands and the rules that tell which pixels of a scene are spoilt, as frozen data.

Two kinds of values appear. *Canonical* units are what a cube holds: ``reflectance_e4`` (surface or top-of-atmosphere
reflectance times 10 000), ``db`` (radar backscatter in decibels), ``kelvin``, and ``embedding`` (one number of a vector
of length 1). *Working* units are what compositing averages: the same, but linear power for radar, because decibels must
not be averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["DB", "EMBEDDING", "KELVIN", "REFLECTANCE", "Band", "Bits", "Mask", "Unit", "plain_band_name"]

Unit = Literal["reflectance_e4", "db", "kelvin", "embedding"]
REFLECTANCE: Final[Unit] = "reflectance_e4"
DB: Final[Unit] = "db"
KELVIN: Final[Unit] = "kelvin"
EMBEDDING: Final[Unit] = "embedding"


def plain_band_name(name: str) -> str:
    """Write a band name without case, underscores, dashes and leading zeros: ``B04`` and ``b4`` are one band.

    Parameters
    ----------
    name : str
        A band name of any catalogue.

    Returns
    -------
    str
        The form in which names are compared.
    """
    text = name.strip().lower().replace("_", "").replace("-", "")
    return "b" + text[1:].lstrip("0") if text[:1] == "b" and text[1:2].isdigit() else text


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a sensor.

    Parameters
    ----------
    common : str
        The name used inside, for example ``red``, ``nir08`` or ``vv``.
    name : str
        The agency's name, for example ``B04``.
    resolution_m : float
        Native pixel size in metres.
    unit : {"reflectance_e4", "db", "kelvin", "embedding"}
        The canonical unit in cubes.
    wavelength_um : float, optional
        Centre wavelength in micrometres; None for radar.
    aliases : tuple of str
        Other names under which users know it.
    """

    common: str
    name: str
    resolution_m: float
    unit: Unit = REFLECTANCE
    wavelength_um: float | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bits:
    """A field of bits in a quality band and the values of it that spoil a pixel.

    Parameters
    ----------
    shift, width : int
        The lowest bit of the field and the number of bits in it.
    bad : tuple of int
        Values of the field that mask the pixel.
    """

    shift: int
    width: int
    bad: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Mask:
    """A rule that tells which pixels of a scene are clouds, shadows or otherwise spoilt.

    Parameters
    ----------
    name : str
        The name in `FetchSpec.mask`, for example ``scl``.
    band : str
        The quality band that it reads.
    kind : {"classes", "bits", "below"}
        Classes of a map, fields of bits, or a score with a threshold.
    classes : tuple of int
        For ``classes``: the values that mask a pixel.
    bits : tuple of Bits
        For ``bits``: the fields of which any masks a pixel.
    below : float, optional
        For ``below``: smaller scores mask a pixel.
    """

    name: str
    band: str
    kind: Literal["classes", "bits", "below"]
    classes: tuple[int, ...] = ()
    bits: tuple[Bits, ...] = ()
    below: float | None = None
