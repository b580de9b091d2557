"""The nouns of the sensor tables: scalings, sensors and sources, all frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from rs_embed_dask.errors import SpecError, UnknownNameError

__all__ = [
    "BYTE",
    "COLUMN",
    "DB",
    "DIGITAL",
    "EMBEDDING",
    "KELVIN",
    "METRES",
    "PERCENT",
    "RADIANCE",
    "REFLECTANCE",
    "SLOPE",
    "STATED",
    "Band",
    "Bits",
    "Mask",
    "OwnNumbers",
    "PropertyNames",
    "Scaling",
    "Sensor",
    "Source",
    "Unit",
    "plain_band_name",
]

Unit = Literal[
    "reflectance_e4",
    "db",
    "kelvin",
    "percent",
    "embedding",
    "stated",
    "m",
    "degrees",
    "byte",
    "dn",
    "radiance",
    "mol_m2",
]
REFLECTANCE: Final[Unit] = "reflectance_e4"
DB: Final[Unit] = "db"
KELVIN: Final[Unit] = "kelvin"
PERCENT: Final[Unit] = "percent"
EMBEDDING: Final[Unit] = "embedding"
STATED: Final[Unit] = "stated"
METRES: Final[Unit] = "m"
SLOPE: Final[Unit] = "degrees"
BYTE: Final[Unit] = "byte"
DIGITAL: Final[Unit] = "dn"
RADIANCE: Final[Unit] = "radiance"
COLUMN: Final[Unit] = "mol_m2"


def plain_band_name(name: str) -> str:
    """Return a band name without case, underscores, dashes and leading zeros: ``B04`` and ``b4`` are the same."""
    text = name.strip().lower().replace("_", "").replace("-", "")
    return "b" + text[1:].lstrip("0") if text[:1] == "b" and text[1:2].isdigit() else text


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a sensor.

    Parameters
    ----------
    common : str
        The internal name, for example ``red``, ``nir08`` or ``vv``.
    name : str
        The agency's name, for example ``B04``.
    resolution_m : float
        Native pixel size in metres.
    unit : str
        The canonical unit in cubes, one of `Unit`; ``stated`` is the one that its catalogue gives.
    wavelength_um : float, optional
        Centre wavelength in micrometres; None for radar.
    aliases : tuple of str
        Other names that users may give.
    not_on : tuple of str
        Platforms of the sensor whose instrument has no such band, as catalogues name them.
    """

    common: str
    name: str
    resolution_m: float
    unit: Unit = REFLECTANCE
    wavelength_um: float | None = None
    aliases: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit field of a quality band and those of its values that mask a pixel."""

    shift: int
    width: int
    bad: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Mask:
    """A rule for which pixels of a scene are clouds, shadows or otherwise unusable.

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
        For ``bits``: the fields, any of which masks a pixel.
    below : float, optional
        For ``below``: smaller scores mask a pixel.
    """

    name: str
    band: str
    kind: Literal["classes", "bits", "below"]
    classes: tuple[int, ...] = ()
    bits: tuple[Bits, ...] = ()
    below: float | None = None


@dataclass(frozen=True, slots=True)
class OwnNumbers:
    """Properties in which each scene states a band's scale and offset: ``(raw - offset) * scale``."""

    scale: str
    offset: str


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the values of a source are converted to working units: ``raw * scale + offset``.

    Parameters
    ----------
    scale, offset : float
        Applied to the raw values. Defaults: 1 and 0.
    offset_rule : {"none", "s2_baseline"}
        ``s2_baseline`` subtracts 1000 from every scene whose own processing baseline is 04.00 or later.
    encoding : {"linear", "db", "radiance"}
        With ``db`` the raw values are decibels; they are composited as linear power. With ``radiance`` they are those
        of an emissive channel of MODIS, composited as they are; cubes hold brightness temperatures.
    nodata : float, optional
        The raw value that means missing, whether or not the file declares it.
    above, at_most : float, optional
        Raw values at or below `above`, or greater than `at_most`, are missing.
    own : OwnNumbers, optional
        How each scene states its numbers; `scale` and `offset` apply to what comes of them.
    monthly : bool
        Whether the raw values are sums over a month, of which a day's share is taken.
    """

    scale: float = 1.0
    offset: float = 0.0
    offset_rule: Literal["none", "s2_baseline"] = "none"
    encoding: Literal["linear", "db", "radiance"] = "linear"
    nodata: float | None = None
    above: float | None = None
    at_most: float | None = None
    own: OwnNumbers | None = None
    monthly: bool = False


@dataclass(frozen=True, slots=True)
class Sensor:
    """A collection of imagery as data.

    Parameters
    ----------
    id : str
        The internal name, for example ``sentinel-2-l2a``.
    title : str
        For people.
    kind : {"optical", "radar", "product"}
        What the instrument measures; a product is anything else, which only catalogues have, not users' files.
    bands : tuple of Band
        All bands, in the agency's order.
    resolution_m : float
        Default resolution of a read.
    revisit_days : float
        Mean days between two scenes of one place, for estimates.
    masks : tuple of Mask
        The rules that its quality bands support.
    default_mask : str
        The rule used by default; ``none`` for no rule.
    aliases : tuple of str
        Other names of the sensor: collection ids at each provider.
    still : bool
        Whether its layers hold at all times, whatever their date: they are the same in every frame.
    monthly : bool
        Whether each layer holds for a calendar month: a frame has that of the month of its middle.
    elsewhere : tuple of (str, str)
        Bands that users expect here and where to find them, for the error message.
    """

    id: str
    title: str
    kind: Literal["optical", "radar", "product"]
    bands: tuple[Band, ...]
    resolution_m: float
    revisit_days: float
    masks: tuple[Mask, ...] = ()
    default_mask: str = "none"
    aliases: tuple[str, ...] = ()
    still: bool = False
    monthly: bool = False
    elsewhere: tuple[tuple[str, str], ...] = ()

    @property
    def band_names(self) -> tuple[str, ...]:
        """The common names of all bands, in the agency's order."""
        return tuple(band.common for band in self.bands)

    def band(self, name: str) -> Band:
        """Return a band by its common name, its agency's name or an alias.

        Parameters
        ----------
        name : str
            For example ``red``, ``B04``, ``B4`` or ``SR_B4``. Case does not matter.

        Returns
        -------
        Band
            The band.

        Raises
        ------
        UnknownNameError
            If the sensor has no such band; the error names the sensor that has it, if there is one.

        Examples
        --------
        >>> from rs_embed_dask.imagery.sensors import sensor
        >>> sensor("sentinel-2-l2a").band("B4").common
        'red'
        """
        for band in self.bands:
            if name == band.common:
                return band
        plain = plain_band_name(name)
        for band in self.bands:
            if plain in {plain_band_name(alias) for alias in (band.common, band.name, *band.aliases)}:
                return band
        for alias, where in self.elsewhere:
            if plain == plain_band_name(alias):
                raise UnknownNameError(
                    f"band of {self.id}", value=name, reason=f"{self.id} does not carry it", fix=where
                )
        names = [text for band in self.bands for text in (band.common, band.name)]
        raise UnknownNameError.among(f"band of {self.id}", name, names)

    def common(self, names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
        """Turn band names of any kind into common names, keeping their order.

        Parameters
        ----------
        names : sequence of str
            Band names.

        Returns
        -------
        tuple of str
            Common names.

        Raises
        ------
        UnknownNameError
            If one is unknown.
        SpecError
            If one band is named twice.
        """
        commons = tuple(self.band(name).common for name in names)
        for common in commons:
            if commons.count(common) > 1:
                twice = tuple(name for name, other in zip(names, commons, strict=True) if other == common)
                raise SpecError(
                    f"bands of {self.id}",
                    value=twice,
                    reason=f"the band {common!r} is named more than once",
                    fix="name each band once",
                )
        return commons

    def mask(self, name: str) -> Mask:
        """Return a mask rule by name.

        Parameters
        ----------
        name : str
            For example ``scl``; ``scl:3,8,9`` chooses the classes that mask a pixel, ``cloud_score_plus:0.5`` a score.

        Returns
        -------
        Mask
            The rule.

        Raises
        ------
        UnknownNameError
            If the sensor has no such rule.
        """
        plain, colon, classes = name.partition(":")
        for mask in self.masks:
            if mask.name == plain and not colon:
                return mask
            if mask.name == plain and mask.kind == "classes":
                return replace(mask, classes=tuple(int(number) for number in classes.split(",")))
            if mask.name == plain and mask.kind == "below":
                return replace(mask, below=float(classes))
        raise UnknownNameError.among(f"mask of {self.id}", name, ["none", *(mask.name for mask in self.masks)])


@dataclass(frozen=True, slots=True)
class PropertyNames:
    """Which properties of a catalogue's scenes hold what is needed; the first one present counts."""

    cloud: tuple[str, ...] = ("eo:cloud_cover",)
    platform: tuple[str, ...] = ("platform",)
    baseline: tuple[str, ...] = ("s2:processing_baseline", "processing:version")
    product: tuple[str, ...] = ("s2:product_uri",)
    tile: tuple[str, ...] = ("s2:mgrs_tile", "grid:code")
    datastrip: tuple[str, ...] = ("s2:datastrip_id",)
    generated: tuple[str, ...] = ("s2:generation_time", "created")
    orbit: tuple[str, ...] = ("sat:orbit_state",)


@dataclass(frozen=True, slots=True)
class Source:
    """A sensor as one provider serves it. This, and nothing in an item's metadata, decides scale and offset.

    Parameters
    ----------
    provider, sensor, collection : str
        Who serves which sensor under which collection id; empty where users name a collection of their own.
    assets : tuple of (str, tuple of str)
        For each common name the asset (or band) names that carry it; the first present counts.
    scalings : tuple of (str, Scaling)
        By common name or by canonical unit; the common name wins.
    masks : tuple of (str, str)
        For each mask rule that can be served, the asset that it reads.
    is_image : bool
        Whether the collection is one image of Earth Engine.
    heights : str
        The band of heights of which Earth Engine works out another, ``slope``.
    more_collections : tuple of str
        Further collections with the same tables (Landsat 9 beside Landsat 8).
    mask_collections : tuple of (str, str)
        For masks that live in a collection of their own.
    properties : PropertyNames
        Which properties of its scenes hold what is needed.
    block_px, bytes_per_px : int, float
        Block side and mean compressed size of a pixel in the files, for estimates.
    assumed_baseline : float, optional
        The Sentinel-2 processing baseline of scenes that do not state one. Default None: such a scene is an error.
    """

    provider: str
    sensor: str
    collection: str
    assets: tuple[tuple[str, tuple[str, ...]], ...]
    scalings: tuple[tuple[str, Scaling], ...]
    masks: tuple[tuple[str, str], ...] = ()
    is_image: bool = False
    heights: str = ""
    more_collections: tuple[str, ...] = ()
    mask_collections: tuple[tuple[str, str], ...] = ()
    properties: PropertyNames = field(default_factory=PropertyNames)
    block_px: int = 512
    bytes_per_px: float = 1.4
    assumed_baseline: float | None = None

    def asset(self, common: str) -> tuple[str, ...]:
        """Return the assets that may carry a band.

        Parameters
        ----------
        common : str
            Common name of the band.

        Returns
        -------
        tuple of str
            Asset names; the first that a scene has counts.

        Raises
        ------
        UnknownNameError
            If this provider does not serve the band.
        """
        for name, assets in self.assets:
            if name == common:
                return assets
        raise UnknownNameError.among(
            f"band of {self.collection} at {self.provider}", common, [n for n, _ in self.assets]
        )

    def scaling(self, band: Band) -> Scaling:
        """Return how the raw values of a band are converted to working units.

        Parameters
        ----------
        band : Band
            A band of the sensor.

        Returns
        -------
        Scaling
            By the band's name if the table has an entry for it, else by its unit.
        """
        table = dict(self.scalings)
        return table.get(band.common) or table.get(band.unit) or Scaling()
